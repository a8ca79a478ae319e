"""Layers: what was changed of a dataset since its base table was written, in small tables of their own.

Delta Lake rewrites a whole file for one changed row. So a version's rows are those of a base table at a pinned version
with layers over it, each a table read at a pinned version too:

    over    one table a set of columns: key, the columns, `__n`. The newest entry of a key holds instead of the base's
            value, or as the value of a column that the base hasn't (a row without an entry has null there).
    gone    key, `__gone`, `__n`: a row whose newest entry says so is not there.

`__n` is the number of the version that wrote the entry; the newest entry is the one with the largest. Layers are merged
into the base by the next write when they are more than MOST_LAYERS or have more than MOST_SHARE of the rows.
An ordered dataset has one column more in its base, `__order`: the place of the row. Where rows came in between, an
"over" layer has the places of all rows anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import polars as pl

from tidemill.core.errors import BadInput, Conflict
from tidemill.core.ids import json_digest
from tidemill.core.rowhash import add as add_digests
from tidemill.core.rowhash import as_text, rows_digest, subtract
from tidemill.core.tables import BATCH_ROWS, Tables
from tidemill.core.types import DatasetVersion, Pinned

N, GONE, ORDER = "__n", "__gone", "__order"
RESERVED = frozenset({N, GONE, ORDER})
MOST_LAYERS, MOST_SHARE = 8, 0.2
SHOWN = 5

Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. columns: those that it gives values to. writes: 1 while no key can be in it twice."""

    kind: Literal["over", "gone"]
    pinned: Pinned
    columns: tuple[str, ...]
    writes: int

    def meta(self) -> dict[str, Any]:
        """As JSON, in a version's record."""
        at = self.pinned
        where = {"table": at.table, "version": at.version, "rows": at.rows, "digest": at.digest}
        return {"kind": self.kind, **where, "columns": list(self.columns), "writes": self.writes}


@dataclass(frozen=True, slots=True)
class Content:
    """The rows of a version: where they are, how many, and the digest of them all."""

    key: str
    base: Pinned
    layers: tuple[Layer, ...]
    rows: int
    digest: str
    ordered: bool = False

    def meta(self) -> dict[str, Any]:
        """What a version's record says of it beyond table, version and rows."""
        found: dict[str, Any] = {"ordered": True} if self.ordered else {}
        if self.layers:
            found["layers"] = [layer.meta() for layer in self.layers]
            found["base"] = {"rows": self.base.rows, "digest": self.base.digest}
        return found


@dataclass(frozen=True, slots=True)
class Change:
    """What a write does to rows, by key.

    added: whole rows. changed: the key and the columns that get new values, maybe new ones. removed: keys. places: key
    and `__order` of every row, those added among them, where the rows of an ordered dataset change places.
    """

    added: pl.DataFrame | None = None
    changed: pl.DataFrame | None = None
    removed: pl.Series | None = None
    places: pl.DataFrame | None = None

    @property
    def replaced(self) -> int:
        """Rows that are changed or removed."""
        return (0 if self.changed is None else self.changed.height) + (0 if self.removed is None else len(self.removed))


def content(version: DatasetVersion) -> Content:
    """Where the rows of a version are."""
    meta = version.artifact.meta
    found = [
        Layer(
            "gone" if each["kind"] == "gone" else "over",
            Pinned(str(each["table"]), int(each["version"]), int(each["rows"]), str(each["digest"])),
            tuple(each["columns"]),
            int(each["writes"]),
        )
        for each in meta.get("layers") or ()
    ]
    return Content(
        version.key, version.pinned, tuple(found), version.rows, version.digest, bool(meta.get("ordered", False))
    )


def parts(version: DatasetVersion) -> list[Pinned]:
    """Every table that the rows of a version are in: the base first, then the layers."""
    held = content(version)
    return [held.base, *(layer.pinned for layer in held.layers)]


def schema(tables: Tables, held: Content) -> dict[str, pl.DataType]:
    """Column names and types: the base's, then those that layers add."""
    found = {name: kind for name, kind in tables.schema(held.base).items() if name != ORDER}
    for layer in held.layers:
        added = [column for column in layer.columns if column not in found and column != ORDER]
        if added:
            kinds = tables.schema(layer.pinned)
            found |= {column: kinds[column] for column in added}
    return found


