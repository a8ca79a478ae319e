"""Versioned tables on Delta Lake: written in one commit, read at a pinned version or not at all.

Each commit carries in its metadata the row count and the digest (tidemill.core.rowhash) of the whole table after it, so
an append costs the digest of its own rows only. A scan of a pinned version counts and digests what it reads, once a
process, and raises Corrupt if anything differs. Commits that race are retried, so a caller never sees a conflict.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from tidemill.core.errors import (
    BadInput,
    Busy,
    Conflict,
    Corrupt,
    EmptyInput,
    NoRoom,
    NotFound,
    WrongType,
    require_columns,
)
from tidemill.core.schema import fitted, storable
from tidemill.core.types import Pinned

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

ROWS, DIGEST = "tidemill.rows", "tidemill.digest"
TRIES = 60
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
FULL = ("No space left", "File too large", "quota exceeded", "Read-only file system", "Permission denied")
# Delta forgets old versions: by default it removes log entries of more than 30 days at each hundredth commit. Ours are
# pinned by what was trained on them, so they stay.
FOREVER = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}


class Tables:
    """The tables below one root: a folder, or s3://bucket/prefix."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._verified: set[Pinned] = set()

    def uri(self, name: str) -> str:
        """Where a table is. Raises BadInput for a name that could lead outside the root."""
        if not NAME.fullmatch(name):
            raise BadInput(
                f"{name!r} is no table name; allowed are letters, digits, '.', '_', '-', parts joined by '/', "
                "none of which begins with '.'"
            )
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is such a table."""
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(self.uri(name))

    def latest(self, name: str) -> Pinned:
        """The newest version, with what must be found there."""
        return _pinned(name, self._open(name))

    def schema(self, pinned: Pinned) -> Mapping[str, pl.DataType]:
        """Column names and types of that version; the rows are not read."""
        return dict(self.scan(pinned, verify=False).collect_schema())

    def create(self, name: str, frame: pl.DataFrame, *, exists: Literal["append", "refuse"] = "append") -> Pinned:
        """Make a table of these rows.

        exists: one that is there already (somebody raced us) gets the rows appended, or makes a Conflict.
        """
        from deltalake.exceptions import DeltaError, TableNotFoundError

        _require_rows(frame, name)
        made = storable(frame, where=f"the rows for table {name}")
        marks = _marks_of(made)
        try:
            if not self.exists(name):
                self._write(name, made, marks, mode="error")
                return _committed(name, 0, marks)
        except (DeltaError, TableNotFoundError):
            if not self.exists(name):
                raise
        if exists == "refuse":
            raise Conflict(f"table {name} is there already; append to it")
        return self.append(name, frame)

    def append(self, name: str, frame: pl.DataFrame, *, parent: Pinned | None = None) -> Pinned:
        """Append rows in one commit; the schema must be the table's.

        parent: the version that must be the newest one; Conflict when it is not. None appends to whatever is newest.
        """
        from tidemill.core.rowhash import add, as_text, rows_digest

        _require_rows(frame, name)

        def commit() -> Pinned:
            table = self._open(name)
            before = _pinned(name, table)
            if parent is not None and before != parent:
                raise Conflict(
                    f"table {name} is at version {before.version}, not at {parent.version}; read it again, then retry"
                )
            made = fitted(frame, _schema(table), table=f"table {name}", where=f"the rows for table {name}")
            digest = as_text(add(int(before.digest, 16), rows_digest(made)))
            marks = {ROWS: str(before.rows + made.height), DIGEST: digest}
            self._write(table, made, marks, mode="append")
            return _committed(name, before.version + 1, marks)

        return self._retried(name, commit)

    def restore(self, pinned: Pinned) -> Pinned:
        """Make the newest version hold what `pinned` held, by one commit of metadata; later versions stay readable."""
        from deltalake import CommitProperties

        marks = {ROWS: str(pinned.rows), DIGEST: pinned.digest}

        def commit() -> Pinned:
            table = self._open(pinned.table)
            before = _pinned(pinned.table, table)
            if before.version == pinned.version:
                return before
            properties = CommitProperties(custom_metadata=marks, max_commit_retries=0)
            table.restore(pinned.version, commit_properties=properties)
            return _committed(pinned.table, before.version + 1, marks)

        return self._retried(pinned.table, commit)

    def replace(self, name: str, frame: pl.DataFrame) -> Pinned:
        """The whole table anew, with a new schema where it differs; older versions stay readable."""
        made = storable(frame, where=f"the rows for table {name}")
        return self._retried(name, lambda: self._overwrite(name, self._open(name), made))

    def update(self, name: str, frame: pl.DataFrame, *, key: str) -> Pinned:
        """Replace the rows that have the keys of `frame` by those rows; keys that are not there are added."""
        import polars as pl

        def changed(before: pl.DataFrame) -> pl.DataFrame:
            require_columns([key], before.columns, where=f"table {name}")
            made = fitted(frame, before.schema, table=f"table {name}", where=f"the rows for table {name}")
            if made[key].n_unique() != made.height or made[key].null_count():
                raise BadInput(f"the rows for table {name} have nulls or repeated values in key column {key!r}")
            kept = before.join(made.select(key), on=key, how="anti", maintain_order="left")
            return pl.concat([kept, made])

        return self._rewrite(name, changed)

    def delete(self, name: str, keys: Sequence[Any], *, key: str) -> Pinned:
        """Remove the rows with these keys from the newest version; keys that are not there do not count."""
        import polars as pl
        from polars.exceptions import PolarsError

        def changed(before: pl.DataFrame) -> pl.DataFrame:
            require_columns([key], before.columns, where=f"table {name}")
            try:
                gone = pl.DataFrame({key: list(keys)}, schema={key: before.schema[key]})
            except (TypeError, PolarsError) as error:
                kind = before.schema[key]
                raise WrongType(f"the keys are not {kind}, as column {key!r} of table {name} is") from error
            return before.join(gone, on=key, how="anti", maintain_order="left")

        return self._rewrite(name, changed)

    def scan(self, pinned: Pinned, *, verify: bool = True) -> pl.LazyFrame:
        """Exactly the rows of that version, or Corrupt. Verified once a process: reading it again costs no digest."""
        import polars as pl
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        if verify and pinned not in self._verified:
            self._verify(pinned)
        try:
            return pl.scan_delta(DeltaTable(self.uri(pinned.table), version=pinned.version))
        except (DeltaError, OSError) as error:
            raise _unreadable(pinned, error) from error

    def frame(self, pinned: Pinned) -> pl.DataFrame:
        """The rows of that version, in memory."""
        return self._read(pinned) if pinned in self._verified else self._verify(pinned)

    def _read(self, pinned: Pinned) -> pl.DataFrame:
        from deltalake.exceptions import DeltaError
        from polars.exceptions import PolarsError

        try:
            return self.scan(pinned, verify=False).collect()
        except (DeltaError, OSError, PolarsError) as error:
            raise error if isinstance(error, Corrupt) else _unreadable(pinned, error) from error

    def _verify(self, pinned: Pinned) -> pl.DataFrame:
        from tidemill.core.rowhash import as_text, rows_digest

        where = f"table {pinned.table} version {pinned.version}"
        frame = self._read(pinned)
        if frame.height != pinned.rows:
            raise Corrupt(f"{where} has {frame.height} rows, recorded were {pinned.rows}; restore it from a backup")
        found = as_text(rows_digest(frame))
        if found != pinned.digest:
            raise Corrupt(f"{where} has digest {found}, recorded was {pinned.digest}; restore it from a backup")
        self._verified.add(pinned)
        return frame

    def _rewrite(self, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Pinned:
        """Write `change(rows of the newest version)` as the next one; done again if somebody else was first."""

        def commit() -> Pinned:
            table = self._open(name)
            return self._overwrite(name, table, change(self.frame(_pinned(name, table))))

        return self._retried(name, commit)

    def _overwrite(self, name: str, table: DeltaTable, frame: pl.DataFrame) -> Pinned:
        marks, version = _marks_of(frame), table.version() + 1
        self._write(table, frame, marks, mode="overwrite")
        return _committed(name, version, marks)

    def _open(self, name: str) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(self.uri(name))
        except TableNotFoundError:
            raise NotFound(f"no table {name!r} in {self.root}; add rows to it first") from None

    def _write(self, table: DeltaTable | str, frame: pl.DataFrame, marks: dict[str, str], *, mode: Any) -> None:
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import DeltaError

        target = self.uri(table) if isinstance(table, str) else table
        # max_commit_retries=0: a rebased commit would carry marks of a parent that it no longer has
        properties = CommitProperties(custom_metadata=marks, max_commit_retries=0)
        try:
            if mode == "overwrite":
                write_deltalake(target, frame, mode=mode, schema_mode="overwrite", commit_properties=properties)
            else:
                kept = FOREVER if mode == "error" else None
                write_deltalake(target, frame, mode=mode, configuration=kept, commit_properties=properties)
        except (OSError, DeltaError) as error:
            if any(text in str(error) for text in FULL):
                raise NoRoom(f"cannot write to {self.root} ({error}); free space, then run it again") from error
            raise

    def _retried(self, name: str, commit: Callable[[], Pinned]) -> Pinned:
        from deltalake.exceptions import CommitFailedError

        for attempt in range(TRIES):
            try:
                return commit()
            except CommitFailedError:
                time.sleep(random.uniform(0.001, 0.02) * min(attempt + 1, 10))  # noqa: S311  back-off, no secret
        raise Busy(f"table {name} was written by others {TRIES} times in a row; try again when they are done")


def _unreadable(pinned: Pinned, error: Exception) -> Corrupt:
    where = f"table {pinned.table} version {pinned.version}"
    return Corrupt(f"{where} cannot be read: {error}; restore its files from a backup")


def _committed(name: str, version: int, marks: Mapping[str, str]) -> Pinned:
    return Pinned(name, version, int(marks[ROWS]), marks[DIGEST])


def _marks_of(frame: pl.DataFrame) -> dict[str, str]:
    from tidemill.core.rowhash import as_text, rows_digest

    return {ROWS: str(frame.height), DIGEST: as_text(rows_digest(frame))}


def _schema(table: DeltaTable) -> dict[str, pl.DataType]:
    import polars as pl

    return dict(pl.scan_delta(table).collect_schema())


def _pinned(name: str, table: DeltaTable) -> Pinned:
    """The version that the table was opened at. Another program's commit carries no marks: its rows are counted."""
    import polars as pl

    version = table.version()
    marks = _marks(table.table_uri, version)
    if not marks:
        marks = _marks_of(pl.scan_delta(table).collect())
    try:
        int(marks[DIGEST], 16)
        return _committed(name, version, marks)
    except (KeyError, ValueError) as error:
        raise Corrupt(f"table {name} version {version} has broken marks {marks}; restore it from a backup") from error


@lru_cache(maxsize=4096)
def _marks(uri: str, version: int) -> dict[str, str]:
    """A version's commit metadata; versions never change, so they are kept."""
    from deltalake import DeltaTable

    entry = DeltaTable(uri, version=version).history(1)[0]
    return {name: str(entry[name]) for name in (ROWS, DIGEST) if name in entry}


def _require_rows(frame: pl.DataFrame, name: str) -> None:
    if frame.height == 0:
        raise EmptyInput(f"no rows to write to table {name}; give at least one")
