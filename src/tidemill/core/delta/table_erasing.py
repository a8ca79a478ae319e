"""Erase rows from every version of a table: from its data files, its log, its statistics and its checkpoints.

In Delta Lake a deleted row stays in the files of older versions, and its values in the statistics of the log; vacuum
takes whole versions away. Here each data file that holds such a row is written anew without it, and every commit that
speaks of the file is made to speak of the new one, so each old version opens with all its other rows. The marks of its
commits (row count and digest) are what is left: the digest is a sum, so the removed rows are subtracted.

Killed in between, the next call goes on: new files are written first, then a journal, then what the journal says is
done in an order that can be done again. Until it has ended, a reader may find a version Corrupt, never other rows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tidemill.core.delta import table_log
from tidemill.core.delta.table_files import GROUP_ROWS, statistics
from tidemill.core.delta.table_log import Commit, Log, path_of
from tidemill.core.delta.table_marks import DIGEST, ROWS, VERSION
from tidemill.core.delta.table_place import Place
from tidemill.core.errors import Corrupt
from tidemill.core.ids import new_id
from tidemill.core.tables import ERASED, Tables
from tidemill.core.types import Pinned

if TYPE_CHECKING:
    import polars as pl

JOURNAL = "_erasing.json"
Schema = Mapping[str, "pl.DataType"]
Doomed = Callable[[Schema], "pl.Expr | None"]


@dataclass(frozen=True, slots=True)
class _Cut:
    """A data file without the doomed rows: the action's new fields, and the rows that are gone."""

    path: str
    size: int
    stats: str
    gone: pl.DataFrame


def erase(tables: Tables, name: str, doomed: Doomed) -> dict[Pinned, Pinned]:
    """Remove the rows for which `doomed` is true from every version; returns what is found at each changed version.

    doomed: from the schema of a data file to a condition, or None where none of its rows can be meant. The caller
    holds the table's lock: nobody writes meanwhile. A version whose commit has no marks (another program's) changes
    too, but is not in the answer. Raises NotFound, BadInput for a table of a kind that cannot be rewritten, Corrupt.
    """
    place = Place(tables.uri(name))
    tables.latest(name)  # no such table: NotFound
    done = _finish(tables, place, name)
    log = table_log.read(place, name)
    cuts = {path: cut for path in sorted(log.data) if (cut := _cut(place, path, doomed)) is not None}
    orphans = [path for path in sorted(log.orphans) if _torn(place, path) or _rows(place, path, doomed).height]
    if cuts or orphans:
        place.write(JOURNAL, json.dumps(_journal(log, cuts, orphans)).encode())
        for old, new in _finish(tables, place, name).items():
            done[old] = new
    newest = {pinned.version: pinned for pinned in done.values()}
    return {old: newest[old.version] for old in done}


def matching(tables: Tables, name: str, wanted: Doomed, *, distinct: Sequence[str] = ()) -> Iterator[pl.DataFrame]:
    """The rows of any version for which `wanted` is true, a frame a data file; files that no commit knows count too.

    distinct: only the different values of these columns, which each file that `wanted` gives a condition must have.
    """
    place = Place(tables.uri(name))
    log = table_log.read(place, name)
    for path in sorted(log.data | log.orphans):
        if path in log.orphans and _torn(place, path):
            continue
        found = _rows(place, path, wanted, distinct)
        if found.height:
            yield found


def marks(tables: Tables, name: str) -> dict[int, Pinned]:
    """What must be found at each version of the table, as its commits say."""
    return table_log.read(Place(tables.uri(name)), name).marks()


def unfinished(tables: Tables, name: str) -> bool:
    """Whether an erasure of this table was killed before it ended: `erase` goes on with it."""
    return any(entry.name == JOURNAL for entry in Place(tables.uri(name)).entries())


def _torn(place: Place, path: str) -> bool:
    """Whether a file was never written whole: a killed writer's, which no commit knows."""
    import polars as pl
    from polars.exceptions import PolarsError

    try:
        pl.read_parquet_schema(place.source(path))
    except (OSError, PolarsError):
        return True
    return False


def _rows(place: Place, path: str, wanted: Doomed, distinct: Sequence[str] = ()) -> pl.DataFrame:
    """The rows of one data file for which `wanted` is true."""
    import polars as pl
    from polars.exceptions import PolarsError

    try:
        scan = pl.scan_parquet(place.source(path))
        condition = wanted(dict(scan.collect_schema()))
        if condition is None:
            return pl.DataFrame()
        found = scan.filter(condition.fill_null(value=False))
        return (found.select(distinct).unique() if distinct else found).collect()
    except (OSError, PolarsError) as error:
        raise Corrupt(f"{place.uri}/{path} cannot be read: {error}; restore it from a backup") from error


