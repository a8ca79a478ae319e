"""Runs as a search gives them: what is kept beside them in tables, without the records themselves."""

# ruff: noqa: S608  what users wrote is bound, never in the text of a statement (pieces.py)

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from tidemill.core.errors import BadInput
from tidemill.core.graphs.tracked import say
from tidemill.track import showing
from tidemill.track.searching.pieces import ALWAYS, Piece, concat
from tidemill.track.searching.tokens import require_text
from tidemill.track.tracking import Latest

FIELDS = ("params", "tags", "metrics")


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

    def _repr_html_(self) -> str:  # what a notebook shows
        return showing.runs(self.runs, more=self.token is not None)


def wanted(fields: Sequence[str]) -> Mapping[str, list[str] | None]:
    """By each of FIELDS that is asked for, its keys; None for all. fields: "params", or one key as "params.depth"."""
    found: dict[str, list[str] | None] = {}
    for each in fields:
        table, _, key = each.partition(".")
        require_text(each)
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
        if name == "metrics":
            _fill_metrics(link, of, keys)
        else:
            _fill_texts(link, of, name, keys)


def _fill_texts(link: sa.Connection, of: Mapping[str, Found], name: str, keys: list[str] | None) -> None:
    """Each run's as one JSON object: 10 rows a run would take twice the time."""
    group = "json_group_object(key, value)" if link.dialect.name == "sqlite" else "json_object_agg(key, value)::text"
    rows = _logged(f"run_{name}", list(of), keys, link.dialect.name)
    decode = msgspec.json.Decoder(dict[str, str]).decode
    for run_id, pairs in read(link, concat(f"SELECT run_id, {group} FROM (", rows, ") x GROUP BY run_id")):
        getattr(of[run_id], name).update(decode(pairs))


def _fill_metrics(link: sa.Connection, of: Mapping[str, Found], keys: list[str] | None) -> None:
    nan, new = float("nan"), tuple.__new__  # what Latest(...) does, without a call of Python for each
    rows = _logged("latest", list(of), keys, link.dialect.name)
    last, metrics = "", {}
    columns = "SELECT run_id, key, value, step, at_ms FROM ("
    for run_id, key, value, step, at_ms in read(link, concat(columns, rows, ") x")):
        if run_id != last:  # rows come run by run: a look-up for each
            last, metrics = run_id, of[run_id].metrics
        metrics[key] = new(Latest, (nan if value is None else value, step, at_ms))


def _logged(table: str, ids: list[str], keys: list[str] | None, dialect: str) -> Piece:
    """The rows of these runs and keys."""
    here = ALWAYS if keys is None else Piece(f"y.key IN ({', '.join('?' * len(keys))})", tuple(keys))
    if dialect == "sqlite":
        among = Piece(
            f"SELECT * FROM {table} y WHERE y.run_id IN (SELECT value FROM json_each(?)) AND ", (json.dumps(ids),)
        )
        return concat(among, here)
    # OFFSET 0: one look-up a run, which PostgreSQL would not choose before it has counted a new table's rows.
    each = concat(f"SELECT * FROM {table} y WHERE y.run_id = i.id AND ", here, " OFFSET 0")
    return concat(Piece("SELECT z.* FROM unnest(CAST(? AS text[])) i(id) CROSS JOIN LATERAL (", (ids,)), each, ") z")


def read(link: sa.Connection, statement: Piece) -> Sequence[Any]:  # Any: tuples of the driver
    """The rows of a statement, as the driver makes them: 10,000 in 5 ms and not in 7."""
    found = link.exec_driver_sql(say(link, statement.text), statement.values)
    try:
        return list(found.cursor.fetchall())
    except link.dialect.loaded_dbapi.Error as error:
        raise sa.exc.DBAPIError(statement.text, None, error) from error
    finally:
        found.close()
