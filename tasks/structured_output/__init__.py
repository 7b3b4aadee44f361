"""Structured output: one JSON value that fits a schema, out of a text."""
