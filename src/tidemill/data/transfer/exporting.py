"""Exports: a dataset version as a file, a Delta table, a table of a database, or any of the first below s3://.

What is written appears whole or not at all: files under a draft's name that is renamed, a database's table in one
transaction, an object by one upload. The ending of the target says which format it is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import polars as pl

from tidemill.core.errors import BadInput, Conflict, NoRoom, require_columns
from tidemill.core.ids import new_id
from tidemill.core.recording import recorded
from tidemill.core.tables import Tables
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.transfer.sources import s3, sql
from tidemill.data.transfer.spool import spool, writable

FORMATS = (".csv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
BATCH_ROWS = 1 << 16
INSERT_ROWS = 5_000

Progress = Callable[[int, int | None], None]


def export(
    ws: Workspace,
    version: DatasetVersion,
    target: str | os.PathLike[str],
    *,
    table: str | None = None,
    columns: Sequence[str] | None = None,
    masked: Mapping[str, pl.Expr] | None = None,
    rows: pl.LazyFrame | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the version's rows to `target`; returns {"target", "format", "rows", "size_bytes"} (None where unknown).

    target: a file with one of FORMATS as its ending, a folder (becomes a Delta table), s3://bucket/... of either, or a
    SQLAlchemy URL with `table`. A file that is there is replaced; a folder or a database's table that is there is
    refused (Conflict). columns: only these. masked: columns that are written as these expressions say. rows: what to
    write instead of `datasets.scan`, for example rows of which the reader may not see all. progress: called with rows
    done and rows in all. Recorded as run "data.export" that read the version.
    Raises UnknownColumn, BadInput for an unknown ending, NoRoom; then nothing is at the target that was not before.
    """
    place = os.fspath(target)
    shown, kind = _kind(place, table)
    found = datasets.scan(ws, version, columns=columns) if rows is None else rows
    if rows is not None and columns is not None:
        require_columns(columns, rows.collect_schema().names(), where=f"dataset {version.name!r}")
        found = rows.select(columns)
    if masked:
        require_columns(masked, found.collect_schema().names(), where=f"the export of dataset {version.name!r}")
        found = found.with_columns(rule.alias(column) for column, rule in masked.items())
    params = {"target": shown, "format": kind, "columns": list(columns or ()), "masked": sorted(masked or ())}
    with recorded(ws, "data.export", version.name, inputs=[("rows", version)], params=params) as run:
        count = _Counted(found, version.rows if ws.clock is None and rows is None else None, progress, spool(ws))
        with writable(shown):
            size = _write(kind, place, table, count)
        run.result({"rows": count.done, **({} if size is None else {"size_bytes": size})})
    return {"target": shown, "format": kind, "rows": count.done, "size_bytes": size}


class _Counted:
    """The rows in batches, counted as they go out."""

    def __init__(self, rows: pl.LazyFrame, total: int | None, progress: Progress | None, spool: Path) -> None:
        self.rows, self.total, self.progress, self.spool = rows, total, progress, spool
        self.schema = dict(rows.collect_schema())
        self.done = 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for batch in self.rows.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
            yield batch
            self._note(batch.height)

    def lazy(self) -> pl.LazyFrame:
        """The rows for one of Polars' own sinks."""

        def note(batch: pl.DataFrame) -> pl.DataFrame:
            self._note(batch.height)
            return batch

        return self.rows.map_batches(note, streamable=True, schema=pl.Schema(self.schema))

    def _note(self, rows: int) -> None:
        self.done += rows
        if self.progress is not None:
            self.progress(self.done, self.total)


def _kind(place: str, table: str | None) -> tuple[str, str]:
    """The target as a record may show it, and the format. BadInput for one that cannot be."""
    if sql.opens(place):
        if not table:
            raise BadInput(f"{place.partition(':')[0]}:// is a database; say which table to make: table='flights'")
        address, engine = sql.connected(place)
        engine.dispose()
        return f"{address.set(query={}).render_as_string(hide_password=True)}: {table}", "sql"
    if table is not None:
        raise BadInput(f"table {table!r} goes with a database's URL; {place} is none")
    if "://" in place and not s3.opens(place):
        raise BadInput(f"cannot export to {place.partition(':')[0]}://; allowed are paths, s3:// and SQLAlchemy's URLs")
    ending = Path(place).suffix.lower()
    if ending in FORMATS:
        return place, ending.removeprefix(".")
    if ending and not Path(place).is_dir():
        raise BadInput(
            f"{place} has an ending that is not known; allowed are {', '.join(FORMATS)}, or a folder for a Delta table"
        )
    return place, "delta"


