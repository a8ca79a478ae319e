"""The values of metrics over time: many rows, so they go from the driver's cursor into JSON with little in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tidemill.api.mlflow import limits, wire
from tidemill.api.mlflow.errors import Told, invalid
from tidemill.api.mlflow.routes import Route
from tidemill.core.graphs.committing import reading
from tidemill.core.graphs.tracked import say
from tidemill.core.workspace import Workspace

MOST_IN_A_PAGE = 25_000
RUNS, VALUES = 100, 2500  # of a bulk interval: runs, and values a run

_VALUES = "SELECT step, at, value FROM points WHERE run_id = ? AND key = ?"
_ORDER = " ORDER BY step, at, value"


class History(msgspec.Struct):
    """metrics/get-history."""

    run_id: str | None = None
    run_uuid: str | None = None
    metric_key: str | None = None
    max_results: int | None = None
    page_token: str | None = None


class Interval(msgspec.Struct):
    """metrics/get-history-bulk-interval."""

    run_ids: list[str] = []
    metric_key: str | None = None
    start_step: int | None = None
    end_step: int | None = None
    max_results: int | None = None


class Value(msgspec.Struct, omit_defaults=False):
    """A value, as it goes out."""

    key: str
    value: float | str
    timestamp: int
    step: int


class ValueOf(Value):
    """The same, of a run."""

    run_id: str


def _history(ws: Workspace, asked: History) -> Any:
    run_id = limits.run_id(asked.run_id, asked.run_uuid)
    limits.required(metric_key=asked.metric_key)
    key = str(asked.metric_key)
    if asked.max_results is not None and asked.max_results <= 0:
        raise invalid(
            f"Invalid value {asked.max_results} for parameter 'max_results' supplied. It must be a positive integer."
        )
    start = _place(asked.page_token)
    most = None if asked.max_results is None else min(asked.max_results, MOST_IN_A_PAGE)
    with reading(ws) as link:
        _require(link, [run_id])
        limit = "" if most is None else f" LIMIT {most + 1} OFFSET {start}"
        rows = link.exec_driver_sql(say(link, _VALUES + _ORDER + limit), (run_id, key)).all()
    more = most is not None and len(rows) > most
    found = [Value(key, value, at, step) for step, at, value in _plain(rows[:most])]
    if more and most is not None:
        return {"metrics": found, "next_page_token": str(start + most)}
    return {"metrics": found} if found else {}


def _interval(ws: Workspace, asked: Interval) -> Any:
    limits.required(run_ids=asked.run_ids or None, metric_key=asked.metric_key)
    if len(asked.run_ids) > RUNS:
        raise invalid(
            f"GetMetricHistoryBulkInterval request must specify at most {RUNS} run_ids. Received {len(asked.run_ids)} "
            "run_ids."
        )
    most = VALUES if asked.max_results is None else asked.max_results
    if not 1 <= most <= VALUES:
        raise invalid(f"max_results must be between 1 and {VALUES}.")
    low, high = asked.start_step, asked.end_step
    if (low is None) != (high is None):
        raise invalid("If either start step or end step are specified, both must be specified.")
    if low is not None and high is not None and low > high:
        raise invalid(f"end_step must be greater than start_step. Found start_step={low} and end_step={high}.")
    key, found = str(asked.metric_key), []
    between = "" if low is None else " AND step >= ? AND step <= ?"
    values = () if low is None else (low, high)
    with reading(ws) as link:
        for run_id in sorted(asked.run_ids):
            rows = link.exec_driver_sql(say(link, _VALUES + between + _ORDER), (run_id, key, *values)).all()
            found += [ValueOf(key, value, at, step, run_id) for step, at, value in _plain(_thinned(rows, most))]
    return {"metrics": found} if found else {}


def _thinned(rows: Sequence[Any], most: int) -> Sequence[Any]:
    """Rows evenly over the steps, the first and the last step among them; all of a step that is taken."""
    steps = sorted({row[0] for row in rows})
    if len(steps) <= most:
        return rows
    every = len(steps) / most
    kept = {steps[int(place * every)] for place in range(most)} | {steps[-1]}
    return [row for row in rows if row[0] in kept]


def _plain(rows: Iterable[Any]) -> Iterable[tuple[int, int, float | str]]:
    for step, at, value in rows:
        number = float(value)  # SQLite keeps NaN as a text
        yield step, _ms(at), number if number - number == 0 else wire.double(number)


def _ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def _place(token: str | None) -> int:
    if token in (None, ""):
        return 0
    if not str(token).isascii() or not str(token).isdigit() or len(str(token)) > 12:
        raise invalid(f"Invalid page token: {token}")
    return int(str(token))


def _require(link: Any, run_ids: list[str]) -> None:
    for run_id in run_ids:
        if link.exec_driver_sql(say(link, "SELECT 1 FROM tracked WHERE run_id = ?"), (run_id,)).first() is None:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found")


ROUTES = (
    Route("/metrics/get-history", ("GET",), History, _history, writes=False),
    Route("/metrics/get-history-bulk-interval", ("GET",), Interval, _interval, writes=False),
)
