"""Where rows come from: files, folders, databases, Delta tables and S3; one file of this package a kind of source.

A kind is a module with `opens(url) -> bool` and `open_(url, asked) -> Source`; the kinds know each other's addresses
apart, so their order does not matter. A new one is one file more.
"""

from __future__ import annotations

import importlib
import pkgutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import NoDataError, PolarsError

from tidemill.core.errors import BadInput, EmptyInput, NotFound, TidemillError, nearest
from tidemill.data.transfer.sources import arrow, csv, json_lines, parquet
from tidemill.data.transfer.sources.source import Asked, Source, typed

FORMATS = (*csv.ENDINGS, *json_lines.ENDINGS, *parquet.ENDINGS, *arrow.ENDINGS)
BLANK_BYTES = 1 << 12


def open_source(
    url: str,
    *,
    query: str | None = None,
    since: tuple[str, Any] | None = None,
    columns: Sequence[str] | None = None,
    types: Mapping[str, pl.DataType] | None = None,
    spool: Path | None = None,
) -> Source:
    """The rows at `url`: a file, a folder of files, a Delta table, s3://..., or a SQLAlchemy URL with a query.

    since: (column, value): only rows whose value is not smaller; a query gets it as the parameter :since, or is
    narrowed by it. columns: only those. types: read these columns of text files as that, and any column without a
    value, which is text otherwise. spool: a folder for downloads
    and results of queries, by default the system's. Close the source after use.
    Raises NotFound, EmptyInput for no rows where that is seen at once, UnknownColumn, WrongType, MissingExtra, or
    BadInput for an unknown ending or content that does not parse.
    """
    asked = Asked(query, since, columns, dict(types or {}), spool)
    kind = next((each for each in _kinds() if each.opens(url)), None)
    if kind is None and "://" in url:
        raise BadInput(f"no source reads {url.partition(':')[0]}://; allowed are paths, s3:// and SQLAlchemy's URLs")
    if "://" not in url and not Path(url).is_dir():
        _require_file(Path(url), known=kind is not None)
    assert kind is not None
    try:
        opened: Source = kind.open_(url, asked)
        return typed(opened, asked)
    except TidemillError:
        raise
    except NoDataError:
        raise EmptyInput(f"{url} holds no rows; a file of rows is needed") from None
    except (PolarsError, OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, UnicodeDecodeError) as error:
        ending = "" if "://" in url else f" as {_ending(Path(url))}"
        raise BadInput(f"{url} cannot be read{ending}: {(str(error).splitlines() or [repr(error)])[0]}") from error


def read(path: Path) -> pl.DataFrame:
    """All rows of the file; its ending says how it is read.

    Raises NotFound, EmptyInput for a file without rows, BadInput for an unknown ending or content that does not parse.
    """
    _require_file(path, known=_ending(path) is not None)
    with open_source(str(path)) as source:
        frame = source.frame()
    if frame.height == 0:
        raise EmptyInput(f"{path} holds a header but no rows; a file of rows is needed")
    return frame


def _kinds() -> list[Any]:  # Any: modules, whose functions mypy does not see
    names = [each.name for each in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [module for module in modules if hasattr(module, "opens")]


def _ending(path: Path) -> str | None:
    name = path.name.lower()
    return next((each for each in sorted(FORMATS, key=len, reverse=True) if name.endswith(each)), None)


def _require_file(path: Path, *, known: bool) -> None:
    if not path.is_file():
        near = nearest(path.name, [each.name for each in path.parent.glob("*")]) if path.parent.is_dir() else ""
        raise NotFound(f"no file {path}.{near}")
    if not known:
        raise BadInput(f"{path} has an ending that is not known; allowed are {', '.join(FORMATS)}")
    if path.stat().st_size < BLANK_BYTES and not path.read_bytes().strip():
        raise EmptyInput(f"{path} is empty; a file of rows is needed")
