"""Datasets: named tables whose every version is an artifact, made by a recorded run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import polars as pl

from tidemill.core.errors import BadInput, EmptyInput, NotFound, WrongType, nearest, require_columns
from tidemill.core.ids import digest, iso
from tidemill.core.locks import locked
from tidemill.core.recording import Recorder, recorded
from tidemill.core.rowhash import rows_digest
from tidemill.core.schema import fitted, storable
from tidemill.core.tables import Tables
from tidemill.core.types import Artifact, DatasetVersion, Pinned, Query
from tidemill.core.workspace import Workspace

KIND = "dataset"
SHOWN = 5


def add(
    ws: Workspace,
    name: str,
    frame: pl.DataFrame,
    *,
    key: str,
    event_time: str | None = None,
    known_time: str | None = None,
    message: str = "",
    mode: Literal["append", "replace"] = "append",
    source: str = "",
) -> DatasetVersion:
    """Append rows to a dataset (or replace it): its next version.

    key: the column that identifies a row, unique over the whole dataset. event_time, known_time: columns of UTC times,
    when it happened and from when on it could be known. Adding rows that are all there already returns the version that
    is there; rows that a killed import wrote but did not record are set aside first. So an import can be run again.
    Processes of one machine import into a dataset one after another; let no two machines do it at once.
    Raises EmptyInput, UnknownColumn, WrongType, or BadInput for keys that are missing, repeated or already taken.
    """
    where = f"the rows for dataset {name!r}"
    if frame.height == 0:
        raise EmptyInput(f"no rows to add to dataset {name!r}; give at least one")
    times = [column for column in (event_time, known_time) if column is not None]
    require_columns([key, *times], frame.columns, where=where)
    _check_times(frame, times, where)
    _check_keys(frame, key, where)
    table = f"datasets/{name}"
    ws.tables.uri(table)  # a bad name stops here
    with locked(ws.root / "locks" / f"{digest(table.encode())[:16]}.lock", what=f"dataset {name!r}"):
        before = _newest(ws, name)
        if before is not None and mode == "append":
            _check_shape(before, key, event_time, known_time)
            frame = fitted(frame, ws.tables.schema(before.pinned), table=f"dataset {name!r}", where=where)
            there = ws.tables.scan(before.pinned).join(frame.lazy().select(key), on=key, how="semi").collect()
            if there.height:
                return _already_there(before, there, frame, key)
        else:
            frame = storable(frame, where=where)
        inputs = [] if before is None else [("parent", before)]
        with recorded(ws, "data.import", name, inputs=inputs, params={"source": source, "mode": mode}) as run:
            pinned = _write(ws.tables, table, frame, None if before is None or mode == "replace" else before.pinned)
            return emit(
                run,
                name,
                pinned,
                columns={column: str(kind) for column, kind in ws.tables.schema(pinned).items()},
                key=key,
                event_time=event_time,
                known_time=known_time,
                parent=before,
                added=frame.height,
                first_known=_first_known(frame, known_time) if mode == "append" else None,
                message=message,
            )


def emit(
    run: Recorder,
    name: str,
    pinned: Pinned,
    *,
    columns: Mapping[str, str],
    key: str,
    event_time: str | None = None,
    known_time: str | None = None,
    parent: DatasetVersion | None = None,
    added: int,
    first_known: str | None = None,
    message: str = "",
    more: Mapping[str, Any] | None = None,
) -> DatasetVersion:
    """Record rows that are written already as the dataset's next version, made by this run.

    added: rows that this version has and its parent hasn't. more: further facts of the version's record.
    """
    meta: dict[str, Any] = {
        "table": pinned.table,
        "table_version": pinned.version,
        "rows": pinned.rows,
        "columns": dict(columns),
        "key": key,
        "event_time": event_time,
        "known_time": known_time,
        "parent": None if parent is None else parent.id,
        "message": message,
        "added": added,
        "first_known": first_known,
        **(more or {}),
    }
    run.result({"rows": pinned.rows, "added": added})
    return DatasetVersion(run.emit(KIND, name, digest=pinned.digest, meta=meta))


def _write(tables: Tables, table: str, frame: pl.DataFrame, parent: Pinned | None) -> Pinned:
    """The rows after those of `parent`, or alone. What is newer than `parent` was never recorded, so it is left out."""
    if parent is not None:
        return tables.append(table, frame, parent=tables.restore(parent))
    return tables.replace(table, frame) if tables.exists(table) else tables.create(table, frame, exists="refuse")


def find(ws: Workspace, name: str, version: int | None = None) -> DatasetVersion | None:
    """The dataset's version, newest by default, or None.

    Under a clock the newest is the one without the versions that only added rows which were not known yet: the same
    one, whatever was imported since.
    """
    if version is None:
        return _newest(ws, name) if ws.clock is None else _newest_at(ws, name, iso(ws.clock))
    for artifact in ws.graph.find(Query("artifact", kind=KIND, name=name, version=version, limit=1)):
        assert isinstance(artifact, Artifact)
        return DatasetVersion(artifact)
    return None


def get(ws: Workspace, name: str, version: int | None = None) -> DatasetVersion:
    """The dataset's version, newest by default; NotFound names the nearest name or the versions there are."""
    found = find(ws, name, version)
    if found is not None:
        return found
    newest = _newest(ws, name)
    if newest is not None:
        raise NotFound(f"dataset {name!r} has no version {version}; it has 1 to {newest.version}")
    known = names(ws)
    raise NotFound(f"no dataset {name!r}; there are {', '.join(known) or 'none'}.{nearest(name, known)}")