def scan(
    tables: Tables, held: Content, *, columns: Sequence[str] | None = None, verify: bool = True, order: bool = False
) -> pl.LazyFrame:
    """The rows. columns: only these, so only the layers that hold one of them are read. order: with `__order`."""
    rows = tables.scan(held.base, verify=verify)
    if not held.layers and not held.ordered and columns is None:
        return rows
    wanted = list(schema(tables, held) if columns is None else columns)
    needed = {held.key, ORDER, *wanted}
    rows = rows.select([name for name in rows.collect_schema().names() if name in needed])
    for layer in held.layers:
        if layer.kind == "gone":
            gone = _entries(tables, layer, held.key, verify=verify).filter(GONE).select(held.key)
            rows = rows.join(gone, on=held.key, how="anti", maintain_order="left")
    over = [
        _entries(tables, layer, held.key, verify=verify).select(held.key, *set(layer.columns) & needed, N)
        for layer in held.layers
        if layer.kind == "over" and needed.intersection(layer.columns)
    ]
    rows = laid_over(rows, over, key=held.key)
    if not held.ordered:
        return rows.select(wanted)
    rows = rows.sort(ORDER)
    return rows.select([*wanted, ORDER] if order else wanted)


def laid_over(rows: pl.LazyFrame, over: Sequence[pl.LazyFrame], *, key: str) -> pl.LazyFrame:
    """The rows with the values of the entries over them; of two entries for one value that with the larger `__n`.

    over: each has the key once at most, columns, and `__n`.
    """
    have = rows.collect_schema().names()
    values: dict[str, pl.Expr] = {}
    newest: dict[str, pl.Expr] = {}
    for number, entries in enumerate(over):
        names = [name for name in entries.collect_schema().names() if name != key]
        renamed = {name: f"__{number}_{name}" for name in names}
        rows = rows.join(entries.rename(renamed), on=key, how="left", maintain_order="left")
        n = pl.col(renamed[N])
        for name in names:
            if name == N:
                continue
            before = newest.get(name)
            wins = n.is_not_null() if before is None else (n > before).fill_null(n.is_not_null())
            value = values.get(name, pl.col(name) if name in have else pl.lit(None))
            values[name] = pl.when(wins).then(pl.col(renamed[name])).otherwise(value)
            newest[name] = n if before is None else pl.max_horizontal(n, before)
    return rows.select(
        *(values.get(name, pl.col(name)).alias(name) for name in have),
        *(value.alias(name) for name, value in values.items() if name not in have),
    )


def _entries(tables: Tables, layer: Layer, key: str, *, verify: bool) -> pl.LazyFrame:
    """The newest entry of each key."""
    found = tables.scan(layer.pinned, verify=verify)
    if layer.writes > 1:
        found = found.sort(N, descending=True).unique(key, keep="first")
    return found


# ------------------------------------------------------------------------------------------------------------- writing


def created(tables: Tables, table: str, frame: pl.DataFrame, *, key: str, ordered: bool) -> Content:
    """These rows alone: the whole base table anew."""
    pinned = written(tables, table, placed(frame) if ordered else frame, None)
    return Content(key, pinned, (), pinned.rows, pinned.digest, ordered)


def applied(tables: Tables, held: Content, change: Change, old: pl.DataFrame | None, *, number: int) -> Content:
    """The content after a change: written to layers where it is small, else to the base.

    old: the rows that it changes or removes (`touched`). number: of the version that it makes. Killed in between, it
    leaves table versions that nothing refers to.
    """
    if _due(tables, held, change):
        rows = _after(tables, held, change)
        rows = rows.sort(ORDER).drop(ORDER) if held.ordered else rows
        return created(tables, held.base.table, rows, key=held.key, ordered=held.ordered)
    if change.added is not None and not change.replaced and not held.layers and change.places is None:
        base = written(tables, held.base.table, _continued(tables, held, change.added), held.base)
        return replace(held, base=base, rows=base.rows, digest=base.digest)
    have = schema(tables, held)
    new = change.changed is not None and any(name not in have for name in change.changed.columns)
    if new or change.places is not None:
        # Not verified here: the parts keep their digests, so a reader finds what was tampered with.
        whole = _after(tables, held, change, verify=False)
        made = replace(held, rows=whole.height, digest=as_text(rows_digest(whole)))
    else:
        added = None if change.added is None else _continued(tables, held, change.added)
        made = _counted(held, change, old, added)
    if change.added is not None and change.added.height:
        added = change.added if change.places is not None else _continued(tables, held, change.added)
        made = _extended(tables, held, made, added, number)
    if change.changed is not None and change.changed.height:
        made = _laid(tables, made, "over", change.changed, number)
    if change.removed is not None and len(change.removed):
        gone = pl.DataFrame({held.key: change.removed}).with_columns(pl.lit(True).alias(GONE))
        made = _laid(tables, made, "gone", gone, number)
    return made if change.places is None else _laid(tables, made, "over", change.places, number, anew=True)


