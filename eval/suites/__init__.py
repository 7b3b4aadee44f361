"""Other people's tasks, put to a skill and its base."""