def names(ws: Workspace) -> list[str]:
    """The names of all datasets, sorted."""
    return sorted({each.name for each in ws.graph.find(Query("artifact", kind=KIND, limit=1_000_000))})


def log(ws: Workspace, name: str) -> list[DatasetVersion]:
    """All versions, newest first, whatever the clock."""
    get(ws, name)
    return _versions(ws, name)


def scan(ws: Workspace, version: DatasetVersion) -> pl.LazyFrame:
    """The rows of that version; under a clock only those whose known time is not later."""
    rows = ws.tables.scan(version.pinned)
    if ws.clock is not None and version.known_time is not None:
        rows = rows.filter(pl.col(version.known_time) <= ws.clock)
    return rows


def diff(ws: Workspace, name: str, old: int, new: int) -> dict[str, Any]:
    """What differs between two versions: columns, and the keys of added, removed and changed rows.

    A row is changed when a column that both versions have, with the same type, has another value.
    """
    one, other = get(ws, name, old), get(ws, name, new)
    before, after = ws.tables.frame(one.pinned), ws.tables.frame(other.pinned)
    key = other.key
    if one.key != key or before.schema[key] != after.schema[key]:
        raise BadInput(
            f"dataset {name!r} has key {one.key!r} ({before.schema[one.key]}) in version {old} and {key!r} "
            f"({after.schema[key]}) in version {new}; only versions with the same key can be compared"
        )
    shared = [column for column in after.columns if column in before.columns]
    retyped = [column for column in shared if before.schema[column] != after.schema[column]]
    compared = [column for column in shared if column not in retyped]
    both = before.select(compared).join(
        after.select(compared).rename({column: f"{column}__new" for column in compared if column != key}), on=key
    )
    differs = [pl.col(column).ne_missing(pl.col(f"{column}__new")) for column in compared if column != key]
    changed = both.filter(pl.any_horizontal(differs or [pl.lit(False)]))
    return {
        "name": name,
        "old": old,
        "new": new,
        "columns_added": [column for column in after.columns if column not in before.columns],
        "columns_removed": [column for column in before.columns if column not in after.columns],
        "columns_retyped": retyped,
        "added": after.join(before.select(key), on=key, how="anti")[key].sort().to_list(),
        "removed": before.join(after.select(key), on=key, how="anti")[key].sort().to_list(),
        "changed": changed[key].sort().to_list(),
    }


def _versions(ws: Workspace, name: str, limit: int = 1_000_000) -> list[DatasetVersion]:
    found = ws.graph.find(Query("artifact", kind=KIND, name=name, limit=limit))
    return [DatasetVersion(each) for each in found if isinstance(each, Artifact)]


def _newest(ws: Workspace, name: str) -> DatasetVersion | None:
    return next(iter(_versions(ws, name, limit=1)), None)


def _newest_at(ws: Workspace, name: str, clock: str) -> DatasetVersion | None:
    versions = _versions(ws, name)
    for version in versions:
        first_known = version.artifact.meta.get("first_known")
        if first_known is None or first_known <= clock:
            return version
    return versions[-1] if versions else None


def _first_known(frame: pl.DataFrame, known_time: str | None) -> str | None:
    """When the first of the rows became known."""
    if known_time is None:
        return None
    first = frame[known_time].min()
    assert isinstance(first, datetime)
    return iso(first)


def _check_times(frame: pl.DataFrame, times: list[str], where: str) -> None:
    for column in times:
        kind = frame.schema[column]
        if not isinstance(kind, pl.Datetime) or kind.time_zone != "UTC":
            raise WrongType(
                f"column {column!r} of {where} is {kind}; a clock is Datetime in UTC: "
                f"pl.col({column!r}).dt.replace_time_zone('UTC')"
            )
        if frame[column].null_count():
            raise BadInput(f"column {column!r} of {where} has {frame[column].null_count()} nulls")


def _check_keys(frame: pl.DataFrame, key: str, where: str) -> None:
    keys = frame[key]
    if keys.null_count():
        raise BadInput(f"key column {key!r} of {where} has {keys.null_count()} nulls; fill them")
    twice = keys.filter(keys.is_duplicated()).unique(maintain_order=True)
    if len(twice):
        shown = ", ".join(map(str, twice.head(SHOWN)))
        raise BadInput(
            f"key column {key!r} of {where} repeats {len(twice)} values, such as {shown}; "
            "drop the duplicates first (tm.drop_duplicates)"
        )


def _check_shape(before: DatasetVersion, key: str, event_time: str | None, known_time: str | None) -> None:
    for what, old, new in (
        ("key", before.key, key),
        ("event_time", before.event_time, event_time),
        ("known_time", before.known_time, known_time),
    ):
        if old != new:
            raise BadInput(
                f"dataset {before.name!r} has {what}={old!r}, not {new!r}; append with the same, or replace it"
            )


def _already_there(before: DatasetVersion, there: pl.DataFrame, frame: pl.DataFrame, key: str) -> DatasetVersion:
    if rows_digest(there) == rows_digest(frame):
        return before
    shown = ", ".join(map(str, there[key].head(SHOWN)))
    raise BadInput(
        f"{there.height} keys of the rows for dataset {before.name!r} are there already, such as {shown}; "
        "give rows with new keys, or mode='replace'"
    )
