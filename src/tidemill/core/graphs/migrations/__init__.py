"""Alembic migrations of the graph, shipped in the package and run when a workspace is opened."""
