"""Versioned tables on Delta Lake: written in one commit, read at a pinned version or not at all.

Each commit carries in its metadata the row count and the digest (tidemill.core.rowhash) of the whole table after it, so
an append costs the digest of its own rows only. A scan of a pinned version counts and digests what it reads, once a
process, and raises Corrupt if anything differs. Commits that race are retried, so a caller never sees a conflict.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tidemill.core.errors import Busy, Corrupt, EmptyInput, NoRoom, NotFound, WrongType, require_columns
from tidemill.core.types import Pinned

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

ROWS, DIGEST = "tidemill.rows", "tidemill.digest"
TRIES = 60


class Tables:
    """The tables below one root: a folder, or s3://bucket/prefix."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._verified: set[Pinned] = set()

    def uri(self, name: str) -> str:
        """Where a table is. Names are made of letters, digits and ._-/ ; nothing leads outside the root."""
        safe = name.replace("/", "").replace("_", "").replace("-", "").replace(".", "")
        if not safe.isalnum() or ".." in name or name.startswith("/"):
            raise NotFound(f"{name!r} is no table name; allowed are letters, digits, '.', '_', '-' and '/'")
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is such a table."""
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(self.uri(name))

    def latest(self, name: str) -> Pinned:
        """The newest version, with what must be found there."""
        return _pinned(name, self._open(name))

    def create(self, name: str, frame: pl.DataFrame) -> Pinned:
        """Make a table of these rows; one that exists already gets them appended (whoever raced us made it)."""
        from deltalake.exceptions import DeltaError, TableNotFoundError

        from tidemill.core.rowhash import as_text, rows_digest

        _require_rows(frame, name)
        if self.exists(name):
            return self.append(name, frame)
        marks = {ROWS: str(frame.height), DIGEST: as_text(rows_digest(frame))}
        try:
            self._write(name, frame, marks, mode="error")
        except (DeltaError, TableNotFoundError):
            if not self.exists(name):
                raise
            return self.append(name, frame)
        return Pinned(name, 0, frame.height, marks[DIGEST])

    def append(self, name: str, frame: pl.DataFrame) -> Pinned:
        """Append rows in one commit; the schema must be the table's."""
        from tidemill.core.rowhash import add, as_text, rows_digest

        _require_rows(frame, name)
        ours = rows_digest(frame)

        def commit() -> Pinned:
            table = self._open(name)
            before = _pinned(name, table)
            fitted = _fit_schema(frame, table, name)
            marks = {ROWS: str(before.rows + frame.height), DIGEST: as_text(add(int(before.digest, 16), ours))}
            self._write(table, fitted, marks, mode="append")
            return self._committed(name, before.version + 1, marks)

        return self._retried(name, commit)

    def replace(self, name: str, frame: pl.DataFrame) -> Pinned:
        """The whole table anew, with a new schema where it differs; older versions stay readable."""
        return self._rewrite(name, lambda _: frame)

    def update(self, name: str, frame: pl.DataFrame, *, key: str) -> Pinned:
        """Replace the rows that have the keys of `frame` by those rows; keys that are not there are added."""
        import polars as pl

        def changed(before: pl.DataFrame) -> pl.DataFrame:
            require_columns([key, *frame.columns], before.columns, where=f"table {name}")
            kept = before.join(frame.select(key), on=key, how="anti", maintain_order="left")
            return pl.concat([kept, frame.select(before.columns)], how="vertical_relaxed")

        return self._rewrite(name, changed)

    def delete(self, name: str, keys: Sequence[Any], *, key: str) -> Pinned:
        """Remove the rows with these keys from the newest version."""
        import polars as pl

        def changed(before: pl.DataFrame) -> pl.DataFrame:
            require_columns([key], before.columns, where=f"table {name}")
            gone = pl.DataFrame({key: list(keys)}, schema={key: before.schema[key]})
            return before.join(gone, on=key, how="anti", maintain_order="left")

        return self._rewrite(name, changed)

    def scan(self, pinned: Pinned, *, verify: bool = True) -> pl.LazyFrame:
        """Exactly the rows of that version, or Corrupt. Verified once a process: reading it again costs no digest."""
        import polars as pl
        from deltalake.exceptions import DeltaError

        if verify and pinned not in self._verified:
            self._verify(pinned)
        try:
            return pl.scan_delta(self.uri(pinned.table), version=pinned.version)
        except (DeltaError, OSError) as error:
            raise Corrupt(f"table {pinned.table} has no version {pinned.version} any more: {error}") from error

    def frame(self, pinned: Pinned) -> pl.DataFrame:
        """The rows of that version, in memory."""
        return self.scan(pinned).collect() if pinned in self._verified else self._verify(pinned)

    def _verify(self, pinned: Pinned) -> pl.DataFrame:
        from deltalake.exceptions import DeltaError
        from polars.exceptions import ComputeError

        from tidemill.core.rowhash import as_text, rows_digest

        where = f"table {pinned.table} version {pinned.version}"
        try:
            frame = self.scan(pinned, verify=False).collect()
        except (DeltaError, OSError, ComputeError) as error:
            raise Corrupt(f"{where} cannot be read: {error}; restore its files from a backup") from error
        if frame.height != pinned.rows:
            raise Corrupt(f"{where} has {frame.height} rows, recorded were {pinned.rows}; restore it from a backup")
        found = as_text(rows_digest(frame))
        if found != pinned.digest:
            raise Corrupt(f"{where} has digest {found}, recorded was {pinned.digest}; restore it from a backup")
        self._verified.add(pinned)
        return frame

    def _rewrite(self, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Pinned:
        """Write `change(rows of the newest version)` as the next one; done again if somebody else was first."""
        from tidemill.core.rowhash import as_text, rows_digest

        def commit() -> Pinned:
            table = self._open(name)
            frame = change(self.frame(_pinned(name, table)))
            marks = {ROWS: str(frame.height), DIGEST: as_text(rows_digest(frame))}
            version = table.version() + 1
            self._write(table, frame, marks, mode="overwrite")
            return self._committed(name, version, marks)

        return self._retried(name, commit)

    def _committed(self, name: str, version: int, marks: dict[str, str]) -> Pinned:
        return Pinned(name, version, int(marks[ROWS]), marks[DIGEST])

    def _open(self, name: str) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(self.uri(name))
        except TableNotFoundError:
            raise NotFound(f"no table {name!r} in {self.root}; add rows to it first") from None

    def _write(self, table: DeltaTable | str, frame: pl.DataFrame, marks: dict[str, str], *, mode: Any) -> None:
        from deltalake import CommitProperties, write_deltalake

        target = self.uri(table) if isinstance(table, str) else table
        # max_commit_retries=0: a rebased commit would carry marks of a parent that it no longer has
        properties = CommitProperties(custom_metadata=marks, max_commit_retries=0)
        try:
            if mode == "overwrite":
                write_deltalake(target, frame, mode=mode, schema_mode="overwrite", commit_properties=properties)
            else:
                write_deltalake(target, frame, mode=mode, commit_properties=properties)
        except OSError as error:
            if error.errno == errno.ENOSPC or "No space left" in str(error):
                raise NoRoom(f"no room left for table {table} in {self.root}; free space, then run it again") from error
            raise

    def _retried(self, name: str, commit: Callable[[], Pinned]) -> Pinned:
        from deltalake.exceptions import CommitFailedError

        for attempt in range(TRIES):
            try:
                return commit()
            except CommitFailedError:
                time.sleep(random.uniform(0.001, 0.02) * min(attempt + 1, 10))  # noqa: S311  back-off, no secret
        raise Busy(f"table {name} was written by others {TRIES} times in a row; try again when they are done")


def _pinned(name: str, table: DeltaTable) -> Pinned:
    version = table.version()
    marks = _marks(table.table_uri, version)
    if DIGEST not in marks:
        import polars as pl

        from tidemill.core.rowhash import as_text, rows_digest

        # written by another program, or compacted: count it afresh

        frame = pl.scan_delta(table.table_uri, version=version).collect()
        return Pinned(name, version, frame.height, as_text(rows_digest(frame)))
    return Pinned(name, version, int(marks[ROWS]), marks[DIGEST])


@lru_cache(maxsize=4096)
def _marks(uri: str, version: int) -> dict[str, str]:
    """A version's commit metadata; versions never change, so they are kept."""
    from deltalake import DeltaTable

    entry = DeltaTable(uri, version=version, without_files=True).history(1)[0]
    return {name: str(entry[name]) for name in (ROWS, DIGEST) if name in entry}


def _require_rows(frame: pl.DataFrame, name: str) -> None:
    if frame.height == 0:
        raise EmptyInput(f"no rows to write to table {name}; give at least one")


def _fit_schema(frame: pl.DataFrame, table: DeltaTable, name: str) -> pl.DataFrame:
    """The frame with the table's columns in their order; UnknownColumn or WrongType says what does not fit."""
    import polars as pl

    want = pl.scan_delta(table).collect_schema()
    require_columns(frame.columns, want.names(), where=f"table {name}")
    require_columns(want.names(), frame.columns, where=f"the rows for table {name}")
    for column, kind in want.items():
        have = frame.schema[column]
        if have not in (kind, pl.Null):
            raise WrongType(f"column {column!r} is {have}, in table {name} it is {kind}; cast it first")
    return frame.select(pl.col(column).cast(kind) for column, kind in want.items())
