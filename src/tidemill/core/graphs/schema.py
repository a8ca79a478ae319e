"""The graph's tables, as SQLAlchemy Core knows them. The migrations make them; a test compares the two."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

SCHEMA = 3  # the newest migration's number; a database with a larger one is refused

# Collation "C": text is ordered and ranged by code points, as SQLite does, whatever the server's locale is.
Text = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


class Number(sa.types.UserDefinedType[float]):
    """A float64. SQLite turns NaN into NULL, so there NaN is kept as the text 'nan'."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:  # Any: as SQLAlchemy declares it
        """The column's type."""
        return "FLOAT"

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[float | None], float | str | None] | None:
        """As the driver takes it."""
        return _nan_as_text if dialect.name == "sqlite" else None

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[float | str], float]:  # noqa: ARG002
        """As a Python float."""
        return float


def _nan_as_text(value: float | None) -> float | str | None:
    return "nan" if value is not None and math.isnan(value) else value


metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("key", Text),
    sa.Column("parent", Text),
    sa.Column("body", Text, nullable=False),  # canonical JSON of the whole record; the columns before it are copies
    sa.Index("runs_by_key", "key", "id"),
    sa.Index("runs_by_kind", "kind", "id"),
    sa.Index("runs_by_name", "name", "id"),
    sa.Index("runs_by_parent", "parent", "id"),
    sa.Index("runs_by_status", "status", "id"),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("digest", Text, nullable=False),
    sa.Column("run_id", Text),
    sa.Column("body", Text, nullable=False),
    sa.UniqueConstraint("kind", "name", "version", name="artifacts_versions"),
    sa.Index("artifacts_by_kind", "kind", "id"),
    sa.Index("artifacts_by_name", "name", "id"),
    sa.Index("artifacts_by_digest", "digest", "id"),
    sa.Index("artifacts_by_run", "run_id", "id"),
)

edges = sa.Table(
    "edges",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("artifact_id", Text, primary_key=True),
    sa.Column("role", Text, primary_key=True),
    sa.Column("slot", Text, primary_key=True),
    sa.Index("edges_by_artifact", "artifact_id", "role", "run_id"),
)

points = sa.Table(
    "points",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("key", Text, primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True),
    sa.Column("at", Text, primary_key=True),
    sa.Column("value", Number, primary_key=True),
    sa.Column("batch", sa.BigInteger, nullable=False),  # seq of the event that holds the digest of this batch
    sa.Index("points_by_batch", "batch"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Text, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Column("subject", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("body", Text, nullable=False),
    sa.Column("prev", Text, nullable=False),
    sa.Column("hash", Text, nullable=False),
    sa.Column("key", Text, unique=True),
    sa.Index("events_by_subject", "subject", "seq"),
    sa.Index("events_by_kind", "kind", "seq"),
)

# One row: the newest event. Without it, nobody would miss events removed from the end.
head = sa.Table(
    "head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", Text, nullable=False),
)

# ------------------------------------------------------------------------------------------------------ tracking
# What of runs is searched: copies of what `runs`, `points` and `events` say, kept in their transactions (tracked.py).

experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("stage", Text, nullable=False),  # active, deleted
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Column("location", Text, nullable=False),
    sa.Column("tags", Text, nullable=False),  # JSON
)

tracked = sa.Table(
    "tracked",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("experiment", sa.BigInteger, nullable=False),
    sa.Column("stage", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("owner", Text, nullable=False),
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("end_ms", sa.BigInteger),
    sa.Column("deleted_ms", sa.BigInteger),
    sa.Index("tracked_by_start", "experiment", "stage", "start_ms", "run_id"),
)

run_params = sa.Table(
    "run_params",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("key", Text, primary_key=True),
    sa.Column("value", Text, nullable=False),
    sa.Index("run_params_by_value", "key", "value", "run_id"),
)

run_tags = sa.Table(
    "run_tags",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("key", Text, primary_key=True),
    sa.Column("value", Text, nullable=False),
    sa.Index("run_tags_by_value", "key", "value", "run_id"),
)

# The last value of each metric of a run: the one of the largest (step, time, value).
latest = sa.Table(
    "latest",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("key", Text, primary_key=True),
    sa.Column("experiment", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Float),  # NULL where is_nan
    sa.Column("is_nan", sa.Integer, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Index("latest_by_value", "experiment", "key", "value", "run_id"),
)

run_files = sa.Table(
    "run_files",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("path", Text, primary_key=True),
    sa.Column("digest", Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Index("run_files_by_digest", "digest"),
)

# -------------------------------------------------------------------------------------------------------- traces
# What programs sent of their calls (traced.py). The log holds a digest of each state and of each part of the spans.

traces = sa.Table(
    "traces",
    metadata,
    sa.Column("trace_id", Text, primary_key=True),
    sa.Column("experiment", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("duration_ms", sa.BigInteger),
    sa.Column("state", Text, nullable=False),
    sa.Column("name", Text),
    sa.Column("body", Text, nullable=False),  # canonical JSON of all but the spans; the columns before it are copies
    sa.Index("traces_by_time", "experiment", "at_ms", "trace_id"),
    sa.Index("traces_by_state", "experiment", "state", "at_ms", "trace_id"),
    sa.Index("traces_by_name", "experiment", "name", "at_ms", "trace_id"),
)

trace_spans = sa.Table(
    "trace_spans",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),  # of the event that holds its digest
    sa.Column("trace_id", Text, nullable=False),
    sa.Column("digest", Text, nullable=False),  # of the body: what is sent twice is kept once
    sa.Column("body", Text, nullable=False),  # canonical JSON: a list of spans
    sa.Index("trace_spans_by_trace", "trace_id", "seq"),
)

trace_runs = sa.Table(
    "trace_runs",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("trace_id", Text, primary_key=True),
    sa.Index("trace_runs_by_trace", "trace_id"),
)
