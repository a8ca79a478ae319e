"""A folder of files of rows, below it too, read one after the other in order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from tidemill.core.errors import NotFound, WrongType, require_columns
from tidemill.data.transfer.sources import arrow, csv, delta, json_lines, parquet
from tidemill.data.transfer.sources.source import Asked, Source, narrowed, unified

FILES = (csv, json_lines, parquet, arrow)


def opens(url: str) -> bool:
    """Whether this is a folder, and no Delta table."""
    return "://" not in url and Path(url).is_dir() and not delta.opens(url)


def open_(url: str, asked: Asked) -> Source:
    """All files must have the same columns; types are those that hold the values of all. NotFound for no file."""
    folder = Path(url)
    paths = sorted(each for each in folder.rglob("*") if _shown(each, folder))
    opened = [_file(path, Asked(types=asked.types)) for path in paths]
    if not opened:
        endings = ", ".join(ending for kind in FILES for ending in kind.ENDINGS)
        raise NotFound(f"no file of rows in folder {url}; looked for {endings}")
    schema = dict(opened[0].schema)
    for source in opened[1:]:
        require_columns(schema, source.schema, where=source.name)
        require_columns(source.schema, schema, where=f"{opened[0].name}, as in {source.name}")
        for column, kind in source.schema.items():
            both = unified(schema[column], kind)
            if both is None and not source.name.lower().endswith(csv.ENDINGS):
                raise WrongType(
                    f"column {column!r} is {kind} in {source.name} and {schema[column]} before; make them one type"
                )
            schema[column] = both or pl.String()

    def read(rows: int) -> Iterator[pl.DataFrame]:
        for path, source in zip(paths, opened, strict=True):
            text = source.name.lower().endswith(csv.ENDINGS)
            again = _file(path, Asked(types=schema)) if text and dict(source.schema) != schema else source
            for batch in again.read(rows):
                yield batch.select(pl.col(column).cast(kind) for column, kind in schema.items())

    counts = [source.rows for source in opened]
    sizes = [source.size_bytes or 0 for source in opened]
    known = None if None in counts else sum(count or 0 for count in counts)
    return narrowed(Source(url, schema, read, known, sum(sizes)), asked)


def named(name: str) -> bool:
    """Whether a name is that of a file of rows which is not hidden."""
    hidden = any(part.startswith((".", "_")) for part in name.split("/"))
    return not hidden and name.lower().endswith(tuple(ending for kind in FILES for ending in kind.ENDINGS))


def _shown(path: Path, folder: Path) -> bool:
    return named(path.relative_to(folder).as_posix()) and path.is_file()


def _file(path: Path, asked: Asked) -> Source:
    kind = next(kind for kind in FILES if kind.opens(str(path)))
    opened: Source = kind.open_(str(path), asked)
    return replace(opened, name=str(path))
