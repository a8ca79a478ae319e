"""Engines: where work runs. A new one is one file here, or a plugin (tidemill.core.extend)."""
