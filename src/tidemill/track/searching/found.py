"""Runs as a search gives them: what is kept beside them in tables, without the records themselves."""

# ruff: noqa: S608  what users wrote is bound, never in the text of a statement (pieces.py)

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from tidemill.core.errors import BadInput
from tidemill.core.graphs.tracked import say
from tidemill.track.searching.pieces import Piece, joined
from tidemill.track.tracking import Latest

FIELDS = ("params", "tags", "metrics")
_TABLES = {
    "params": ("run_params", "x.value"),
    "tags": ("run_tags", "x.value"),
    "metrics": ("latest", "x.value, x.step, x.at_ms"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """A run that was found. status: as the graph has it, or "scheduled". Times are in ms since 1970. params, tags and
    metrics: those that were asked for."""

    run_id: str
    experiment: int
    stage: str
    status: str
    name: str
    owner: str
    start_ms: int
    end_ms: int | None
    deleted_ms: int | None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Latest] = field(default_factory=dict)


class Page(NamedTuple):
    """Some runs in their order, and the token of the next page; None after the last."""

    runs: tuple[Found, ...]
    token: str | None


def wanted(fields: Sequence[str]) -> Mapping[str, list[str] | None]:
    """By each of FIELDS that is asked for, its keys; None for all. fields: "params", or one key as "params.depth"."""
    found: dict[str, list[str] | None] = {}
    for each in fields:
        table, _, key = each.partition(".")
        if table not in FIELDS:
            raise BadInput(f"no field {each!r}; there are {', '.join(FIELDS)}, and one of their keys: metrics.loss")
        if not key:
            found[table] = None
        elif found.get(table, []) is not None:
            found[table] = [*(found.get(table) or []), key]
    return found


def fill(link: sa.Connection, runs: Sequence[Found], fields: Sequence[str]) -> None:
    """Add to the runs what is asked for: one statement for each of params, tags and metrics."""
    if not runs:
        return
    of = {each.run_id: each for each in runs}
    for name, keys in wanted(fields).items():
        table, columns = _TABLES[name]
        among = _among(list(of), link.dialect.name)
        where = Piece(f"SELECT x.run_id, x.key, {columns} FROM {table} x WHERE {among.text}", among.values)
        if keys is not None:
            only = Piece(f"x.key IN ({', '.join('?' * len(keys))})", tuple(keys))
            where = joined(" AND ", [where, only])
        rows = read(link, where)
        if name == "metrics":
            for run_id, key, value, step, at_ms in rows:
                of[run_id].metrics[key] = Latest(float("nan") if value is None else value, step, at_ms)
        elif name == "params":
            for run_id, key, value in rows:
                of[run_id].params[key] = value
        else:
            for run_id, key, value in rows:
                of[run_id].tags[key] = value


def read(link: sa.Connection, statement: Piece) -> list[Any]:  # Any: tuples of the driver
    """The rows of a statement, as the driver gives them: its rows are made in half the time of SQLAlchemy's."""
    cursor = link.connection.cursor()
    try:
        cursor.execute(say(link, statement.text), statement.values)
        return list(cursor.fetchall())
    finally:
        cursor.close()


def _among(ids: list[str], dialect: str) -> Piece:
    if dialect == "sqlite":
        return Piece("x.run_id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))
    return Piece("x.run_id = ANY(?)", (ids,))
