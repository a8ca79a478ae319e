"""What a commit of a table carries: the row count and the digest of the whole table after it, under its version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tidemill.core.errors import Conflict, Corrupt, EmptyInput
from tidemill.core.types import Pinned

if TYPE_CHECKING:
    import polars as pl
    from deltalake import CommitProperties, DeltaTable

ROWS, DIGEST, VERSION = "tidemill.rows", "tidemill.digest", "tidemill.version"


def properties(pinned: Pinned) -> CommitProperties:
    """What a commit carries. max_commit_retries=0: a rebased commit would carry marks of a parent that it hasn't."""
    from deltalake import CommitProperties

    marks = {ROWS: str(pinned.rows), DIGEST: pinned.digest, VERSION: str(pinned.version)}
    return CommitProperties(custom_metadata=marks, max_commit_retries=0)


def counted(name: str, version: int, frame: pl.DataFrame) -> Pinned:
    """The table as that version, its rows being these."""
    from tidemill.core.rowhash import as_text, rows_digest

    return Pinned(name, version, frame.height, as_text(rows_digest(frame)))


def marked(name: str, table: DeltaTable) -> Pinned:
    """The version that the table was opened at. Another program's commit carries no marks: its rows are counted.

    `history` starts at the newest commit there is, not at the version opened, and numbers from the latter: where others
    commit at the same time its numbers are wrong. So each commit carries its own.
    """
    import polars as pl

    version = table.version()
    for last in (1, 20):
        for entry in table.history(last):
            if entry.get(VERSION) == str(version):
                try:
                    return Pinned(name, version, int(entry[ROWS]), f"{int(entry[DIGEST], 16):032x}")
                except (KeyError, ValueError) as error:
                    marks = {mark: entry.get(mark) for mark in (ROWS, DIGEST)}
                    raise Corrupt(
                        f"table {name} version {version} has broken marks {marks}; restore it from a backup"
                    ) from error
    return counted(name, version, pl.scan_delta(table).collect())


def zoneless(table: DeltaTable, before: Pinned, schema: Mapping[str, pl.DataType]) -> Pinned:
    """Times without a zone are a feature that a table must name before its first file has them: a commit of its own."""
    from deltalake import TableFeatures

    named = "timestampNtz" in (table.protocol().writer_features or ())
    if named or not any("time_zone=None" in str(kind) for kind in schema.values()):
        return before
    after = replace(before, version=before.version + 1)
    table.alter.add_feature(
        TableFeatures.TimestampWithoutTimezone,
        allow_protocol_versions_increase=True,
        commit_properties=properties(after),
    )
    return after


def moved(name: str, before: Pinned, parent: Pinned) -> Conflict:
    """Somebody else committed since the caller looked."""
    return Conflict(f"table {name} is at version {before.version}, not at {parent.version}; read it again, then retry")


def require_rows(frame: pl.DataFrame, name: str) -> None:
    """Raise EmptyInput for a frame without rows."""
    if frame.height == 0:
        raise EmptyInput(f"no rows to write to table {name}; give at least one")


def compare(pinned: Pinned, rows: int, digest: int) -> None:
    """Raise Corrupt where a version does not hold what is recorded of it."""
    from tidemill.core.rowhash import as_text

    where, found = f"table {pinned.table} version {pinned.version}", as_text(digest)
    if rows != pinned.rows:
        raise Corrupt(f"{where} has {rows} rows, recorded were {pinned.rows}; restore it from a backup")
    if found != pinned.digest:
        raise Corrupt(f"{where} has digest {found}, recorded was {pinned.digest}; restore it from a backup")


def schema_of(table: DeltaTable) -> dict[str, pl.DataType]:
    """Column names and types at the version that the table was opened at."""
    import polars as pl

    return dict(pl.scan_delta(table).collect_schema())