def touched(tables: Tables, held: Content, change: Change, *, where: str) -> pl.DataFrame | None:
    """The rows that a change changes or removes, as they are; BadInput names keys that are not there.

    Only their keys where the change adds a column: then the digest is taken of all rows anyway.
    """
    changed = None if change.changed is None else change.changed[held.key]
    asked = [each.alias(held.key) for each in (change.removed, changed) if each is not None]
    if not asked:
        return None
    wanted = pl.concat(asked).to_frame()
    columns = None
    if change.changed is not None and set(change.changed.columns).difference(schema(tables, held)):
        columns = [held.key]
    rows = scan(tables, held, columns=columns, verify=False, order=True)
    old = rows.join(wanted.lazy(), on=held.key, how="semi").collect()
    unknown = wanted.join(old, on=held.key, how="anti", maintain_order="left")[held.key]
    if len(unknown):
        shown = ", ".join(map(str, unknown.head(SHOWN)))
        count, are = ("1 key", "is") if len(unknown) == 1 else (f"{len(unknown)} keys", "are")
        then = "" if change.changed is None else "; add new rows with add"
        raise BadInput(f"{count} of {where} {are} not there, such as {shown}{then}")
    return old


def changes_nothing(held: Content, change: Change, old: pl.DataFrame | None) -> bool:
    """Whether the values to write are those that are there."""
    if old is None or change.changed is None or change.added is not None or change.removed is not None:
        return False
    return set(change.changed.columns) <= set(old.columns) and _counted(held, change, old).digest == held.digest


def merged(tables: Tables, held: Content) -> Content:
    """The same content in its base alone: what a writer needs that appends to the base table by itself."""
    if not held.layers:
        return held
    rows = scan(tables, held)
    if held.ordered or held.rows == 0:
        return created(tables, held.base.table, rows.collect(), key=held.key, ordered=held.ordered)
    batches = rows.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)  # it may be larger than memory
    pinned = tables.write_stream(held.base.table, batches, mode="replace")
    return Content(held.key, pinned, (), pinned.rows, pinned.digest)


def written(
    tables: Tables, table: str, frame: pl.DataFrame, parent: Pinned | None, *, packed: str | None = None
) -> Pinned:
    """The rows after those of `parent`, or alone. What is newer than `parent` was never recorded, or is a branch's.

    packed: see `Tables.create`.
    """
    if parent is None:
        if tables.exists(table):
            return tables.replace(table, frame, packed=packed)
        return tables.create(table, frame, exists="refuse", packed=packed)
    try:
        return tables.append(table, frame, parent=parent, packed=packed)
    except Conflict:
        return tables.append(table, frame, parent=tables.restore(parent), packed=packed)


def _due(tables: Tables, held: Content, change: Change) -> bool:
    """Whether the base is to be written anew: too many layers, or too much in them."""
    if held.ordered and change.removed is not None and change.places is None:
        return True  # the places of the rows after it change
    if not held.layers and not change.replaced:
        return False
    in_base = set(tables.schema(held.base))
    heavy = 0 if change.removed is None else len(change.removed)
    more = [("over", change.changed.columns, change.changed.height)] if change.changed is not None else []
    for kind, columns, rows in [*((each.kind, each.columns, each.pinned.rows) for each in held.layers), *more]:
        extra = kind == "over" and not in_base.intersection(columns).difference({held.key, ORDER})
        heavy += max(0, rows - held.rows) if extra else rows
    return heavy > MOST_SHARE * max(held.rows, 1) or len(held.layers) > MOST_LAYERS


def _counted(held: Content, change: Change, old: pl.DataFrame | None, added: pl.DataFrame | None = None) -> Content:
    """Rows and digest after a change that leaves the columns as they are: exact, from the touched rows alone."""
    total, rows = int(held.digest, 16), held.rows
    if old is not None:
        total = subtract(total, rows_digest(old))
        kept = _without(old, change.removed, held.key)
        if change.changed is not None:
            kept = laid_over(kept.lazy(), [_dated(change.changed, 0).lazy()], key=held.key).collect()
        total = add_digests(total, rows_digest(kept))
        rows += kept.height - old.height
    if added is not None and added.height:
        total = add_digests(total, rows_digest(added))
        rows += added.height
    return replace(held, rows=rows, digest=as_text(total))


def _after(tables: Tables, held: Content, change: Change, *, verify: bool = True) -> pl.DataFrame:
    """All rows after a change, in memory."""
    rows = scan(tables, held, verify=verify, order=True)
    if change.changed is not None:
        rows = laid_over(rows, [_dated(change.changed, 0).lazy()], key=held.key)
    whole = _without(rows.collect(), change.removed, held.key)
    if change.added is not None and change.added.height:
        whole = pl.concat([whole, _continued(tables, held, change.added)], how="diagonal")
    if change.places is None:
        return whole
    return laid_over(whole.lazy(), [_dated(change.places, 0).lazy()], key=held.key).collect()


