"""Runs as a table: a row a run, a column for each parameter, metric and tag; whole, or page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tidemill.core.graphs.committing import reading
from tidemill.core.graphs.tracked import say
from tidemill.core.workspace import Workspace
from tidemill.track import experiments
from tidemill.track.searching.experiments import search_experiments
from tidemill.track.searching.found import Found
from tidemill.track.searching.runs import search

if TYPE_CHECKING:
    import polars as pl

HEADS = ("run_id", "experiment", "name", "status", "owner", "start", "end")
ENTITIES = ("params", "metrics", "tags")
PAGE = 2000  # runs that are read at once
NEWEST = 1000  # runs whose names of parameters and tags are offered

_METRICS = """WITH RECURSIVE k(key) AS (
  SELECT min(key) FROM latest WHERE experiment = ?
  UNION ALL SELECT (SELECT min(l.key) FROM latest l WHERE l.experiment = ? AND l.key > k.key) FROM k
    WHERE k.key IS NOT NULL)
SELECT key FROM k WHERE key IS NOT NULL"""  # one look-up a name, however many runs there are


def keys(ws: Workspace, experiment: int, *, newest: int | None = NEWEST) -> dict[str, list[str]]:
    """The names of parameters, metrics and tags in an experiment. newest: look for parameters and tags in so many runs
    only; None: in all."""
    of = "SELECT run_id FROM tracked WHERE experiment = ? AND stage = 'active' ORDER BY start_ms DESC"
    of += "" if newest is None else f" LIMIT {int(newest)}"
    found: dict[str, list[str]] = {}
    with reading(ws) as link:
        for entity in ("params", "tags"):
            asked = f"SELECT DISTINCT key FROM run_{entity} WHERE run_id IN ({of}) ORDER BY key"  # noqa: S608  our names
            found[entity] = [row[0] for row in link.exec_driver_sql(say(link, asked), (experiment,))]
        rows = link.exec_driver_sql(say(link, _METRICS), (experiment, experiment))
        found["metrics"] = sorted(row[0] for row in rows)
    return {entity: found[entity] for entity in ENTITIES}


def totals(ws: Workspace) -> dict[int, tuple[int, int]]:
    """How many active runs each experiment has, and when something of them changed last (ms since 1970)."""
    asked = (
        "SELECT experiment, count(*), max(start_ms), max(end_ms) FROM tracked WHERE stage = 'active' "
        "GROUP BY experiment"
    )
    with reading(ws) as link:
        rows = link.exec_driver_sql(asked).fetchall()
    return {row[0]: (int(row[1]), max(row[2] or 0, row[3] or 0)) for row in rows}


def parents(ws: Workspace, run_ids: Sequence[str]) -> dict[str, str]:
    """The run that each of these is inside of, where it is inside of one. run_ids: at most 1,000."""
    marks = ", ".join("?" * len(run_ids))
    asked = f"SELECT id, parent FROM runs WHERE parent IS NOT NULL AND id IN ({marks})"  # noqa: S608  no text of users
    if not run_ids:
        return {}
    with reading(ws) as link:
        return {row[0]: row[1] for row in link.exec_driver_sql(say(link, asked), tuple(run_ids))}


def pages(
    ws: Workspace,
    among: Sequence[int],
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    fields: Sequence[str] = ENTITIES,
) -> Iterator[tuple[Found, ...]]:
    """All runs that match, in their order, some at a time."""
    token = None
    while True:
        found = search(ws, among, filter, order_by=order_by, limit=PAGE, token=token, fields=fields)
        yield found.runs
        token = found.token
        if token is None:
            return


def frame(
    ws: Workspace,
    filter: str = "",
    *,
    experiments: Sequence[str] = (),
    order_by: Sequence[str] = (),
) -> pl.DataFrame:
    """All runs that match, a row each: HEADS, then "params.<name>" (text), "metrics.<name>" (the last value, a double)
    and "tags.<name>" (text); null where a run has none.

    experiments: names; none for all that are active. start and end: times in UTC. Raises NotFound for an unknown
    experiment, BadInput for a filter or an order that cannot be read.
    """
    return framed(named(ws, experiments), pages(ws, list(named(ws, experiments)), filter, order_by=order_by))


def named(ws: Workspace, names: Sequence[str]) -> dict[int, str]:
    """Experiments by id: those of these names, or all that are active. Raises NotFound."""
    if names:
        return {each.id: each.name for each in (experiments.find(ws, name) for name in names)}
    return {each.id: each.name for each in search_experiments(ws, limit=10_000).experiments}


def framed(names: Mapping[int, str], found: Iterator[tuple[Found, ...]]) -> pl.DataFrame:
    """Runs as a frame; see `frame`. names: of the experiments, by id."""
    import polars as pl

    heads: dict[str, list[Any]] = {name: [] for name in HEADS}
    columns: dict[str, dict[int, Any]] = {}
    rows = 0
    for runs in found:
        for run in runs:
            for name, value in zip(HEADS, head(run, names), strict=True):
                heads[name].append(value)
            for name, cell in cells(run).items():
                columns.setdefault(name, {})[rows] = cell
            rows += 1
    kinds = {"start": pl.Datetime("ms", "UTC"), "end": pl.Datetime("ms", "UTC")}
    made = [pl.Series(name, values, dtype=kinds.get(name, pl.String())) for name, values in heads.items()]
    for name in sorted(columns, key=lambda each: (ENTITIES.index(each.partition(".")[0]), each)):
        kind = pl.Float64() if name.startswith("metrics.") else pl.String()
        made.append(pl.Series(name, [columns[name].get(row) for row in range(rows)], dtype=kind))
    return pl.DataFrame(made)


def head(run: Found, names: Mapping[int, str]) -> tuple[Any, ...]:
    """The values of HEADS."""
    times = (None if ms is None else datetime.fromtimestamp(ms / 1000, UTC) for ms in (run.start_ms, run.end_ms))
    return (run.run_id, names.get(run.experiment, str(run.experiment)), run.name, run.status, run.owner, *times)


def cells(run: Found) -> dict[str, str | float]:
    """What the run has of parameters, metrics and tags, by column."""
    return {
        **{f"params.{name}": value for name, value in run.params.items()},
        **{f"metrics.{name}": last.value for name, last in run.metrics.items()},
        **{f"tags.{name}": value for name, value in run.tags.items()},
    }
