"""Alembic's entry: it is handed an open connection (tidemill.core.graphs.migrate)."""

from __future__ import annotations

from alembic import context

from tidemill.core.graphs.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table="tidemill_schema")
context.run_migrations()
