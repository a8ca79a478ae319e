"""Datasets: named tables whose every version is an artifact, made by a recorded run.

Versions lie on branches ("main" where none is named). In the folder versioning, `versions` finds them, `branches`
merges branches, `diffs` compares versions; a small change is written to small tables over the base (`layers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import polars as pl

from tidemill.core.errors import BadInput, EmptyInput, require_columns
from tidemill.core.recording import recorded
from tidemill.core.rowhash import rows_digest
from tidemill.core.schema import fitted, storable
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data.versioning import diffs, keys, layers, shapes
from tidemill.data.versioning.layers import Change, Content
from tidemill.data.versioning.versions import (
    KIND,
    MAIN,
    Ref,
    find,
    get,
    log,
    names,
    resolve,
    tag,
    tags,
    untag,
)
from tidemill.data.versioning.writing import Judge, Step, begin, next_number, plain, record, required, writing

__all__ = [
    "KIND",
    "MAIN",
    "Ref",
    "add",
    "add_column",
    "delete",
    "find",
    "get",
    "log",
    "names",
    "next_number",
    "plain",
    "reads",
    "record",
    "required",
    "resolve",
    "revert",
    "scan",
    "tag",
    "tags",
    "untag",
    "update",
    "writing",
]


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
    branch: str = MAIN,
    ordered: bool | None = None,
    made_of: Sequence[DatasetVersion] = (),
) -> DatasetVersion:
    """Append rows to a dataset (or replace it): the next version of a branch.

    key: the column that identifies a row, unique over the whole dataset. event_time, known_time: columns of UTC times,
    when it happened and from when on it could be known. ordered: the digest depends on the order of the rows, and a
    scan gives them in it; None leaves it as it is (a new dataset has no order). made_of: versions that the rows were
    cut, joined or counted from by hand: the run reads them, and the tags of a column follow into one of its name.
    Adding rows that are all there already returns the version that is there; rows that a killed import wrote but did
    not record are set aside first. So an import can be run again. A replacement that differs in few rows by key stores
    those. Writers of one dataset wait for one another.
    Raises EmptyInput, UnknownColumn, WrongType, or BadInput for keys that are missing, repeated or already taken.
    """
    where = f"the rows for dataset {name!r}"
    if frame.height == 0:
        raise EmptyInput(f"no rows to add to dataset {name!r}; give at least one")
    shapes.check(frame, key, [column for column in (event_time, known_time) if column is not None], where)
    with writing(ws, name):
        before = begin(ws, name, branch)
        if before is not None and mode == "append":
            shapes.check_same(before, key, event_time, known_time, ordered)
            held = layers.content(before)
            frame = fitted(frame, layers.schema(ws.tables, held), table=f"dataset {name!r}", where=where)
            if len(keys.taken(ws.tables, held, frame[key])):
                return _already_there(ws, before, frame)
        else:
            frame = storable(frame, where=where)
            same = before is not None and _same(ws, before, frame, key, event_time, known_time, ordered)
            if same and before is not None and reads(ws, before, made_of):
                return before
        inputs = ([] if before is None else [("parent", before)]) + [("made of", each) for each in made_of]
        with recorded(ws, "data.import", name, inputs=inputs, params={"source": source, "mode": mode}) as run:
            change: Change | None = None
            if before is None or mode == "replace":
                made, change = _replaced(ws, name, before, frame, key=key, ordered=ordered)
            else:
                made = _appended(ws, before, frame)
            return record(
                run,
                name,
                made,
                step="append" if mode == "append" else "replace",
                branch=branch,
                event_time=event_time,
                known_time=known_time,
                parent=before,
                added=frame.height if change is None else _height(change.added),
                first_known=shapes.first_known(frame, known_time) if mode == "append" else None,
                message=message,
                more=None if change is None else _counts(change),
            )


def update(
    ws: Workspace,
    name: str,
    frame: pl.DataFrame,
    *,
    message: str = "",
    source: str = "",
    branch: str = MAIN,
    judge: Judge | None = None,
) -> DatasetVersion:
    """Give existing rows new values: the frame has the key and the columns to change, a row each.

    Stores the changed values only. judge: sees the rows as they will be, and raises to stop it. A change holds at
    every time, as a replacement does. Values that are all there already give the version that is there. Raises
    EmptyInput, UnknownColumn, WrongType, and BadInput for keys that are not there (naming them), missing or
    repeated.
    """
    where = f"the new values for dataset {name!r}"
    with writing(ws, name):
        before = required(ws, name, branch)
        have = layers.schema(ws.tables, layers.content(before))
        require_columns(frame.columns, have, where=f"dataset {name!r}")
        require_columns([before.key], frame.columns, where=where)
        _require_values(frame, before.key, name)
        times = [column for column in (before.event_time, before.known_time) if column in frame.columns]
        shapes.check(frame, before.key, [each for each in times if each is not None], where)
        kinds = {column: have[column] for column in frame.columns}
        change = Change(changed=fitted(frame, kinds, table=f"dataset {name!r}", where=where))
        return _changed(ws, before, change, "update", where, message=message, source=source, branch=branch, judge=judge)


def add_column(
    ws: Workspace,
    name: str,
    frame: pl.DataFrame,
    *,
    message: str = "",
    source: str = "",
    branch: str = MAIN,
    judge: Judge | None = None,
) -> DatasetVersion:
    """Add columns: the frame has the key and the new columns; rows that it does not name get nulls.

    Stores the new columns only. Raises EmptyInput, UnknownColumn, WrongType, and BadInput for a column that is there
    already or for keys that are not there (naming them), missing or repeated.
    """
    where = f"the new columns for dataset {name!r}"
    with writing(ws, name):
        before = required(ws, name, branch)
        require_columns([before.key], frame.columns, where=where)
        _require_values(frame, before.key, name)
        there = [column for column in frame.columns if column in before.columns and column != before.key]
        if there:
            raise BadInput(f"column {there[0]!r} is in dataset {name!r} already; change its values with update")
        shapes.check(frame, before.key, [], where)
        have = layers.schema(ws.tables, layers.content(before))
        made = fitted(frame.select(before.key), {before.key: have[before.key]}, table=f"dataset {name!r}", where=where)
        made = made.hstack(storable(frame.drop(before.key), where=where))
        change = Change(changed=made)
        return _changed(
            ws, before, change, "columns", where, message=message, source=source, branch=branch, judge=judge
        )


def delete(
    ws: Workspace,
    name: str,
    gone: Iterable[Any],  # Any: values of the key column
    *,
    message: str = "",
    branch: str = MAIN,
) -> DatasetVersion:
    """Leave out the rows with these keys from the next version on; older versions keep them.

    What must not be in any version is for erasure. Raises EmptyInput, WrongType, and BadInput naming keys that are not
    there.
    """
    where = f"the keys to take out of dataset {name!r}"
    with writing(ws, name):
        before = required(ws, name, branch)
        kind = layers.schema(ws.tables, layers.content(before))[before.key]
        removed = shapes.keys_of(gone, before.key, kind, where)
        if not len(removed):
            raise EmptyInput(f"no keys to take out of dataset {name!r}; give at least one")
        return _changed(ws, before, Change(removed=removed), "delete", where, message=message, branch=branch)


def revert(ws: Workspace, name: str, ref: Ref, *, message: str = "", branch: str = MAIN) -> DatasetVersion:
    """A new version of the branch with what an older one held; stores nothing. The head is returned if it holds that.

    ref: number, tag, branch or digest (see `resolve`).
    """
    with writing(ws, name):
        before, back = required(ws, name, branch), resolve(ws, name, ref)
        if (back.digest, back.columns, back.key) == (before.digest, before.columns, before.key):
            return before
        inputs = [("parent", before), ("reverted to", back)]
        with recorded(ws, "data.revert", name, inputs=inputs, params={"to": back.version}) as run:
            return record(
                run,
                name,
                layers.content(back),
                step="revert",
                branch=branch,
                event_time=back.event_time,
                known_time=back.known_time,
                parent=before,
                added=0,
                message=message or f"back to version {back.version}",
                more={"reverted_to": back.id},
            )


def scan(
    ws: Workspace, version: DatasetVersion, *, columns: Iterable[str] | None = None, verify: bool = True
) -> pl.LazyFrame:
    """The rows of that version; under a clock only those whose known time is not later.

    columns: only these, which spares reading the layers of others. verify=False: a look, where a use would count and
    digest what it reads (once a process). Raises UnknownColumn, Corrupt.
    """
    held = layers.content(version)
    known = version.known_time if ws.clock is not None else None
    if columns is None:
        rows = layers.scan(ws.tables, held, verify=verify)
        return rows if known is None else rows.filter(pl.col(known) <= ws.clock)
    wanted = list(dict.fromkeys(columns))
    require_columns(wanted, version.columns, where=f"dataset {version.name!r}")
    if known is None:
        return layers.scan(ws.tables, held, columns=wanted, verify=verify)
    rows = layers.scan(ws.tables, held, columns=list(dict.fromkeys([*wanted, known])), verify=verify)
    return rows.filter(pl.col(known) <= ws.clock).select(wanted)


# -------------------------------------------------------------------------------------------------------------- inside


def _changed(
    ws: Workspace,
    before: DatasetVersion,
    change: Change,
    step: Step,
    where: str,
    *,
    message: str,
    branch: str,
    source: str = "",
    judge: Judge | None = None,
) -> DatasetVersion:
    """The version after a change to rows that are there; the version itself where nothing differs."""
    held = layers.content(before)
    params = {"source": source, "rows": change.replaced}
    old = layers.touched(ws.tables, held, change, where=where)
    if layers.changes_nothing(held, change, old):
        return before
    if judge is not None:
        judge(layers.rows_after(ws.tables, held, change))
    with recorded(ws, f"data.{step}", before.name, inputs=[("parent", before)], params=params) as run:
        made = layers.applied(ws.tables, held, change, old, number=next_number(ws, before.name))
        counts = _counts(change)
        run.result(counts)
        return record(
            run,
            before.name,
            made,
            step=step,
            branch=branch,
            event_time=before.event_time,
            known_time=before.known_time,
            parent=before,
            added=0,
            message=message,
            more=counts,
        )


def _appended(ws: Workspace, before: DatasetVersion, frame: pl.DataFrame) -> Content:
    held = layers.content(before)
    number = next_number(ws, before.name) if held.layers else 0
    made = layers.applied(ws.tables, held, Change(added=frame), None, number=number)
    keys.appended(ws.tables, held.base, made.base, frame[before.key])
    return made


def _replaced(
    ws: Workspace, name: str, before: DatasetVersion | None, frame: pl.DataFrame, *, key: str, ordered: bool | None
) -> tuple[Content, Change | None]:
    """The rows instead of those of `before`: by the differences (given too) where they are few, else the whole."""
    keep = before is not None and bool(before.artifact.meta.get("ordered")) if ordered is None else ordered
    change = None if before is None else diffs.change_to(ws.tables, layers.content(before), frame, key, keep)
    if before is None or change is None:
        return layers.created(ws.tables, f"datasets/{name}", frame, key=key, ordered=keep), None
    held = layers.content(before)
    old = layers.touched(ws.tables, held, change, where=f"dataset {name!r}")
    return layers.applied(ws.tables, held, change, old, number=next_number(ws, name)), change


def _counts(change: Change) -> dict[str, int]:
    """How many rows have new values, and how many are gone."""
    removed = 0 if change.removed is None else len(change.removed)
    return {"changed": change.replaced - removed, "removed": removed}


def _height(rows: pl.DataFrame | None) -> int:
    return 0 if rows is None else rows.height


def _same(
    ws: Workspace,
    before: DatasetVersion,
    frame: pl.DataFrame,
    key: str,
    event_time: str | None,
    known_time: str | None,
    ordered: bool | None,
) -> bool:
    """Whether a replacement would give the same version again."""
    meta = before.artifact.meta
    was = bool(meta.get("ordered"))
    if (before.key, before.event_time, before.known_time) != (key, event_time, known_time) or ordered not in (
        None,
        was,
    ):
        return False
    if meta.get("first_known") is not None or before.rows != frame.height:
        return False
    if list(layers.schema(ws.tables, layers.content(before)).items()) != list(frame.schema.items()):
        return False
    return int(before.digest, 16) == rows_digest(layers.placed(frame) if was else frame)


def reads(ws: Workspace, version: DatasetVersion, made_of: Sequence[DatasetVersion]) -> bool:
    """Whether the run that made the version has read all of these."""
    edges = ws.graph.edges([str(version.artifact.run_id)]) if made_of else []
    return {each.id for each in made_of} <= {edge.artifact_id for edge in edges if edge.role == "in"}


def _require_values(frame: pl.DataFrame, key: str, name: str) -> None:
    if frame.height == 0:
        raise EmptyInput(f"no rows to change in dataset {name!r}; give at least one")
    if frame.width < 2:
        raise BadInput(f"the frame for dataset {name!r} has the key {key!r} only; give a column of values too")


def _already_there(ws: Workspace, before: DatasetVersion, frame: pl.DataFrame) -> DatasetVersion:
    rows = layers.scan(ws.tables, layers.content(before), verify=False)
    there = rows.join(frame.lazy().select(before.key), on=before.key, how="semi").collect()
    if rows_digest(there) == rows_digest(frame):
        return before
    shown = ", ".join(map(str, there[before.key].head(shapes.SHOWN)))
    raise BadInput(
        f"{there.height} keys of the rows for dataset {before.name!r} are there already, such as {shown}; "
        "give rows with new keys, or mode='replace'"
    )