def rows_after(tables: Tables, held: Content, change: Change) -> pl.DataFrame:
    """The rows that a change gives new values, whole and as they will be."""
    assert change.changed is not None
    laid = laid_over(
        scan(tables, held, verify=False).join(change.changed.lazy().select(held.key), on=held.key, how="semi"),
        [_dated(change.changed, 0).lazy()],
        key=held.key,
    )
    return laid.collect()


def _without(rows: pl.DataFrame, removed: pl.Series | None, key: str) -> pl.DataFrame:
    if removed is None or not len(removed):
        return rows
    return rows.join(pl.DataFrame({key: removed}), on=key, how="anti", maintain_order="left")


def placed(frame: pl.DataFrame, first: int = 0) -> pl.DataFrame:
    """The rows with their places, from `first` on."""
    return frame.with_columns(pl.int_range(first, first + frame.height, dtype=pl.Int64).alias(ORDER))


def _continued(tables: Tables, held: Content, added: pl.DataFrame) -> pl.DataFrame:
    """The rows with the places after those that are there, where the dataset is ordered."""
    if not held.ordered:
        return added
    # The largest place, not the number of rows: an erasure leaves gaps.
    rows = scan(tables, held, columns=[held.key], verify=False, order=True)
    last = rows.select(pl.col(ORDER).max()).collect().item()
    return placed(added, 0 if last is None else last + 1)


def _dated(frame: pl.DataFrame, number: int) -> pl.DataFrame:
    return frame.with_columns(pl.lit(number, pl.Int64).alias(N))


def _split(tables: Tables, held: Content, added: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows whose key the base hasn't, and those whose key it has though the row was removed."""
    gone = next((layer for layer in held.layers if layer.kind == "gone"), None)
    if gone is None:
        return added, added.clear()
    keys = tables.scan(gone.pinned, verify=False).select(held.key).unique().collect()
    return added.join(keys, on=held.key, how="anti", maintain_order="left"), added.join(keys, on=held.key, how="semi")


def _extended(tables: Tables, held: Content, made: Content, added: pl.DataFrame, number: int) -> Content:
    """With the new rows: those of keys that were removed from the base over it, all others in it.

    added: with their places, where the dataset is ordered and no layer of places follows.
    """
    fresh, revived = _split(tables, held, added)
    if revived.height:
        made = _laid(tables, made, "over", revived, number)
        made = _laid(tables, made, "gone", revived.select(held.key, pl.lit(False).alias(GONE)), number)
    return _appended(tables, held, made, fresh, number) if fresh.height else made


def _appended(tables: Tables, held: Content, made: Content, fresh: pl.DataFrame, number: int) -> Content:
    """New rows: the base's columns to the base, columns that layers added to their layers."""
    in_base = [name for name in tables.schema(held.base) if name != ORDER]
    more = [name for name in fresh.columns if name not in in_base and name != ORDER]
    rows = fresh.select(name for name in fresh.columns if name not in more)
    if ORDER not in rows.columns:
        rows = _continued(tables, held, rows)
    made = replace(made, base=written(tables, held.base.table, rows, held.base))
    for layer in made.layers:
        columns = [name for name in layer.columns if name in more]
        if columns and len(columns) == len(layer.columns):
            made = _laid(tables, made, "over", fresh.select(held.key, *columns), number, new_keys=True)
            more = [name for name in more if name not in columns]
    return _laid(tables, made, "over", fresh.select(held.key, *more), number) if more else made


def _laid(
    tables: Tables,
    held: Content,
    kind: Literal["over", "gone"],
    frame: pl.DataFrame,
    number: int,
    *,
    anew: bool = False,
    new_keys: bool = False,
) -> Content:
    """With these entries in the layer of their columns. anew: instead of those that are in it. new_keys: it has none
    of their keys."""
    columns = tuple(name for name in frame.columns if name not in (held.key, GONE))
    kinds = sorted((name, str(dtype)) for name, dtype in frame.schema.items())
    name = held.base.table.removeprefix("datasets/")
    table = f"layers/{name}/{kind}-{json_digest(kinds)[:12]}"
    before = next((layer for layer in held.layers if layer.pinned.table == table), None)
    parent = None if before is None or anew else before.pinned
    pinned = written(tables, table, _dated(frame, number), parent, packed=held.key)
    if before is None:
        return replace(held, layers=(*held.layers, Layer(kind, pinned, columns, 1)))
    writes = 1 if anew else before.writes if new_keys else before.writes + 1
    after = replace(before, pinned=pinned, writes=writes)
    return replace(held, layers=tuple(after if layer is before else layer for layer in held.layers))
