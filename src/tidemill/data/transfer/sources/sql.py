"""SQL databases: any SQLAlchemy URL, by a query, streamed through a server-side cursor where the driver has one.

A driver tells values, not types: so a result that does not fit one batch is first kept in a temporary folder, batch by
batch, until the types that hold all its values are known. The query runs once, so the rows are those of one moment.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from tidemill.core.errors import BadInput, MissingExtra, NotFound, WrongType, require_columns
from tidemill.data.transfer.sources.source import BATCH_ROWS, Asked, Source, unified
from tidemill.data.transfer.spool import writable

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
OTHERS = ("s3", "file", "http", "https", "memory", "gs", "az")


def opens(url: str) -> bool:
    """Whether this is the URL of a database."""
    scheme, found, _ = url.partition("://")
    return bool(found) and scheme.split("+")[0] not in OTHERS


def open_(url: str, asked: Asked) -> Source:
    """Run the query. NotFound for a SQLite file that is not there, BadInput for a query that the database refuses,
    MissingExtra for a driver that is not installed."""
    address, engine = connected(url)
    shown = address.set(query={}).render_as_string(hide_password=True)
    if not asked.query:
        raise BadInput(f"{shown} is a database; say which rows: query='SELECT ...', or the name of a table")
    if address.drivername.startswith("sqlite") and address.database and not Path(address.database).exists():
        raise NotFound(f"no file {address.database}; opening it would make an empty database")
    kept = tempfile.TemporaryDirectory(prefix="tidemill-", dir=asked.spool)
    try:
        with writable(kept.name):
            parts, schema, rows = _kept(engine, asked, Path(kept.name))
    except BaseException as error:
        kept.cleanup()
        if isinstance(error, DBAPIError):
            said = str(error.orig).splitlines()[0] if str(error.orig) else type(error.orig).__name__
            raise BadInput(f"{shown} refused the query: {said}; the query was: {asked.query}") from error
        if isinstance(error, SQLAlchemyError):
            raise BadInput(f"{shown}: {str(error).splitlines()[0]}") from error
        raise
    finally:
        engine.dispose()

    def read(_: int) -> Iterator[pl.DataFrame]:
        for part in parts:
            yield pl.read_ipc(part).select(pl.col(column).cast(kind) for column, kind in schema.items())

    source = Source(f"{shown}: {asked.query}", schema, read, rows, None, kept.cleanup)
    if asked.columns is None:
        return source
    require_columns(asked.columns, schema, where=shown)
    wanted = list(asked.columns)
    return replace(
        source,
        schema={column: schema[column] for column in wanted},
        read=lambda rows: (batch.select(wanted) for batch in read(rows)),
    )


def connected(url: str) -> tuple[sa.URL, sa.Engine]:
    """The address and an engine for it; nothing is connected yet."""
    try:
        address = sa.make_url(url)
        if address.drivername in ("postgresql", "postgres"):
            address = address.set(drivername="postgresql+psycopg")
        return address, sa.create_engine(address)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{url.split(':', 1)[0]}:// needs the driver {error.name}: pip install {error.name}"
        ) from error
    except (NoSuchModuleError, ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise BadInput(
            f"{url.split(':', 1)[0]}:// is no database that SQLAlchemy knows here; "
            "write dialect://user@host/name, for example sqlite:///file.db or postgresql://user@host/name"
        ) from error


def statement(query: str, since: tuple[str, Any] | None, engine: sa.Engine) -> tuple[sa.TextClause, dict[str, Any]]:
    """The query as it runs: a bare name is a table's; `since` is bound as a parameter, where the query says :since or
    around it."""
    quote = engine.dialect.identifier_preparer.quote_identifier
    text = query.strip().rstrip(";")
    if NAME.fullmatch(text):
        text = "SELECT * FROM " + ".".join(quote(part) for part in text.split("."))  # noqa: S608  a name, quoted
    if since is None:
        return sa.text(text), {}
    if not re.search(r"(?<!:):since\b", text):
        text = f"SELECT * FROM ({text}) AS of_query WHERE {quote(since[0])} >= :since"  # noqa: S608  bound
    return sa.text(text), {"since": since[1]}


def _kept(engine: sa.Engine, asked: Asked, folder: Path) -> tuple[list[Path], dict[str, pl.DataType], int]:
    query, bound = statement(asked.query or "", asked.since, engine)
    parts: list[Path] = []
    schema: dict[str, pl.DataType] = {}
    rows = 0
    with engine.connect() as link:
        result = link.execution_options(stream_results=True, yield_per=BATCH_ROWS).execute(query, bound)
        columns = list(result.keys())
        _require_distinct(columns)
        for group in result.partitions(BATCH_ROWS):
            frame = pl.DataFrame(
                {name: _series(name, [row[place] for row in group]) for place, name in enumerate(columns)}
            )
            for name, kind in frame.schema.items():
                both = unified(schema.get(name, kind), kind)
                if both is None:
                    raise WrongType(
                        f"column {name!r} of the query is {schema[name]}, then {kind}; CAST it in the query"
                    )
                schema[name] = both
            parts.append(folder / f"{len(parts):06}.arrow")
            frame.write_ipc(parts[-1], compression="zstd")
            rows += frame.height
    return parts, schema or {name: pl.String() for name in columns}, rows


def _require_distinct(columns: list[str]) -> None:
    for column in columns:
        if columns.count(column) > 1:
            raise BadInput(f"the query gives column {column!r} twice; name one of them AS something else")


def _series(name: str, values: list[Any]) -> pl.Series:
    """A column of a batch. Times with a zone become UTC, UUIDs text, whole decimals stay decimals."""
    first = next((value for value in values if value is not None), None)
    if first is None:
        return pl.Series(name, values, dtype=pl.Null)
    if isinstance(first, UUID):
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    if isinstance(first, memoryview):
        return pl.Series(name, [None if value is None else bytes(value) for value in values], dtype=pl.Binary)
    if isinstance(first, datetime) and isinstance(first.tzinfo, tzinfo):
        moments = [None if value is None else value.astimezone(UTC) for value in values]
        return pl.Series(name, moments, dtype=pl.Datetime("us", "UTC"))
    if isinstance(first, Decimal):
        scale = max((-int(value.as_tuple().exponent) for value in values if value is not None), default=0)
        return pl.Series(name, values, dtype=pl.Decimal(38, max(scale, 0)))
    try:
        return pl.Series(name, values, strict=True)
    except TypeError:
        numbers = all(value is None or isinstance(value, int | float) for value in values)
        if numbers:
            return pl.Series(name, values, dtype=pl.Float64, strict=False)
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        raise WrongType(f"column {name!r} of the query holds {' and '.join(kinds)}; CAST it in the query") from None
