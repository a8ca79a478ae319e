"""What differs between two versions of a dataset: its schema, and rows by key with their old and new values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from tidemill.core.errors import BadInput
from tidemill.core.ids import iso
from tidemill.core.tables import Tables
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data.versioning import layers
from tidemill.data.versioning.layers import Change, Content
from tidemill.data.versioning.versions import all_versions

_HASH, _OTHER = "__hash", "__other"


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that differ, by key, in order of the key.

    added: whole rows of the later. removed: whole rows of the earlier. old and new: the compared columns of the rows
    that changed, as they were and as they are; flags: their key, and for each compared column whether it changed.
    """

    key: str
    added: pl.DataFrame
    removed: pl.DataFrame
    old: pl.DataFrame
    new: pl.DataFrame
    flags: pl.DataFrame

    def changed_columns(self) -> dict[str, int]:
        """The columns that changed in some row, and in how many."""
        counts = {name: int(self.flags[name].sum()) for name in self.flags.columns if name != self.key}
        return {name: count for name, count in counts.items() if count}


def diff(ws: Workspace, one: DatasetVersion, other: DatasetVersion, *, at_most: int = 100) -> dict[str, Any]:
    """What `other` has else than `one`: JSON values only.

    schema: columns added {name: type}, removed {name: type}, retyped {name: [old, new]}. counts: rows added, removed
    and changed; changed_columns: in how many rows each changed. added, removed: the first `at_most` rows; changed: of
    such rows {"key", "columns": {name: {"old", "new"}}}; all in order of the key. A row is changed when a column that
    both have, with the same type, has another value. order_changed: both are ordered, and the rows that both have stand
    in another order.
    Raises BadInput for versions with different keys.
    """
    before, after = layers.content(one), layers.content(other)
    was, now = layers.schema(ws.tables, before), layers.schema(ws.tables, after)
    _require_same_key(one, other, was, now)
    schema = {
        "added": {name: str(kind) for name, kind in now.items() if name not in was},
        "removed": {name: str(kind) for name, kind in was.items() if name not in now},
        "retyped": {name: [str(was[name]), str(kind)] for name, kind in now.items() if was.get(name, kind) != kind},
    }
    found = between(ws.tables, before, after, appended=_only_appended(ws, one, other))
    compared = [name for name in found.flags.columns if name != found.key]
    changed = []
    shown = (found.old.head(at_most), found.new.head(at_most), found.flags.head(at_most))
    for old, new, flags in zip(*(each.iter_rows(named=True) for each in shown), strict=True):
        values = {name: {"old": plain(old[name]), "new": plain(new[name])} for name in compared if flags[name]}
        changed.append({"key": plain(old[found.key]), "columns": values})
    return {
        "name": other.name,
        "old": one.version,
        "new": other.version,
        "key": found.key,
        "rows": {"old": one.rows, "new": other.rows},
        "schema": schema,
        "counts": {"added": found.added.height, "removed": found.removed.height, "changed": found.flags.height},
        "changed_columns": found.changed_columns(),
        "order_changed": _order_changed(ws, before, after),
        "at_most": at_most,
        "added": _rows(found.added.head(at_most)),
        "removed": _rows(found.removed.head(at_most)),
        "changed": changed,
    }


def between(
    tables: Tables, one: Content, other: Content, *, columns: Sequence[str] | None = None, appended: bool = False
) -> Difference:
    """How the rows of `other` differ from those of `one`, the key being the same.

    columns: those to compare, default all that both have with the same type; a column that one of them hasn't counts as
    null in each row. appended: `other` is known to be `one` and rows after it, so nothing else is read.
    Versions with the same base table are compared in the rows of those layers only that differ.
    """
    was, now = layers.schema(tables, one), layers.schema(tables, other)
    compared = list(columns) if columns is not None else [name for name in now if was.get(name) == now[name]]
    compared = [one.key, *(name for name in compared if name != one.key)]
    before, after = layers.scan(tables, one, verify=False), layers.scan(tables, other, verify=False)
    if appended:
        there = layers.scan(tables, one, columns=[one.key], verify=False)
        added = after.join(there, on=one.key, how="anti").sort(one.key).collect()
        nothing = pl.DataFrame(schema={name: now[name] for name in compared})
        return Difference(one.key, added, pl.DataFrame(schema=was), nothing, nothing, _flags(nothing, nothing, one.key))
    candidates = _candidates(tables, one, other, compared)
    if candidates is not None:
        before = before.join(candidates, on=one.key, how="semi")
        after = after.join(candidates, on=one.key, how="semi")
    else:  # all of it is read, so all of it is verified
        before, after = layers.scan(tables, one), layers.scan(tables, other)
    return difference(before.collect(), after.collect(), key=one.key, columns=compared)


