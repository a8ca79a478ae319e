"""The same as pages."""
