"""Feature recipes."""
