"""The light centre: contracts, configuration, plugin loading, the command line. Imports no model library."""
