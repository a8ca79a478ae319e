"""Runs, artifacts, edges, metric points and the event log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "1"
down_revision = None
branch_labels = None
depends_on = None

# Not taken from schema.py: a migration says for ever what it said when it was released.
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables of schema 1."""
    _nodes()
    _between()
    _log()


def _nodes() -> None:
    op.create_table(
        "runs",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("key", TEXT),
        sa.Column("parent", TEXT),
        sa.Column("body", TEXT, nullable=False),
    )
    for column in ("key", "kind", "name", "parent", "status"):
        op.create_index(f"runs_by_{column}", "runs", [column, "id"])
    op.create_table(
        "artifacts",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("run_id", TEXT),
        sa.Column("body", TEXT, nullable=False),
        sa.UniqueConstraint("kind", "name", "version", name="artifacts_versions"),
    )
    for name, column in (("kind", "kind"), ("name", "name"), ("digest", "digest"), ("run", "run_id")):
        op.create_index(f"artifacts_by_{name}", "artifacts", [column, "id"])


def _between() -> None:
    op.create_table(
        "edges",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("artifact_id", TEXT, primary_key=True),
        sa.Column("role", TEXT, primary_key=True),
        sa.Column("slot", TEXT, primary_key=True),
    )
    op.create_index("edges_by_artifact", "edges", ["artifact_id", "role", "run_id"])
    op.create_table(
        "points",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("step", sa.BigInteger, primary_key=True),
        sa.Column("at", TEXT, primary_key=True),
        sa.Column("value", sa.Float(53), primary_key=True),
        sa.Column("batch", sa.BigInteger, nullable=False),
    )
    op.create_index("points_by_batch", "points", ["batch"])


def _log() -> None:
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("prev", TEXT, nullable=False),
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("key", TEXT, unique=True),
    )
    op.create_index("events_by_subject", "events", ["subject", "seq"])
    op.create_index("events_by_kind", "events", ["kind", "seq"])
    head = op.create_table(
        "head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", TEXT, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": "0" * 64}])