def difference(before: pl.DataFrame, after: pl.DataFrame, *, key: str, columns: Sequence[str]) -> Difference:
    """How the rows of `after` differ from those of `before` in these columns (one without a column has null there)."""
    kinds = {name: after.schema.get(name) or before.schema[name] for name in columns}
    old, new = (
        each.select(
            pl.col(name) if name in each.columns else pl.lit(None, kind).alias(name) for name, kind in kinds.items()
        )
        for each in (before, after)
    )
    added = after.join(before.select(key), on=key, how="anti").sort(key)
    removed = before.join(after.select(key), on=key, how="anti").sort(key)
    # Words of the rows first: comparing 20 columns of 1M rows side by side needs them twice in memory.
    hashes = [_hashed(each, key) for each in (old, new)]
    both = hashes[0].join(hashes[1].rename({_HASH: _OTHER}), on=key)
    maybe = both.filter(pl.col(_HASH).ne_missing(pl.col(_OTHER)) | pl.col(_HASH).is_null()).select(key)
    old, new = (each.join(maybe, on=key, how="semi").sort(key) for each in (old, new))
    flags = _flags(old, new, key)
    differs = flags.select(pl.any_horizontal(pl.exclude(key), pl.lit(False))).to_series()
    return Difference(key, added, removed, old.filter(differs), new.filter(differs), flags.filter(differs))


def change_to(tables: Tables, held: Content, frame: pl.DataFrame, key: str, ordered: bool) -> Change | None:
    """What to change in the content so that it holds these rows; None where writing them all anew is better."""
    if (
        held.key != key
        or held.ordered != ordered
        or list(layers.schema(tables, held).items()) != list(frame.schema.items())
    ):
        return None
    there = layers.scan(tables, held, columns=[key]).collect()[key]
    shared = frame.select(pl.col(key).is_in(there.implode()).sum()).item()
    if len(there) - shared > layers.MOST_SHARE * max(held.rows, 1):
        return None
    found = difference(layers.scan(tables, held).collect(), frame, key=key, columns=frame.columns)
    if found.flags.height + found.removed.height > layers.MOST_SHARE * max(held.rows, 1):
        return None
    names = list(found.changed_columns())
    added = frame.join(found.added.select(key), on=key, how="semi", maintain_order="left")
    moved = ordered and not there.equals(frame[key].head(len(there)))
    return Change(
        places=layers.placed(frame.select(key)) if moved else None,
        added=added if added.height else None,
        changed=found.new.select(key, *names) if names else None,
        removed=found.removed[key] if found.removed.height else None,
    )


def plain(value: Any) -> Any:  # Any: a value of any column
    """The value as JSON can hold it: times as ISO 8601, bytes as hexadecimal digits, NaN and infinities as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat() if value.tzinfo is None else iso(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | pl.Series):
        return [plain(each) for each in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [{name: plain(value) for name, value in row.items()} for row in frame.iter_rows(named=True)]


def _hashed(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    """The key and a 64-bit word of each row; null words where Polars hashes no such rows, so each is compared."""
    try:
        words = frame.hash_rows(seed=1)
    except (PolarsError, BaseException) as error:
        if type(error).__name__ != "PanicException" and not isinstance(error, PolarsError):
            raise
        words = pl.Series([None] * frame.height, dtype=pl.UInt64)
    return frame.select(key).with_columns(words.alias(_HASH))


def _flags(old: pl.DataFrame, new: pl.DataFrame, key: str) -> pl.DataFrame:
    """The key, and for each other column whether its value differs; rows of both stand side by side."""
    return old.select(key, *(old[name].ne_missing(new[name]).alias(name) for name in old.columns if name != key))


def _candidates(tables: Tables, one: Content, other: Content, compared: Sequence[str]) -> pl.LazyFrame | None:
    """The keys of rows that may differ, where both lie over the same base; None where any row may."""
    if one.base != other.base:
        return None
    pairs = [{layer.pinned: layer for layer in each.layers} for each in (one, other)]
    differ = [layer for mine, others in (pairs, pairs[::-1]) for pinned, layer in mine.items() if pinned not in others]
    names = set(compared)
    found = [
        tables.scan(layer.pinned, verify=False).select(one.key)
        for layer in differ
        if layer.kind == "gone" or names.intersection(layer.columns)
    ]
    if not found:
        return tables.scan(one.base, verify=False).select(one.key).head(0)
    return pl.concat(found).unique()


def _only_appended(ws: Workspace, one: DatasetVersion, other: DatasetVersion) -> bool:
    """Whether each version from `one` on to `other` only added rows."""
    if other.version <= one.version or other.artifact.meta.get("step") != "append":
        return False
    by_id = {each.id: each for each in all_versions(ws, other.name)}
    at: DatasetVersion | None = other
    while at is not None and at.id != one.id:
        meta = at.artifact.meta
        if meta.get("step") != "append" or at.columns != one.columns:
            return False
        at = by_id.get(str(meta.get("parent")))
    return at is not None


def _order_changed(ws: Workspace, one: Content, other: Content) -> bool:
    """Whether rows that both have stand in another order, where both keep one."""
    if not (one.ordered and other.ordered):
        return False
    first, second = (layers.scan(ws.tables, each, columns=[each.key], verify=False).collect() for each in (one, other))
    shared = [
        here.join(there, on=one.key, how="semi", maintain_order="left")
        for here, there in ((first, second), (second, first))
    ]
    return not shared[0].equals(shared[1])


def _require_same_key(
    one: DatasetVersion, other: DatasetVersion, was: Mapping[str, pl.DataType], now: Mapping[str, pl.DataType]
) -> None:
    if one.key != other.key or was[one.key] != now[other.key]:
        raise BadInput(
            f"dataset {other.name!r} has key {one.key!r} ({was[one.key]}) in version {one.version} and {other.key!r} "
            f"({now[other.key]}) in version {other.version}; only versions with the same key can be compared"
        )
