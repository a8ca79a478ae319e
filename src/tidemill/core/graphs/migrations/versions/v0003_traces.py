"""Traces: the state of each, their spans, and the runs that they belong to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "3"
down_revision = "2"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables of schema 3; older workspaces have nothing to put into them."""
    op.create_table(
        "traces",
        sa.Column("trace_id", TEXT, primary_key=True),
        sa.Column("experiment", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("name", TEXT),
        sa.Column("body", TEXT, nullable=False),
    )
    op.create_index("traces_by_time", "traces", ["experiment", "at_ms", "trace_id"])
    op.create_index("traces_by_state", "traces", ["experiment", "state", "at_ms", "trace_id"])
    op.create_index("traces_by_name", "traces", ["experiment", "name", "at_ms", "trace_id"])
    op.create_table(
        "trace_spans",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("trace_id", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
    )
    op.create_index("trace_spans_by_trace", "trace_spans", ["trace_id", "seq"])
    op.create_table(
        "trace_runs",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("trace_id", TEXT, primary_key=True),
    )
    op.create_index("trace_runs_by_trace", "trace_runs", ["trace_id"])
