"""Our own catalogue of everyday tools: one YAML file a domain."""
