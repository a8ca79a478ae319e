"""Branches of a dataset: named lines of versions, and their merge by key.

A branch begins at a version; what is written to it is a version of its own line. A merge takes what a branch changed
since the common ancestor, value by value: a value that only one side changed is taken, one that both changed alike
too; where they differ nothing is written and all conflicts are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.versioning import diffs, layers
from tidemill.data.versioning.layers import Change, Content
from tidemill.data.versioning.versions import (
    MAIN,
    Ref,
    all_versions,
    ancestry,
    branch_of,
    branch_starts,
    head,
    require_label,
    resolve,
    tags,
)
from tidemill.data.versioning.writing import Judge

Side = Literal["ours", "theirs"]
REMOVED, CHANGED = "removed", "changed"


@dataclass(frozen=True, slots=True)
class RowConflict:
    """One value that both sides changed, each in its way.

    column: None where one side removed the row and the other changed it; ours and theirs are then "removed" and
    "changed". base: the value in the common ancestor. Values as JSON holds them (`diffs.plain`).
    """

    key: Any
    column: str | None
    base: Any
    ours: Any
    theirs: Any

    def json(self) -> dict[str, Any]:
        """As JSON."""
        return {"key": self.key, "column": self.column, "base": self.base, "ours": self.ours, "theirs": self.theirs}


class MergeConflict(Conflict):
    """Two branches changed the same values; `conflicts` has them all, in order of key and column."""

    def __init__(self, message: str, conflicts: list[RowConflict]) -> None:
        super().__init__(message)
        self.conflicts = conflicts


def branch(ws: Workspace, name: str, label: str, *, at: Ref = None) -> DatasetVersion:
    """Begin a branch at a version (main's head by default), which is its head until something is written to it.

    Stores nothing. Raises BadInput for a label that is none, or is a branch or tag already.
    """
    require_label(label, what="branch")
    with datasets.writing(ws, name):
        start = resolve(ws, name, at)
        if label == MAIN or label in branch_starts(ws, name):
            raise BadInput(f"dataset {name!r} has a branch {label!r} already; write to it, or choose another name")
        if label in tags(ws, name):
            raise BadInput(f"{label!r} is a tag of dataset {name!r}; choose another name for the branch")
        body = {"branch": label, "version": start.version, "artifact": start.id}
        ws.graph.record(f"branches/{name}", "made", body, actor=ws.settings.who)
    return start


def branches(ws: Workspace, name: str) -> dict[str, DatasetVersion]:
    """Branch to its head, main first, whatever the clock."""
    datasets.get(ws, name)
    found = {label: head(ws, name, label) for label in (MAIN, *sorted(branch_starts(ws, name)))}
    return {label: version for label, version in found.items() if version is not None}


def merge(
    ws: Workspace,
    name: str,
    source: Ref,
    *,
    into: str = MAIN,
    resolve: Mapping[Any, Side] | None = None,  # Any: a value of the key column, or its text
    message: str = "",
    judge: Judge | None = None,
) -> DatasetVersion:
    """Bring what `source` (a branch, or any version) changed into a branch: its next version, with both as inputs.

    Rows are merged by key, from the newest common ancestor. resolve: for a row with conflicts, whose values to take.
    judge: sees the rows that a merge of two changed sides makes, and raises to stop it.
    The head is returned where nothing is to be merged. Raises MergeConflict with every conflict that `resolve` does not
    settle, and BadInput where the schemas cannot be brought together; nothing is written then.
    """
    settled = {_text(row): side for row, side in (resolve or {}).items()}
    wrong = next((side for side in settled.values() if side not in ("ours", "theirs")), None)
    if wrong is not None:
        raise BadInput(f"resolve says {wrong!r}; allowed are 'ours' (of {into!r}) and 'theirs' (of {source!r})")
    with datasets.writing(ws, name):
        ours, theirs = datasets.required(ws, name, into), _resolve(ws, name, source)
        every = all_versions(ws, name)
        mine, other = ancestry(ours, every), ancestry(theirs, every)
        if any(each.id == theirs.id for each in mine):
            return ours
        common = next((each for each in mine if each.id in {found.id for found in other}), None)
        if common is None:
            raise BadInput(f"version {theirs.version} and {into!r} of dataset {name!r} have no version in common")
        params = {"source": _label(source, theirs), "into": into, "base": common.version}
        if common.id == ours.id:
            steps: list[Change] = []
        else:
            steps = _merged(ws, common, ours, theirs, settled, judge)
        inputs = [("ours", ours), ("theirs", theirs), ("base", common)]
        with recorded(ws, "data.merge", name, inputs=inputs, params=params) as run:
            made = layers.content(theirs if common.id == ours.id else ours)
            number = datasets.next_number(ws, name)
            for change in steps:
                old = layers.touched(ws.tables, made, change, where=f"dataset {name!r}")
                made = layers.applied(ws.tables, made, change, old, number=number)
            return datasets.record(
                run,
                name,
                made,
                step="merge",
                branch=into,
                event_time=theirs.event_time if common.id == ours.id else ours.event_time,
                known_time=theirs.known_time if common.id == ours.id else ours.known_time,
                parent=ours,
                added=sum(0 if each.added is None else each.added.height for each in steps),
                message=message or f"merge {params['source']} into {into}",
                more={"merged": theirs.id, "base_version": common.version},
            )


def _resolve(ws: Workspace, name: str, ref: Ref) -> DatasetVersion:
    if ref is None:
        raise NotFound(f"name a branch or version of dataset {name!r} to merge")
    return resolve(ws, name, ref)


def _label(ref: Ref, version: DatasetVersion) -> str:
    return ref if isinstance(ref, str) else f"{branch_of(version)}@{version.version}"


# ---------------------------------------------------------------------------------------------------- three-way merge


def _merged(
    ws: Workspace,
    common: DatasetVersion,
    ours: DatasetVersion,
    theirs: DatasetVersion,
    settled: Mapping[str, Side],
    judge: Judge | None,
) -> list[Change]:
    """What to change in ours, one after another, so that it has what theirs changed."""
    base, mine, other = (layers.content(each) for each in (common, ours, theirs))
    kinds = [layers.schema(ws.tables, each) for each in (base, mine, other)]
    columns = _columns(kinds, common, ours, theirs)
    theirs_only = diffs.between(ws.tables, base, other, columns=list(kinds[2]))
    key = base.key
    touched = pl.concat([each.select(key) for each in (theirs_only.added, theirs_only.removed, theirs_only.flags)])
    _require_kept(kinds, touched, theirs)
    sides = [_rows(ws, each, touched, columns) for each in (base, mine, other)]
    target, conflicts = three_way(*sides, key=key, settled=settled)
    if conflicts:
        told = "; ".join(_told(each) for each in conflicts[: layers.SHOWN])
        more = " ..." if len(conflicts) > layers.SHOWN else ""
        raise MergeConflict(
            f"{len(conflicts)} conflicts between version {ours.version} and {theirs.version} of dataset {ours.name!r}: "
            f"{told}{more}. Nothing was merged; say whose values each row takes: resolve={{key: 'ours'}} or 'theirs'",
            conflicts,
        )
    if judge is not None:
        judge(target)
    return _steps(ws, mine, kinds[1], sides[1], target)


def three_way(
    base: pl.DataFrame, ours: pl.DataFrame, theirs: pl.DataFrame, *, key: str, settled: Mapping[str, Side]
) -> tuple[pl.DataFrame, list[RowConflict]]:
    """The rows that a merge gives, and the conflicts that `settled` (text of a key to a side) leaves.

    The frames have the same columns, and each key once at most. A value is theirs if only they changed it, else ours.
    Two rows added under one key are in conflict in each column in which they differ.
    """
    columns = [name for name in ours.columns if name != key]
    marked = [  # the key is renamed: it may have the name of a mark
        each.select(
            pl.col(key).alias("key"),
            *(pl.col(name).alias(f"{mark}:{name}") for name in columns),
            pl.lit(True).alias(mark),
        )
        for mark, each in zip("bot", (base, ours, theirs), strict=True)
    ]
    keys = pl.concat([each.select("key") for each in marked]).unique().sort("key")
    for each in marked:
        keys = keys.join(each, on="key", how="left", maintain_order="left")
    side = pl.Series(
        "side", [settled.get(_text(each)) for each in keys["key"]] if settled else [None] * keys.height, pl.String
    )
    rows = keys.with_columns(side, *(pl.col(mark).fill_null(False) for mark in "bot"))
    b, o, t, they_win = pl.col("b"), pl.col("o"), pl.col("t"), (pl.col("side") == "theirs").fill_null(False)

    def changed(mark: str, name: str) -> pl.Expr:
        return pl.col(f"{mark}:{name}").ne_missing(pl.col(f"b:{name}"))

    values, at_odds = [], {}
    for name in columns:
        mine, other = pl.col(f"o:{name}"), pl.col(f"t:{name}")
        both = o & t & mine.ne_missing(other) & (~b | (changed("o", name) & changed("t", name)))
        at_odds[name] = both
        ours_stay = (o & ~t) | (both & ~they_win) | (o & ~both & b & ~changed("t", name))
        values.append(pl.when(ours_stay).then(mine).otherwise(other).alias(name))
    we_changed, they_changed = (
        pl.any_horizontal(*(changed(mark, each) for each in columns), pl.lit(False)) for mark in "ot"
    )
    removed_by_them, removed_by_us = b & o & ~t & we_changed, b & ~o & t & they_changed
    there = (
        pl.when(removed_by_them).then(~they_win).when(removed_by_us).then(they_win).otherwise((o & t) | (~b & (o | t)))
    )
    target = rows.filter(there).select(pl.col("key").alias(key), *values)
    open_rows = rows.filter(pl.col("side").is_null())
    conflicts = [
        RowConflict(diffs.plain(row["key"]), name, *(diffs.plain(row[f"{mark}:{name}"]) for mark in "bot"))
        for name, both in at_odds.items()
        for row in open_rows.filter(both).iter_rows(named=True)
    ]
    for expression, words in ((removed_by_them, (CHANGED, REMOVED)), (removed_by_us, (REMOVED, CHANGED))):
        conflicts += [
            RowConflict(diffs.plain(each), None, None, *words) for each in open_rows.filter(expression)["key"]
        ]
    places = {_text(each): place for place, each in enumerate(open_rows["key"])} if conflicts else {}
    return target, sorted(conflicts, key=lambda each: (places[str(each.key)], each.column or ""))


def _columns(
    kinds: list[dict[str, pl.DataType]], common: DatasetVersion, ours: DatasetVersion, theirs: DatasetVersion
) -> dict[str, pl.DataType]:
    """The columns that the merge has: ours, and those that theirs added. BadInput where types differ."""
    base, mine, other = kinds
    versions = (common, ours, theirs)
    if len({(each.key, str(kind[each.key])) for each, kind in zip(versions, kinds, strict=True)}) > 1:
        raise BadInput(f"the branches of dataset {ours.name!r} have different keys; they cannot be merged by key")
    for name in {**mine, **other}:
        types = {
            f"{each[name]} in version {at.version}" for each, at in zip(kinds, versions, strict=True) if name in each
        }
        if len({each[name] for each in kinds if name in each}) > 1:
            raise BadInput(
                f"column {name!r} of dataset {ours.name!r} is {', '.join(sorted(types))}; give it one type in both "
                "branches, then merge"
            )
    lost = [name for name in base if name in mine and name not in other]
    if lost:
        raise BadInput(
            f"version {theirs.version} of dataset {ours.name!r} has no column {lost[0]!r} any more; take it out of "
            f"version {ours.version} too (add with mode='replace'), then merge"
        )
    return mine | {name: kind for name, kind in other.items() if name not in mine and name not in base}


def _require_kept(kinds: list[dict[str, pl.DataType]], touched: pl.DataFrame, theirs: DatasetVersion) -> None:
    """A column that we took out must not be in rows that they changed: the values would be lost silently."""
    base, mine, other = kinds
    dropped = [name for name in base if name not in mine and name in other]
    if dropped and touched.height:
        raise BadInput(
            f"column {dropped[0]!r} was taken out, and version {theirs.version} has it in rows that it changed; take "
            "it out there too (add with mode='replace'), then merge"
        )


def _rows(ws: Workspace, held: Content, keys: pl.DataFrame, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The rows of these keys, with nulls in columns that the content hasn't."""
    rows = layers.scan(ws.tables, held, verify=False).join(keys.lazy(), on=held.key, how="semi").collect()
    return rows.select(
        pl.col(name) if name in rows.columns else pl.lit(None, kind).alias(name) for name, kind in columns.items()
    )


def _steps(
    ws: Workspace, mine: Content, have: Mapping[str, pl.DataType], ours: pl.DataFrame, target: pl.DataFrame
) -> list[Change]:
    """New columns first, then rows and values: a layer holds a set of columns, so they are not written as one."""
    key, steps = mine.key, []
    new = [name for name in target.columns if name not in have]
    if new:
        values = target.select(key, *new).join(ours.select(key), on=key, how="semi")
        if not values.height:  # none of our rows has a value: the column is there all the same
            first = layers.scan(ws.tables, mine, columns=[key], verify=False).head(1).collect()
            values = first.with_columns(pl.lit(None, target.schema[name]).alias(name) for name in new)
        steps.append(Change(changed=values))
    found = diffs.difference(ours, target, key=key, columns=[name for name in target.columns if name not in new])
    names = list(found.changed_columns())
    rest = Change(
        added=found.added if found.added.height else None,
        changed=found.new.select(key, *names) if names else None,
        removed=found.removed[key] if found.removed.height else None,
    )
    empty = rest.added is None and rest.changed is None and rest.removed is None
    return steps if empty else [*steps, rest]


def _text(key: Any) -> str:
    return str(diffs.plain(key))


def _told(conflict: RowConflict) -> str:
    if conflict.column is None:
        return f"row {conflict.key} ({conflict.ours} in ours, {conflict.theirs} in theirs)"
    was, mine, other = conflict.base, conflict.ours, conflict.theirs
    return f"row {conflict.key} {conflict.column} ({was!r} is {mine!r} in ours, {other!r} in theirs)"
