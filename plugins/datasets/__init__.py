"""Dataset builders, one file a source."""
