"""Datasets of files: folders, what changed in them, checkouts."""
