"""Features for training: a view joined to rows in time, with two clocks."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tidemill.core.errors import BadInput, require_columns
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import clocks, datasets
from tidemill.data.feature_store.asof import Join, as_of_all
from tidemill.data.feature_store.views import KIND, Source, View, find, get, source

__all__ = ["Source", "View", "define", "find", "get", "offline", "source", "versions"]


def define(ws: Workspace, view: View) -> Artifact:
    """Keep the view's definition under its name, as its next version if it differs from the newest one.

    Raises NotFound for a dataset that is not there, UnknownColumn for a column that it hasn't, BadInput for a dataset
    without an event time.
    """
    used = versions(ws, view)
    for each in view.sources:
        require_source(each, used[each.dataset])
    inputs = [(name, version) for name, version in used.items()]
    with recorded(ws, "data.define", view.name, inputs=inputs, params={"features": list(view.features)}) as run:
        return run.emit_json(KIND, view.name, view.body(), meta={"entities": list(view.entities)})


def versions(ws: Workspace, view: View) -> dict[str, DatasetVersion]:
    """The newest version of each dataset that the view reads, as could be known at the workspace's clock."""
    return {each.dataset: datasets.get(ws, each.dataset) for each in view.sources}


def offline(
    ws: Workspace,
    view: View | str,
    left: pl.DataFrame,
    *,
    time: str,
    zone: str | None = None,
    at: Mapping[str, DatasetVersion] | None = None,
) -> pl.DataFrame:
    """Exactly the rows of `left` in their order, each with the view's features as they were known at its `time`.

    left: has the view's entity columns and `time`, the moment for which to look back. Nulls where nothing was known, or
    where what was known is older than a source allows; never a value that became known later. zone: of times that have
    none, for example "Europe/London"; these, and times as text, become UTC. at: the versions to read, newest by
    default. Raises UnknownColumn, WrongType, or BadInput for a name that is taken.
    """
    view = get(ws, view) if isinstance(view, str) else view
    used = {**versions(ws, view), **(at or {})}
    require_columns([time, *view.entities], left.columns, where="the rows that ask for features")
    left = left.with_columns(clocks.utc(left[time], zone=zone, where="the rows that ask for features"))
    return as_of_all(left, [join(ws, each, used[each.dataset]) for each in view.sources], left_time=time)


def join(ws: Workspace, one: Source, version: DatasetVersion) -> Join:
    """What to look back into for one source: only the columns that are needed, read from that version."""
    require_source(one, version)
    clocks = [name for name in (version.event_time, version.known_time) if name is not None]
    wanted = list(dict.fromkeys([*one.keys, *clocks, *one.columns, version.key]))
    return Join(
        datasets.scan(ws, version, columns=wanted).collect(),
        version.event_time or "",
        one.columns,
        known=version.known_time,
        by=one.by,
        on=one.keys,
        within=one.within,
        prefix=one.prefix,
        tie=version.key,
    )


def require_source(one: Source, version: DatasetVersion) -> None:
    """Raise UnknownColumn for a column that the dataset hasn't, BadInput if it has no event time."""
    require_columns([*one.keys, *one.columns], version.columns, where=f"dataset {version.name!r}")
    if version.event_time is None:
        raise BadInput(f"dataset {version.name!r} has no event time; add it with event_time= to look back in time")
