"""Graphs: SQLite, PostgreSQL and memory. A new one is one file here, or a plugin (tidemill.core.extend)."""
