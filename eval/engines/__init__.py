"""Engines: things that generate text."""
