"""Built-in tasks: what a skill learns, and how it is scored."""
