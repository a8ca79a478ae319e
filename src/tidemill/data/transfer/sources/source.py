"""A source of rows: where it is, what columns it has, and its rows in batches."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from gzip import BadGzipFile
from pathlib import Path
from types import TracebackType
from typing import Any
from zipfile import BadZipFile

import polars as pl
from polars.datatypes import DataTypeClass
from polars.exceptions import PolarsError

from tidemill.core.errors import BadInput, WrongType, require_columns
from tidemill.core.ids import parse_time

BATCH_ROWS = 1 << 17


def nothing() -> None:
    """What there is to let go of by default."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a source.

    query: for databases. since: (column, smallest value) of rows that are wanted, that value included. columns: those
    wanted, in this order. types: what columns of text files must be read as; others are found by reading. spool: where
    what must be kept meanwhile is kept, by default the system's temporary folder.
    """

    query: str | None = None
    since: tuple[str, Any] | None = None
    columns: Sequence[str] | None = None
    types: Mapping[str, pl.DataType] = field(default_factory=dict)
    spool: Path | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that can be read, more than once, in the memory of a few batches. Close it, or use it in a `with`.

    name: where it is, without secrets. schema: column names and types. read: batches of at most so many rows, in the
    source's order. rows: how many, size_bytes: of what is read; None where they are not known before reading.
    """

    name: str
    schema: Mapping[str, pl.DataType]
    read: Callable[[int], Iterator[pl.DataFrame]]
    rows: int | None = None
    size_bytes: int | None = None
    close: Callable[[], None] = nothing

    def batches(self, *, rows: int | None = None) -> Iterator[pl.DataFrame]:
        """The rows in batches of at most `rows` (131,072), none of them empty. BadInput where they do not parse."""
        most = rows or BATCH_ROWS
        try:
            for batch in self.read(most):
                yield from (part for part in batch.iter_slices(most) if part.height)
        except (PolarsError, UnicodeDecodeError, EOFError, BadGzipFile, BadZipFile, zlib.error) as error:
            raise unreadable(self.name, error) from error

    def frame(self) -> pl.DataFrame:
        """All rows in memory."""
        parts = list(self.batches())
        return pl.concat(parts, rechunk=True) if parts else pl.DataFrame(schema=dict(self.schema))

    def describe(self) -> str:
        """Where the rows are, without secrets: what a record may hold."""
        return self.name

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def unreadable(name: str, error: BaseException) -> BadInput:
    """What a user is told about content that does not parse."""
    return BadInput(f"{name} cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}")


def narrowed(source: Source, asked: Asked) -> Source:
    """The source with only the columns and rows that are asked for, for those that cannot leave them out themselves."""
    wanted = list(source.schema) if asked.columns is None else list(asked.columns)
    require_columns(wanted, source.schema, where=source.name)
    keep = at_least(source.schema, asked, source.name)
    if keep is None and asked.columns is None:
        return source

    def read(rows: int) -> Iterator[pl.DataFrame]:
        for batch in source.read(rows):
            yield (batch if keep is None else batch.filter(keep)).select(wanted)

    return replace(
        source,
        schema={column: source.schema[column] for column in wanted},
        read=read,
        rows=source.rows if keep is None else None,
    )


def typed(source: Source, asked: Asked) -> Source:
    """The source with a type for each column that has no value: that which is asked for, else text."""
    kinds = {column: asked.types.get(column, pl.String()) for column, kind in source.schema.items() if kind == pl.Null}
    if not kinds:
        return source

    def read(rows: int) -> Iterator[pl.DataFrame]:
        for batch in source.read(rows):
            yield batch.with_columns(pl.col(column).cast(kind) for column, kind in kinds.items())

    return replace(source, schema={**source.schema, **kinds}, read=read)


def lazy_source(name: str, rows: pl.LazyFrame, asked: Asked, *, count: int | None, size_bytes: int | None) -> Source:
    """A source that Polars can scan: only the columns and row groups that are asked for are read."""
    try:
        schema = dict(rows.collect_schema())
    except (PolarsError, OSError) as error:
        raise unreadable(name, error) from error
    keep = at_least(schema, asked, name)
    if keep is not None:
        rows = rows.filter(keep)
    if asked.columns is not None:
        require_columns(asked.columns, schema, where=name)
        rows = rows.select(asked.columns)
        schema = {column: schema[column] for column in asked.columns}

    def read(batch_rows: int) -> Iterator[pl.DataFrame]:
        yield from rows.collect_batches(chunk_size=batch_rows, maintain_order=True)

    return Source(name, schema, read, count if keep is None else None, size_bytes)


def at_least(schema: Mapping[str, pl.DataType], asked: Asked, name: str) -> pl.Expr | None:
    """The condition of `since`, or None. A time may be given as ISO text. WrongType for a value of another type."""
    if asked.since is None:
        return None
    column, value = asked.since
    require_columns([column], schema, where=name)
    kind = schema[column]
    try:
        if isinstance(value, str) and isinstance(kind, pl.Datetime):
            value = parse_time(value)
        elif isinstance(value, str) and kind == pl.Date:
            value = date.fromisoformat(value)
        if isinstance(value, datetime) and isinstance(kind, pl.Datetime) and kind.time_zone is None:
            value = value.replace(tzinfo=None)
        least = pl.Series([value], dtype=kind)
    except (TypeError, ValueError, PolarsError) as error:
        raise WrongType(f"column {column!r} of {name} is {kind}; {value!r} is none, give one of that type") from error
    return pl.col(column) >= pl.lit(least.item(), dtype=kind)


def unified(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """The type that holds the values of both, None where only text would."""
    if one == other:
        return one
    if pl.Null in (one, other):
        return other if one == pl.Null else one
    if one.is_numeric() and other.is_numeric():
        if isinstance(one, pl.Decimal) and isinstance(other, pl.Decimal):
            return pl.Decimal(38, max(one.scale, other.scale))
        return pl.Int64() if one.is_integer() and other.is_integer() else pl.Float64()
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime) and one.time_zone == other.time_zone:
        return pl.Datetime("us", one.time_zone)
    if isinstance(one, pl.List) and isinstance(other, pl.List):
        inner = unified(_made(one.inner), _made(other.inner))
        return None if inner is None else pl.List(inner)
    if isinstance(one, pl.Struct) and isinstance(other, pl.Struct):
        merged = unified_schemas(_fields(one), _fields(other))
        return None if merged is None else pl.Struct(merged)
    return None


def unified_schemas(one: Mapping[str, pl.DataType], other: Mapping[str, pl.DataType]) -> dict[str, pl.DataType] | None:
    """The columns of both, each of a type that holds both; None where one has no such type."""
    merged = dict(one)
    for name, kind in other.items():
        both = unified(merged[name], kind) if name in merged else kind
        if both is None:
            return None
        merged[name] = both
    return merged


def _fields(kind: pl.Struct) -> dict[str, pl.DataType]:
    return {field.name: _made(field.dtype) for field in kind.fields}


def _made(kind: DataTypeClass | pl.DataType) -> pl.DataType:
    made = kind if isinstance(kind, pl.DataType) else kind()
    assert isinstance(made, pl.DataType)
    return made
