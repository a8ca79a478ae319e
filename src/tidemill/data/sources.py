"""Read a file of rows: CSV (plain, zipped or gzipped), JSON lines, Parquet, Arrow."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from pathlib import Path

import polars as pl
from polars.exceptions import NoDataError, PolarsError

from tidemill.core.errors import BadInput, EmptyInput, NotFound, TidemillError, nearest

FORMATS = (".csv", ".csv.gz", ".csv.zip", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
BLANK_BYTES = 1 << 12
NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?(_duplicated_\d+)?")


def read(path: Path) -> pl.DataFrame:
    """All rows of the file; its ending says how it is read.

    Raises NotFound, EmptyInput for a file without rows, BadInput for an unknown ending or content that does not parse.
    """
    if not path.is_file():
        near = nearest(path.name, [each.name for each in path.parent.glob("*")]) if path.parent.is_dir() else ""
        raise NotFound(f"no file {path}.{near}")
    ending = next((each for each in sorted(FORMATS, key=len, reverse=True) if path.name.lower().endswith(each)), None)
    if ending is None:
        raise BadInput(f"{path} has an ending that is not known; allowed are {', '.join(FORMATS)}")
    if path.stat().st_size < BLANK_BYTES and not path.read_bytes().strip():
        raise EmptyInput(f"{path} is empty; a file of rows is needed")
    try:
        frame = _read(path, ending)
    except TidemillError:
        raise
    except NoDataError:
        raise EmptyInput(f"{path} holds no rows; a file of rows is needed") from None
    except (PolarsError, OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise BadInput(f"{path} cannot be read as {ending}: {str(error).splitlines()[0]}") from error
    if ending.startswith(".csv"):
        _check_header(frame.columns, path)
    if frame.height == 0:
        raise EmptyInput(f"{path} holds a header but no rows; a file of rows is needed")
    return frame


def _read(path: Path, ending: str) -> pl.DataFrame:
    if ending == ".csv.zip":
        with zipfile.ZipFile(path) as archive:
            inside = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if len(inside) != 1:
                raise BadInput(f"{path} holds {len(inside)} files ({', '.join(inside[:5])}); it must hold one CSV file")
            return _csv(archive.read(inside[0]))
    if ending == ".csv.gz":
        with gzip.open(path) as file:
            return _csv(file.read())
    if ending == ".csv":
        return _csv(path)
    if ending in (".jsonl", ".ndjson"):
        return pl.read_ndjson(path, infer_schema_length=None)
    if ending == ".parquet":
        return pl.read_parquet(path)
    return pl.read_ipc(path)


def _csv(source: bytes | Path) -> pl.DataFrame:
    return pl.read_csv(source, null_values=["", "NA"], infer_schema_length=None, try_parse_dates=True)


def _check_header(columns: list[str], path: Path) -> None:
    """A header that gives a column no name, gives two the same, or holds numbers, is no header."""
    if not all(name.strip() for name in columns):
        place = next(n for n, name in enumerate(columns, 1) if not name.strip())
        raise BadInput(f"{path}: column {place} of {len(columns)} has no name in the header; give it one")
    twice = [name.split("_duplicated_")[0] for name in columns if "_duplicated_" in name]
    if twice and twice[0] in columns:
        raise BadInput(f"{path} names column {twice[0]!r} twice in its header; rename one")
    if all(NUMBER.fullmatch(name.strip()) for name in columns):
        raise BadInput(f"{path} has no header: its first line is {', '.join(columns[:5])}; put column names there")
