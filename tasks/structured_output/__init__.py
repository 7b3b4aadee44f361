"""Structured output: one JSON value or XML document that fits a schema, out of a text."""
