"""Serving: vLLM behind a gateway that routes each request to a skill."""
