"""Built-in plugins. Each goes through the same hooks as a third party's."""
