"""Versioned tables on Delta Lake: written in one commit, read at a pinned version or not at all."""