def _cut(place: Place, path: str, doomed: Doomed) -> _Cut | None:
    """Write the file anew without the doomed rows; None where it has none."""
    import polars as pl

    gone = _rows(place, path, doomed)
    if gone.height == 0:
        return None
    frame = pl.read_parquet(place.source(path))
    condition = doomed(dict(frame.schema))
    assert condition is not None
    kept = frame.filter(~condition.fill_null(value=False))
    data = io.BytesIO()
    kept.write_parquet(data, compression="zstd", compression_level=1, row_group_size=GROUP_ROWS)
    folder, slash, _ = path.rpartition("/")
    made = f"{folder}{slash}part-{new_id()}-c000.zstd.parquet"
    place.write(made, data.getvalue())
    return _Cut(made, len(data.getvalue()), json.dumps(statistics(kept)), gone)


def _journal(log: Log, cuts: Mapping[str, _Cut], orphans: list[str]) -> dict[str, Any]:
    """What is to be done, without a value of an erased row."""
    from tidemill.core.rowhash import as_text, rows_digest, subtract

    before = log.marks()
    words: dict[tuple[str, tuple[str, ...]], int] = {}
    after: dict[int, tuple[int, str]] = {}
    for commit, live, columns in log.versions():
        pinned = before.get(commit.version)
        touched = [path for path in live if path in cuts]
        if pinned is None or not touched:
            continue
        rows, total = pinned.rows, int(pinned.digest, 16)
        for path in touched:
            if (path, columns) not in words:
                words[path, columns] = rows_digest(_as_read(cuts[path].gone, columns))
            rows -= cuts[path].gone.height
            total = subtract(total, words[path, columns])
        after[commit.version] = rows, as_text(total)
    return {
        "format": 1,
        "files": {old: [cut.path, cut.size, cut.stats] for old, cut in cuts.items()},
        "orphans": orphans,
        "checkpoints": sorted(set(log.checkpoints.values())),
        "was": {str(version): [before[version].rows, before[version].digest] for version in after},
        "is": {str(version): list(found) for version, found in after.items()},
    }


def _as_read(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """The rows with the columns of a version: nulls where the file is older than a column."""
    import polars as pl

    return frame.select(pl.col(name) if name in frame.columns else pl.lit(None).alias(name) for name in columns)


def _finish(tables: Tables, place: Place, name: str) -> dict[Pinned, Pinned]:
    """Do what the journal says, from wherever it was left."""
    try:
        journal = json.loads(place.read(JOURNAL))
    except FileNotFoundError:
        return {}
    log = table_log.read(place, name)
    for commit in log.commits:
        changed = _rewritten(commit, journal)
        if changed != commit:
            place.write(commit.file, changed.data())
    for file in [*log.checkpoints, *log.leftovers]:
        place.remove(file)
    for version in journal["checkpoints"]:
        _checkpoint(tables, name, version)
    place.write(ERASED, b"")
    for file in [*journal["files"], *journal["orphans"]]:
        place.remove(file)
    tables.forget(name)
    place.remove(JOURNAL)
    return {
        Pinned(name, int(version), rows, digest): Pinned(name, int(version), *journal["is"][version])
        for version, (rows, digest) in journal["was"].items()
    }


def _rewritten(commit: Commit, journal: Mapping[str, Any]) -> Commit:
    files: Mapping[str, Any] = journal["files"]
    actions = []
    for action in commit.actions:
        (kind,) = action if len(action) == 1 else ("",)
        body = dict(action.get(kind, {}))
        if kind in ("add", "remove") and path_of(body) in files:
            path, size, stats = files[path_of(body)]
            body |= {"path": path, "size": size}
            if kind == "add" or "stats" in body:
                body["stats"] = stats
        elif kind == "commitInfo":
            if str(commit.version) in journal["is"]:
                rows, digest = journal["is"][str(commit.version)]
                body |= {ROWS: str(rows), DIGEST: digest, VERSION: str(commit.version)}
            said = body.get("operationParameters", {})
            if "predicate" in said:  # of another program's delete or merge: it may name the very value
                body["operationParameters"] = {**said, "predicate": "(erased)"}
        actions.append({kind: body} if kind else action)
    return replace(commit, actions=tuple(actions))


def _checkpoint(tables: Tables, name: str, version: int) -> None:
    from deltalake import DeltaTable

    DeltaTable(tables.uri(name), version=version, storage_options=tables._options()).create_checkpoint()
