"""Trackers: where runs are watched and compared, outside of agentlora."""
