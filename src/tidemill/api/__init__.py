"""The same as JSON over HTTP."""
