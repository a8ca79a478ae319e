"""A filter of runs as a condition on the table `tracked`, there named t, that is true or false and never NULL."""

# ruff: noqa: S608  what users wrote is bound, never in the text of a statement (pieces.py)

from __future__ import annotations

import re

from tidemill.track.searching import lineage
from tidemill.track.searching.comparing import among, like, of_number, of_text
from tidemill.track.searching.evaluating import compared
from tidemill.track.searching.grammar import All, Comparison, Expression, Not, Some
from tidemill.track.searching.pieces import Piece, all_of, bracketed, concat, some_of

STATUSES = {  # of runs, as the graph has them and as MLflow says them
    "running": "RUNNING",
    "scheduled": "SCHEDULED",
    "done": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
}
ARTIFACT_URI = "('mlflow-artifacts:/' || t.experiment || '/' || t.run_id || '/artifacts')"
COLUMNS = {
    "run_id": "t.run_id",
    "run_name": "t.name",
    "user_id": "t.owner",
    "start_time": "t.start_ms",
    "end_time": "t.end_ms",
    "artifact_uri": ARTIFACT_URI,
}
TABLES = {"metric": "latest", "param": "run_params", "tag": "run_tags"}
COMMIT_TAG = "mlflow.source.git.commit"
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")


def condition(expression: Expression, dialect: str) -> Piece:
    """Whether the run of row t matches. dialect: "sqlite" or "postgresql"."""
    if isinstance(expression, Not):
        return concat("NOT ", bracketed(condition(expression.part, dialect)))
    if isinstance(expression, All):
        return all_of([condition(part, dialect) for part in sorted(expression.parts, key=_cost)])
    if isinstance(expression, Some):
        return some_of([condition(part, dialect) for part in expression.parts])
    return _comparison(expression, dialect)


def _cost(part: Expression) -> int:
    """What looks at the row alone is asked before what looks into other tables."""
    return 0 if isinstance(part, Comparison) and part.field.entity == "attribute" else 1


def _comparison(asked: Comparison, dialect: str) -> Piece:
    field = asked.field
    if field.entity == "attribute":
        return attribute(asked, dialect)
    if field.entity == "dataset":
        return lineage.dataset(asked, dialect)
    if field.entity == "lineage":
        if field.key != "git.commit":
            return lineage.version(asked, dialect)
        table, key = "run_tags", COMMIT_TAG
    else:
        table, key = TABLES[field.entity], field.key
    here = Piece(f"SELECT 1 FROM {table} x WHERE x.run_id = t.run_id AND x.key = ?", (key,))
    if asked.operator == "IS NULL":
        return concat("NOT ", exists(here, dialect))
    if asked.operator == "IS NOT NULL":
        return exists(here, dialect)
    return exists(concat(here, " AND ", of_logged(asked, "x", dialect)), dialect)


def exists(rows: Piece, dialect: str) -> Piece:
    """Whether there is one, looked up for each run: PostgreSQL may not make a join of it, which its guesses of a new
    table turn into 40 million comparisons for 50,000 runs."""
    return concat("EXISTS (", rows, ")" if dialect == "sqlite" else " OFFSET 0)")


def of_logged(asked: Comparison, row: str, dialect: str) -> Piece:
    """What a comparison asks of the row of a metric, parameter or tag."""
    column = f"{row}.value"
    if asked.field.entity != "metric":
        return of_commit(asked, column, dialect) if asked.field.key == "git.commit" else of_text(asked, column, dialect)
    found = of_number(asked, column)
    if asked.operator in ("!=", "NOT IN"):  # NaN is other than all numbers
        return bracketed(concat(found, f" OR {row}.is_nan = 1"))
    return found


def of_commit(asked: Comparison, column: str, dialect: str) -> Piece:
    """Of the text of a commit: 7 or more of its first digits name it."""
    if asked.operator == "=" and isinstance(asked.value, str) and _SHORT_COMMIT.fullmatch(asked.value):
        return like(column, f"{asked.value}%", fold=False, dialect=dialect)
    return of_text(asked, column, dialect)


def attribute(asked: Comparison, dialect: str) -> Piece:
    """Of an attribute of the run."""
    if asked.field.key == "status":
        names = [name for name, shown in STATUSES.items() if compared(shown, asked.operator, asked.value)]
        return among("t.status", names, dialect)
    column = COLUMNS[asked.field.key]
    if asked.operator in ("IS NULL", "IS NOT NULL"):
        return Piece(f"{column} {asked.operator}")
    if asked.field.holds == "text":
        return of_text(asked, column, dialect)
    found = of_number(asked, column)
    return all_of([Piece(f"{column} IS NOT NULL"), found]) if asked.field.key == "end_time" else found
