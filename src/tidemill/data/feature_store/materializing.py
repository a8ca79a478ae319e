"""Bringing a view's datasets into its online store: all of it, or only what came since the last time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
import polars as pl

from tidemill.core.errors import NotFound, WrongType
from tidemill.core.ids import digest, iso, utc_now
from tidemill.core.locks import locked
from tidemill.core.recording import recorded
from tidemill.core.rowhash import add, as_text, rows_digest
from tidemill.core.types import Artifact, DatasetVersion
from tidemill.core.types import View as Record
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.feature_store import features
from tidemill.data.feature_store.asof import winners
from tidemill.data.feature_store.online import KIND, Materialized, address
from tidemill.data.feature_store.online_stores import Change, Entry, OnlineStore, Pruning, open_store
from tidemill.data.feature_store.periods import ranked
from tidemill.data.feature_store.vectors import MICROSECOND, Held, KeyKind, Kind, State, key_text, microseconds, moment
from tidemill.data.feature_store.views import Source, View

KEY, KNOWN, EVENT, ROW, VALUES = "__key", "__known", "__event", "__row", "__values"
CLOCK = pl.Datetime("us", "UTC")

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Added:
    """What a source gets: rows of a version, after `before` is there (None: after nothing)."""

    version: DatasetVersion
    held: Held
    frame: pl.DataFrame


def materialize(
    ws: Workspace,
    view: View | str,
    *,
    until: datetime | None = None,
    history: timedelta | None = None,
    store: str | None = None,
    progress: Progress | None = None,
) -> Materialized:
    """Bring the online store up to the newest versions of the view's datasets, as a recorded run.

    Only rows that came since the last time are added (late ones in their place), as long as the datasets were only
    appended to; otherwise the store is built anew. until: leave out rows that become known later; default: the
    workspace's clock, or none. history: keep only what is needed to answer for moments from `until` (or now) - history
    on. store: a file, postgresql:// or redis://; default: a SQLite file in the workspace. progress: called with the
    entries that are worked out, a source after the other.
    """
    view = features.get(ws, view) if isinstance(view, str) else view
    defined = _defined(ws, view)
    last = until or ws.clock
    place = address(ws, view.name, store)
    lock = ws.root / "locks" / f"{digest(f'online/{place}/{view.name}'.encode())[:16]}.lock"
    with locked(lock, what=f"online view {view.name!r}"):
        held = open_store(place, view.name)
        try:
            return _brought(ws, view, defined, held, None if last is None else microseconds(last), history, progress)
        finally:
            held.close()


def _brought(
    ws: Workspace,
    view: View,
    defined: Artifact,
    store: OnlineStore,
    until: int | None,
    history: timedelta | None,
    progress: Progress | None,
) -> Materialized:
    used = features.versions(ws, view)
    raw = store.state()
    before = None if raw is None else State.of(raw)
    added = None if before is None else _since(ws, view, used, before, until)
    anew = added is None
    if added is None:
        added = [_whole(ws, source, used[source.dataset], until) for source in view.sources]
    horizon = (
        None if history is None else (microseconds(utc_now()) if until is None else until) - history // MICROSECOND
    )
    if before is not None and not anew and before.horizon is not None:
        horizon = max(before.horizon, horizon or before.horizon)
    state = State(view, tuple(each.held for each in added), horizon)
    inputs: list[tuple[str, Artifact | Record]] = [("view", defined), *used.items()]
    params = {"anew": anew, "until": None if until is None else iso(moment(until))}
    with recorded(ws, "data.materialize", view.name, inputs=inputs, params=params) as run:
        changes = []
        for number, (source, each) in enumerate(zip(view.sources, added, strict=True)):
            changes.append(_change(store, number, source, each, anew=anew))
            if progress is not None:
                progress(sum(len(change.entries) for change in changes), None)
        store.write(state.encoded(), changes, clear=anew, pruning=_pruning(view, horizon))
        written = sum(len(each.entries) for each in changes)
        run.result({"entries": written})
        meta = {"until": params["until"], "horizon": None if horizon is None else iso(moment(horizon))}
        made = run.emit_json(KIND, view.name, json.loads(state.encoded()), meta=meta)
        return Materialized(view.name, written, anew, None if until is None else moment(until), made)


def _defined(ws: Workspace, view: View) -> Artifact:
    try:
        found = features.find(ws, view.name)
        if View.of(json.loads(ws.store.get(found.digest))) == view:
            return found
    except NotFound:
        pass
    return features.define(ws, view)


def _whole(ws: Workspace, source: Source, version: DatasetVersion, until: int | None) -> Added:
    features.require_source(source, version)
    frame = _known(datasets.scan(replace(ws, clock=None), version), version, None, until).collect()
    return Added(version, _held(source, version, frame, until), frame)


def _since(
    ws: Workspace, view: View, used: dict[str, DatasetVersion], before: State, until: int | None
) -> list[Added] | None:
    """What came since `before`, for each source; None when that cannot be added to what is there."""
    if before.stale or before.view != view:
        return None
    made = []
    for source, held in zip(view.sources, before.held, strict=True):
        if until is not None and (held.until is None or held.until > until):
            return None  # there is more than was asked for
        version = used[source.dataset]
        fresh = _appended(ws, held, version)
        if fresh is None:
            return None
        rows = [_known(fresh.lazy(), version, None, until)]
        if held.until is not None and held.until != until:
            old = datasets.scan(replace(ws, clock=None), version)
            rows.append(
                _known(
                    old.join(fresh.lazy().select(version.key), on=version.key, how="anti"), version, held.until, until
                )
            )
        frame = pl.concat(rows).collect()
        if _held(source, version, frame, until) != replace(
            held, version=version.id, digest=version.digest, until=until
        ):
            return None  # another type
        made.append(Added(version, _held(source, version, frame, until), frame))
    return made


def _appended(ws: Workspace, held: Held, version: DatasetVersion) -> pl.DataFrame | None:
    """The rows that the version has more than the one that is held; None when it is not that one with more rows."""
    free = replace(ws, clock=None)
    rows = datasets.scan(free, version)
    if held.version == version.id and held.digest == version.digest:
        return rows.head(0).collect()
    try:
        old = ws.graph.get(held.version)
    except NotFound:  # another workspace wrote here
        return None
    assert isinstance(old, Artifact)
    if old.digest != held.digest or DatasetVersion(old).key != version.key:
        return None
    there = datasets.scan(free, DatasetVersion(old), columns=[version.key])
    fresh = rows.join(there, on=version.key, how="anti").collect()
    # A digest is a sum over rows: old rows and fresh ones make up the version only if they are all of it, unchanged.
    return fresh if as_text(add(int(held.digest, 16), rows_digest(fresh))) == version.digest else None


def _known(rows: pl.LazyFrame, version: DatasetVersion, after: int | None, until: int | None) -> pl.LazyFrame:
    """Those that become known after one moment and until another."""
    known = pl.max_horizontal(version.event_time or "", version.known_time or version.event_time or "")
    if after is not None:
        rows = rows.filter(known > moment(after))
    return rows if until is None else rows.filter(known <= moment(until))


def _held(source: Source, version: DatasetVersion, frame: pl.DataFrame, until: int | None) -> Held:
    keys = tuple(_key_kind(frame.schema[name], name, source.dataset) for name in source.keys)
    values = tuple(_kind(frame.schema[name], name, source.dataset) for name in source.columns)
    return Held(source.dataset, version.id, version.digest, until, keys, values)


def _change(store: OnlineStore, number: int, source: Source, added: Added, *, anew: bool) -> Change:
    """The entries to write: with those that are there already, only what is found at some moment."""
    version = added.version
    event = version.event_time or ""
    found = winners(added.frame, by=source.keys, event=event, known=version.known_time, tie=version.key)
    if not found.height:
        return Change(number, {}, [])
    made = _written(source, version, added.held, found)
    if anew:
        return Change(number, {}, _entries(made))
    since = dict(made.group_by(KEY).agg(pl.col(KNOWN).min().dt.epoch("us")).iter_rows())
    there = _frame(store.history(number, since), made)
    firsts = {**since, **dict(there.group_by(KEY).agg(pl.col(KNOWN).min().dt.epoch("us")).iter_rows())}
    firsts = {key: min(first, since[key]) for key, first in firsts.items()}
    both = winners(pl.concat([there, made]), by=[KEY], event=EVENT, known=KNOWN, tie=ROW)
    return Change(number, firsts, _entries(both))


def _written(source: Source, version: DatasetVersion, held: Held, found: pl.DataFrame) -> pl.DataFrame:
    """Key, clocks, row id and values as the store has them."""
    different = found.select(source.keys).unique()
    texts = [key_text(row, held.keys) for row in different.iter_rows()]
    keys = different.with_columns(pl.Series(KEY, texts, dtype=pl.String))
    encode = msgspec.msgpack.Encoder().encode
    values = [_plain(pl.col(name), kind) for name, kind in zip(source.columns, held.values, strict=True)]
    plain = found.select(*values, pl.col(version.event_time or "").dt.epoch("us").alias(EVENT))
    known = pl.max_horizontal(version.event_time or "", version.known_time or version.event_time or "")
    return (
        found.select(
            *source.keys,
            known.cast(CLOCK).alias(KNOWN),
            pl.col(version.event_time or "").cast(CLOCK).alias(EVENT),
            ranked(found[version.key]).alias(ROW),
            pl.Series(VALUES, [encode(row) for row in plain.iter_rows()], dtype=pl.Binary),
        )
        .join(keys, on=list(source.keys), how="left", maintain_order="left")
        .select(KEY, KNOWN, EVENT, ROW, VALUES)
    )


def _entries(frame: pl.DataFrame) -> list[Entry]:
    rows = frame.with_columns(pl.col(KNOWN, EVENT).dt.epoch("us")).select(KEY, KNOWN, EVENT, ROW, VALUES).iter_rows()
    return [Entry(key, known, event, json.dumps(row), values) for key, known, event, row, values in rows]


def _frame(entries: Sequence[Entry], like: pl.DataFrame) -> pl.DataFrame:
    rows = [(key, known, event, json.loads(row), values) for key, known, event, row, values in entries]
    schema: dict[str, pl.DataType] = {**like.schema, KNOWN: pl.Int64(), EVENT: pl.Int64()}
    made = pl.DataFrame(rows, schema=schema, orient="row")
    return made.with_columns(pl.from_epoch(pl.col(KNOWN, EVENT), "us").cast(CLOCK))


def _pruning(view: View, horizon: int | None) -> list[Pruning]:
    if horizon is None:
        return []
    return [
        Pruning(number, horizon, None if source.within is None else horizon - source.within // MICROSECOND)
        for number, source in enumerate(view.sources)
    ]


def _key_kind(kind: pl.DataType, column: str, dataset: str) -> KeyKind:
    if kind.is_integer():
        return "whole number"
    if kind == pl.String:
        return "text"
    if kind == pl.Boolean:
        return "yes or no"
    raise WrongType(
        f"column {column!r} of dataset {dataset!r} is {kind}; an online key is text, a whole number or yes/no: cast it"
    )


def _kind(kind: pl.DataType, column: str, dataset: str) -> Kind:
    if isinstance(kind, pl.Datetime):
        return "local time" if kind.time_zone is None else "time"
    if kind == pl.Date:
        return "date"
    if kind.is_decimal():
        return "decimal"
    inner = getattr(kind, "inner", kind)
    if inner.is_integer() or inner.is_float() or inner in (pl.String, pl.Boolean, pl.Binary):
        return "plain"
    raise WrongType(f"column {column!r} of dataset {dataset!r} is {kind}, which no online store holds; cast it")


def _plain(column: pl.Expr, kind: Kind) -> pl.Expr:
    if kind in ("time", "local time"):
        return column.dt.epoch("us")
    if kind == "date":
        return column.cast(pl.Int32)
    return column.cast(pl.String) if kind == "decimal" else column
