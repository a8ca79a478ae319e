"""Versioned tables on Delta Lake: written in one commit, read at a pinned version or not at all.

Each commit carries in its metadata the row count and the digest (tidemill.core.rowhash) of the whole table after it, so
an append costs the digest of its own rows only. A scan of a pinned version counts and digests what it reads, once a
process, and raises Corrupt if anything differs. Commits that race are retried, so a caller never sees a conflict.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tidemill.core.delta.table_files import Files, reading, unreadable
from tidemill.core.delta.table_marks import (
    compare,
    counted,
    marked,
    moved,
    properties,
    require_rows,
    schema_of,
    zoneless,
)
from tidemill.core.delta.table_writing import FOREVER, retried, told, write
from tidemill.core.errors import (
    BadInput,
    Busy,
    Conflict,
    Corrupt,
    EmptyInput,
    NotFound,
    WrongType,
    require_columns,
)
from tidemill.core.schema import fitted, storable
from tidemill.core.types import Pinned

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
LONGEST = 255  # bytes of a part, which is a folder's name
BATCH_ROWS = 1 << 17  # 128 Ki rows of 20 columns are 20 MB
ERASED = "_erased"  # written by an erasure; Delta readers pass over names that begin with "_"
KEPT_OPEN = 16  # versions whose file lists stay in memory: a day's checks read the same version five times


class Tables:
    """The tables below one root: a folder, or s3://bucket/prefix."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._verified: set[Pinned] = set()
        self._known: dict[tuple[str, int], Pinned] = {}  # versions never change
        self._written: dict[str, DeltaTable] = {}  # at the version that this process wrote last; only for writing
        self._schemas: dict[Pinned, Mapping[str, pl.DataType]] = {}
        self._opened: dict[tuple[str, int], DeltaTable] = {}  # as read: never moved on to a later version
        # what an erasure left of a version, if one did
        self._erased: dict[str, int] = {}  # table: when rows were last erased of it, as seen
        self.amended: Callable[[Pinned], Pinned | None] = lambda _: None

    def uri(self, name: str) -> str:
        """Where a table is. Raises BadInput for a name that could lead outside the root."""
        if not NAME.fullmatch(name):
            raise BadInput(
                f"{name!r} is no table name; allowed are letters, digits, '.', '_', '-', parts joined by '/', "
                "none of which begins with '.'"
            )
        long = next((part for part in name.split("/") if len(part) > LONGEST), None)
        if long is not None:
            raise BadInput(f"{long[:20]!r}... is too long for a table's name: {len(long)} characters of {LONGEST}")
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is such a table."""
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(self.uri(name), storage_options=self._options())

    def latest(self, name: str) -> Pinned:
        """The newest version, with what must be found there."""
        return self._pinned(name, self._open(name))

    def schema(self, pinned: Pinned) -> Mapping[str, pl.DataType]:
        """Column names and types of that version; the rows are not read."""
        if pinned not in self._schemas:
            self._schemas[pinned] = dict(self.scan(pinned, verify=False).collect_schema())
        return self._schemas[pinned]

    def create(
        self,
        name: str,
        frame: pl.DataFrame,
        *,
        exists: Literal["append", "refuse"] = "append",
        packed: str | None = None,
    ) -> Pinned:
        """Make a table of these rows.

        exists: one that is there already (somebody raced us) gets the rows appended, or makes a Conflict. packed: write
        the rows in order of this column, its values as differences, everything smaller and a little slower.
        """
        from deltalake.exceptions import DeltaError, TableNotFoundError

        require_rows(frame, name)
        made = storable(frame, where=f"the rows for table {name}")
        try:
            if not self.exists(name):
                pinned = counted(name, 0, made)
                self._write(name, made, pinned, mode="error", packed=packed)
                return pinned
        except (DeltaError, TableNotFoundError):
            if not self.exists(name):
                raise
        if exists == "refuse":
            raise Conflict(f"table {name} is there already; append to it")
        return self.append(name, frame, packed=packed)

    def append(
        self, name: str, frame: pl.DataFrame, *, parent: Pinned | None = None, packed: str | None = None
    ) -> Pinned:
        """Append rows in one commit; the schema must be the table's.

        parent: the version that must be the newest one; Conflict when it is not. None appends to whatever is newest.
        packed: as for `create`.
        """
        from tidemill.core.rowhash import add, as_text, rows_digest

        require_rows(frame, name)

        def commit() -> Pinned:
            # Opening reads the log anew, 6 ms. The write moves the table on, so nothing else may read from it: a scan
            # is lazy. If another process was first, the commit fails and is tried again with the newest.
            kept = self._written.pop(name, None)
            table = self._open(name) if parent is None or kept is None or kept.version() != parent.version else kept
            before = self._pinned(name, table)
            if parent is not None and before != parent:
                raise moved(name, before, parent)
            schema = self._schemas.get(before) or schema_of(table)
            made = fitted(frame, schema, table=f"table {name}", where=f"the rows for table {name}")
            digest = as_text(add(int(before.digest, 16), rows_digest(made)))
            done = Pinned(name, before.version + 1, before.rows + made.height, digest)
            self._write(table, made, done, mode="append", packed=packed)
            if table.version() == done.version:  # the writer moves the table that it was given on to what it wrote
                self._known[name, done.version] = done
                self._schemas[done] = schema
                self._written[name] = table
            return done

        return retried(name, commit)

    def write_stream(
        self,
        name: str,
        batches: Iterable[pl.DataFrame],
        *,
        parent: Pinned | None = None,
        mode: Literal["append", "replace"] = "append",
    ) -> Pinned:
        """Write rows that come in batches, in one commit and in the memory of a few batches.

        mode "append": after the rows of `parent`, which must be the newest version (Conflict when it is not), or of the
        newest; a table that is not there is made. "replace": alone, under the schema of the first batch. Where the
        stream raises, or the process dies, nothing of it is visible.
        """
        files = Files(self.uri(name))
        there = self.exists(name)
        schema = schema_of(self._open(name)) if there and mode == "append" else None

        def fit(batch: pl.DataFrame) -> pl.DataFrame:
            nonlocal schema
            where = f"the rows for table {name}"
            if schema is None:
                made = storable(batch, where=where)
                schema = dict(made.schema)
                return made
            return fitted(batch, schema, table=f"table {name}", where=where)

        files.write(batches, fit)
        if schema is None or files.rows == 0:
            raise EmptyInput(f"no rows to write to table {name}; give at least one")
        found = schema
        try:
            return retried(name, lambda: self._commit(name, files, found, parent, mode))
        except (Conflict, Busy):  # after any other error the commit may be there: what none names is swept later
            files.drop()
            raise

    def _commit(
        self, name: str, files: Files, schema: Mapping[str, pl.DataType], parent: Pinned | None, mode: str
    ) -> Pinned:
        """Name the files in one commit; marks as `append` gives them."""
        import polars as pl
        from deltalake import Schema
        from deltalake.exceptions import CommitFailedError, DeltaError
        from deltalake.transaction import create_table_with_add_actions

        from tidemill.core.rowhash import add, as_text

        described = Schema.from_arrow(pl.Schema(schema))
        if not self.exists(name):
            if parent is not None:
                raise Conflict(f"table {name} is gone; restore it from a backup")
            done = Pinned(name, 0, files.rows, as_text(files.digest))
            try:
                create_table_with_add_actions(
                    self.uri(name),
                    described,
                    files.actions,
                    configuration=FOREVER,
                    storage_options=self._options(),
                    commit_properties=properties(done),
                )
            except DeltaError as error:
                if not self.exists(name):
                    raise told(error, self.root) from error
                raise CommitFailedError(str(error)) from error  # somebody else made it: onto theirs, by a retry
            return done
        table = self._open(name)
        before = self._pinned(name, table)
        if parent is not None and before != parent:
            raise moved(name, before, parent)
        if mode == "append" and schema_of(table) != dict(schema):
            raise Conflict(f"table {name} has other columns since version {before.version}; read it again, then retry")
        before = zoneless(table, before, schema)
        rows, digest = files.rows, files.digest
        if mode == "append":
            rows, digest = rows + before.rows, add(int(before.digest, 16), digest)
        done = Pinned(name, before.version + 1, rows, as_text(digest))
        written: Literal["append", "overwrite"] = "append" if mode == "append" else "overwrite"
        try:
            table.create_write_transaction([*files.actions], written, described, commit_properties=properties(done))
        except CommitFailedError:
            raise
        except (OSError, DeltaError) as error:
            raise told(error, self.root) from error
        return done

    def restore(self, pinned: Pinned) -> Pinned:
        """Make the newest version hold what `pinned` held, by one commit of metadata; later versions stay readable."""

        def commit() -> Pinned:
            table = self._open(pinned.table)
            before = self._pinned(pinned.table, table)
            if before.version == pinned.version:
                return before
            back = replace(pinned, version=before.version + 1)
            table.restore(pinned.version, commit_properties=properties(back))
            return back

        return retried(pinned.table, commit)

    def replace(self, name: str, frame: pl.DataFrame, *, packed: str | None = None) -> Pinned:
        """The whole table anew, with a new schema where it differs; older versions stay readable.

        packed: as for `create`.
        """
        made = storable(frame, where=f"the rows for table {name}")
        return retried(name, lambda: self._overwrite(name, self._open(name), made, packed=packed))

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

        self._notice(pinned.table)
        if verify and pinned not in self._verified:
            self._check(pinned)
        try:
            table = self._opened.get((pinned.table, pinned.version))
            if table is None:
                table = DeltaTable(self.uri(pinned.table), version=pinned.version, storage_options=self._options())
                self._keep(pinned, table)
            return pl.scan_delta(table)
        except (DeltaError, OSError) as error:
            raise unreadable(pinned, error) from error

    def frame(self, pinned: Pinned) -> pl.DataFrame:
        """The rows of that version, in memory."""
        return self._read(pinned) if pinned in self._verified else self._verify(pinned)

    def batches(self, pinned: Pinned, *, verify: bool = True) -> Iterator[pl.DataFrame]:
        """The rows of that version in batches, in the memory of a few of them; verified before the first one."""
        rows = self.scan(pinned, verify=verify)
        with reading(pinned):
            yield from rows.collect_batches(chunk_size=BATCH_ROWS)

    def _read(self, pinned: Pinned) -> pl.DataFrame:
        with reading(pinned):
            return self.scan(pinned, verify=False).collect()

    def forget(self, name: str) -> None:
        """Read the table from its files again: an erasure has changed versions that never change otherwise."""
        self._written.pop(name, None)
        for held in (self._known, self._opened):
            for key in [key for key in held if key[0] == name]:
                held.pop(key, None)
        self._verified = {pinned for pinned in self._verified if pinned.table != name}

    def _notice(self, name: str) -> None:
        """Forget the table if another process has erased rows of it since: one look at a file, some us; not in S3."""
        try:
            erased = 0 if self.root.startswith("s3://") else Path(f"{self.root}/{name}/{ERASED}").stat().st_mtime_ns
        except FileNotFoundError:
            erased = 0
        if self._erased.setdefault(name, erased) != erased:
            self._erased[name] = erased
            self.forget(name)

    def _check(self, pinned: Pinned) -> None:
        """Count and digest the rows, batch by batch: a table may be larger than memory."""
        from tidemill.core.rowhash import add, rows_digest

        rows = digest = 0
        try:
            for batch in self.batches(pinned, verify=False):
                rows += batch.height
                digest = add(digest, rows_digest(batch))
            compare(pinned, rows, digest)
            self._verified.add(pinned)
        except Corrupt:
            left = self._left(pinned)
            if left is None:
                raise
            self._check(left)
            self._verified.add(pinned)

    def _verify(self, pinned: Pinned) -> pl.DataFrame:
        from tidemill.core.rowhash import rows_digest

        try:
            frame = self._read(pinned)
            compare(pinned, frame.height, rows_digest(frame))
            self._verified.add(pinned)
        except Corrupt:
            left = self._left(pinned)
            if left is None:
                raise
            frame = self._verify(left)
            self._verified.add(pinned)
        return frame

    def _left(self, pinned: Pinned) -> Pinned | None:
        """What an erasure has left of a version that is not as it was recorded; None where none has touched it."""
        left = self.amended(pinned)
        if left is None or left == pinned:
            return None
        self.forget(pinned.table)
        return left

    def _rewrite(self, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Pinned:
        """Write `change(rows of the newest version)` as the next one; done again if somebody else was first."""

        def commit() -> Pinned:
            table = self._open(name)
            return self._overwrite(name, table, change(self.frame(self._pinned(name, table))))

        return retried(name, commit)

    def _overwrite(self, name: str, table: DeltaTable, frame: pl.DataFrame, *, packed: str | None = None) -> Pinned:
        pinned = counted(name, table.version() + 1, frame)
        self._write(table, frame, pinned, mode="overwrite", packed=packed)
        return pinned

    def _keep(self, pinned: Pinned, table: DeltaTable) -> None:
        self._opened[pinned.table, pinned.version] = table
        for oldest in list(self._opened)[:-KEPT_OPEN]:
            self._opened.pop(oldest, None)

    def _pinned(self, name: str, table: DeltaTable) -> Pinned:
        known = (name, table.version())
        if known not in self._known:
            self._known[known] = marked(name, table)
        return self._known[known]

    def _options(self) -> dict[str, str] | None:
        """An endpoint that the user names with http:// is taken as it is, as the store does."""
        plain = self.root.startswith("s3://") and os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        return {"allow_http": "true"} if plain else None

    def _open(self, name: str) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(self.uri(name), storage_options=self._options())
        except TableNotFoundError:
            raise NotFound(f"no table {name!r} in {self.root}; add rows to it first") from None

    def _write(
        self, table: DeltaTable | str, frame: pl.DataFrame, pinned: Pinned, *, mode: Any, packed: str | None = None
    ) -> None:
        target, options = (self.uri(table), self._options()) if isinstance(table, str) else (table, None)
        write(target, frame, pinned, root=self.root, mode=mode, packed=packed, options=options)
