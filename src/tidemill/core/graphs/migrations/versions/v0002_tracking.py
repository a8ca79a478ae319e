"""Experiments, and what of runs is searched: parameters, tags, last metrics, files."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2"
down_revision = "1"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables of schema 2, and fill them from the runs that are there."""
    _experiments()
    _of_runs()
    _fill(op.get_bind())


def _experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", TEXT, nullable=False, unique=True),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("location", TEXT, nullable=False),
        sa.Column("tags", TEXT, nullable=False),
    )
    op.create_table(
        "tracked",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("experiment", sa.BigInteger, nullable=False),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("start_ms", sa.BigInteger, nullable=False),
        sa.Column("end_ms", sa.BigInteger),
        sa.Column("deleted_ms", sa.BigInteger),
    )
    op.create_index("tracked_by_start", "tracked", ["experiment", "stage", "start_ms", "run_id"])


def _of_runs() -> None:
    for name in ("run_params", "run_tags"):
        op.create_table(
            name,
            sa.Column("run_id", TEXT, primary_key=True),
            sa.Column("key", TEXT, primary_key=True),
            sa.Column("value", TEXT, nullable=False),
        )
        op.create_index(f"{name}_by_value", name, ["key", "value", "run_id"])
    op.create_table(
        "latest",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("experiment", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Float),
        sa.Column("is_nan", sa.Integer, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("latest_by_value", "latest", ["experiment", "key", "value", "run_id"])
    op.create_table(
        "run_files",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("path", TEXT, primary_key=True),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("run_files_by_digest", "run_files", ["digest"])


def _fill(link: sa.Connection) -> None:
    """From the runs that are there: a row, parameters, tags, results."""
    now = _ms(datetime.now(UTC))
    default = "INSERT INTO experiments VALUES (0, 'Default', 'active', :now, :now, '', '{}')"
    link.execute(sa.text(default), {"now": now})
    heads, params, tags, results = [], [], [], []
    asked = (
        "SELECT body FROM runs WHERE (kind >= 'track.' AND kind < 'track/') OR (kind >= 'train.' AND kind < 'train/')"
    )
    for (body,) in link.execute(sa.text(asked)):
        run = json.loads(body)
        start_ms = _ms(datetime.fromisoformat(run["started_at"]))
        end_ms = None if run["ended_at"] is None else _ms(datetime.fromisoformat(run["ended_at"]))
        heads.append(
            {"r": run["id"], "s": run["status"], "n": run["name"], "o": run["actor"], "a": start_ms, "z": end_ms}
        )
        params += [{"r": run["id"], "k": key, "v": _text(value)} for key, value in run["params"].items()]
        tags += [{"r": run["id"], "k": key, "v": value} for key, value in run["tags"].items() if key != "process"]
        for key, value in run["metrics"].items():
            nan = math.isnan(float(value))
            results.append(
                {"r": run["id"], "k": key, "v": None if nan else float(value), "n": int(nan), "a": end_ms or start_ms}
            )
    for statement, rows in (
        ("INSERT INTO tracked VALUES (:r, 0, 'active', :s, :n, :o, :a, :z, NULL)", heads),
        ("INSERT INTO run_params VALUES (:r, :k, :v)", params),
        ("INSERT INTO run_tags VALUES (:r, :k, :v)", tags),
        ("INSERT INTO latest VALUES (:r, :k, 0, :v, :n, 0, :a)", results),
    ):
        if rows:
            link.execute(sa.text(statement), rows)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
