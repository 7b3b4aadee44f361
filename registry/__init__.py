"""Versions, aliases, content-addressed bytes, and the gate in front of them."""