def _write(kind: str, place: str, table: str | None, rows: _Counted) -> int | None:
    if kind == "sql":
        assert table is not None
        _to_sql(place, table, rows)
        return None
    if kind == "delta":
        return _to_delta(place.rstrip("/"), rows)
    if s3.opens(place):
        with tempfile.TemporaryDirectory(prefix="tidemill-", dir=rows.spool) as folder:
            draft = Path(folder) / f"rows.{kind}"
            _to_file(draft, kind, rows)
            bucket, path = s3.split(place)
            bucket.put(path, draft)
            return draft.stat().st_size
    with _draft(Path(place)) as draft:
        _to_file(draft, kind, rows)
    return Path(place).stat().st_size


def _to_file(path: Path, kind: str, rows: _Counted) -> None:
    if kind == "parquet":
        rows.lazy().sink_parquet(path, compression="zstd", maintain_order=True)
    elif kind in ("arrow", "feather"):
        rows.lazy().sink_ipc(path, maintain_order=True)
    else:
        with path.open("wb") as file:
            _as_text(file, kind, rows)


def _as_text(file: IO[bytes], kind: str, rows: _Counted) -> None:
    """CSV or JSON lines. Times of CSV are written as ISO 8601 says, in UTC, so that they are read back as times."""
    if kind != "csv":
        for batch in rows:
            batch.write_ndjson(file)
        return
    nested = [column for column, dtype in rows.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if nested:
        raise BadInput(f"column {nested[0]!r} is {rows.schema[nested[0]]}, which CSV cannot hold; export to .parquet")
    pl.DataFrame(schema=rows.schema).write_csv(file)
    zoned = [column for column, dtype in rows.schema.items() if isinstance(dtype, pl.Datetime) and dtype.time_zone]
    iso = [pl.col(column).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") for column in zoned]
    for batch in rows:
        batch.with_columns(iso).write_csv(file, include_header=False)


def _to_delta(place: str, rows: _Counted) -> int | None:
    """A new table. On a disk it is made beside its place and renamed, so nobody sees it half made."""
    if s3.opens(place):
        root, _, name = place.rpartition("/")
        tables = Tables(root)
        if tables.exists(name):
            raise Conflict(f"there is a table at {place} already; choose another place")
        tables.write_stream(name, rows)
        return None
    target = Path(place)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{place} is there already and is not an empty folder; choose another place")
    with _draft(target) as draft:
        Tables(str(draft.parent)).write_stream(draft.name, rows)
    return sum(each.stat().st_size for each in target.rglob("*") if each.is_file())


def _to_sql(url: str, table: str, rows: _Counted) -> None:
    import sqlalchemy as sa

    kinds: list[tuple[Callable[[pl.DataType], bool], Any]] = [
        (lambda kind: kind == pl.Boolean, sa.Boolean()),
        (lambda kind: kind.is_integer(), sa.BigInteger()),
        (lambda kind: kind.is_float(), sa.Float(53)),
        (lambda kind: kind == pl.Date, sa.Date()),
        (lambda kind: isinstance(kind, pl.Datetime) and kind.time_zone is not None, sa.DateTime(timezone=True)),
        (lambda kind: isinstance(kind, pl.Datetime), sa.DateTime()),
        (lambda kind: kind == pl.Binary, sa.LargeBinary()),
        (lambda kind: kind.is_decimal(), sa.Numeric()),
        (lambda kind: kind.is_nested(), sa.JSON()),
    ]
    made = [
        sa.Column(column, next((to for fits, to in kinds if fits(kind)), sa.Text()))
        for column, kind in rows.schema.items()
    ]
    _, engine = sql.connected(url)
    try:
        with engine.begin() as link:
            if sa.inspect(link).has_table(table):
                raise Conflict(f"there is a table {table!r} already; choose another name, or drop it first")
            target = sa.Table(table, sa.MetaData(), *made)
            target.create(link)
            for batch in rows:
                for part in batch.iter_slices(INSERT_ROWS):
                    link.execute(target.insert(), part.to_dicts())
    except sa.exc.SQLAlchemyError as error:
        shown = str(getattr(error, "orig", error)).splitlines()[0]
        raise BadInput(f"the database refused the rows: {shown}") from error
    finally:
        engine.dispose()


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A place beside the target; what is there at the end is flushed and gets its name, after an error it goes."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NoRoom(f"cannot make folder {target.parent} ({error.strerror}); choose another place") from error
    draft = target.parent / f"draft-{new_id()}"
    try:
        yield draft
        for each in [draft, *draft.rglob("*")]:
            if each.is_file():
                with each.open("rb") as file:
                    os.fsync(file.fileno())
        if draft.is_dir() and target.is_dir():
            target.rmdir()
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            if draft.is_dir():
                shutil.rmtree(draft)
            else:
                draft.unlink(missing_ok=True)
        raise
