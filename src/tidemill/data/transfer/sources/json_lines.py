"""JSON lines: one object a line; a column's type is the one that holds all its values."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from tidemill.core.errors import BadInput, EmptyInput
from tidemill.data.transfer.sources.blocks import blocks
from tidemill.data.transfer.sources.source import Asked, Source, narrowed, unified_schemas

ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


def opens(url: str) -> bool:
    """Whether this is a file of JSON lines."""
    return "://" not in url and url.lower().endswith(ENDINGS) and not Path(url).is_dir()


def open_(url: str, asked: Asked) -> Source:
    """Read the types, then offer the rows."""
    path = Path(url)
    schema: dict[str, pl.DataType] | None = {}
    rows = 0
    for block in blocks(path):
        frame = pl.read_ndjson(io.BytesIO(block), infer_schema_length=None) if block.strip() else pl.DataFrame()
        rows += frame.height
        merged = unified_schemas(schema or {}, frame.schema)
        if merged is None:
            raise BadInput(f"{url} has a field whose values are of types that do not go together; make them one type")
        schema = merged
    if rows == 0:
        raise EmptyInput(f"{url} holds no rows; a file of rows is needed")
    schema = dict(schema or {}) | {name: kind for name, kind in asked.types.items() if name in (schema or {})}

    def read(_: int) -> Iterator[pl.DataFrame]:
        for block in blocks(path):
            if block.strip():
                yield pl.read_ndjson(io.BytesIO(block), schema=schema)

    return narrowed(Source(url, schema, read, rows, path.stat().st_size), asked)
