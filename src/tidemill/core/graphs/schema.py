"""The graph's tables, as SQLAlchemy Core knows them. The migrations make them; a test compares the two."""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA = 1  # the newest migration's number; a database with a larger one is refused

metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("parent", sa.Text),
    sa.Column("body", sa.Text, nullable=False),  # canonical JSON of the whole record
    sa.Index("runs_by_key", "key", "id"),
    sa.Index("runs_by_kind", "kind", "id"),
    sa.Index("runs_by_name", "name", "id"),
    sa.Index("runs_by_parent", "parent"),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("kind", "name", "version", name="artifacts_versions"),
    sa.Index("artifacts_by_digest", "digest"),
    sa.Index("artifacts_by_run", "run_id"),
)

edges = sa.Table(
    "edges",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("artifact_id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("slot", sa.Text, primary_key=True),
    sa.Index("edges_by_artifact", "artifact_id", "role", "run_id"),
)

points = sa.Table(
    "points",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True),
    sa.Column("at", sa.Text, primary_key=True),
    sa.Column("value", sa.Float(53), primary_key=True),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("key", sa.Text, unique=True),
    sa.Index("events_by_subject", "subject", "seq"),
)
