"""Runs, artifacts, edges, metric points and the event log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of schema 1."""
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("parent", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("runs_by_key", "runs", ["key", "id"])
    op.create_index("runs_by_kind", "runs", ["kind", "id"])
    op.create_index("runs_by_name", "runs", ["name", "id"])
    op.create_index("runs_by_parent", "runs", ["parent"])
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("kind", "name", "version", name="artifacts_versions"),
    )
    op.create_index("artifacts_by_digest", "artifacts", ["digest"])
    op.create_index("artifacts_by_run", "artifacts", ["run_id"])
    op.create_table(
        "edges",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("artifact_id", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("slot", sa.Text, primary_key=True),
    )
    op.create_index("edges_by_artifact", "edges", ["artifact_id", "role", "run_id"])
    op.create_table(
        "points",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("step", sa.BigInteger, primary_key=True),
        sa.Column("at", sa.Text, primary_key=True),
        sa.Column("value", sa.Float(53), primary_key=True),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("prev", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("key", sa.Text, unique=True),
    )
    op.create_index("events_by_subject", "events", ["subject", "seq"])
