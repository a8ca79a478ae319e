"""Read a file of rows: CSV (plain, zipped or gzipped), JSON lines, Parquet, Arrow."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import polars as pl
from polars.exceptions import NoDataError, PolarsError

from tidemill.core.errors import BadInput, EmptyInput, NotFound, nearest

FORMATS = (".csv", ".csv.gz", ".csv.zip", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")


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
    if path.stat().st_size == 0:
        raise EmptyInput(f"{path} is empty; a file of rows is needed")
    try:
        frame = _read(path, ending)
    except NoDataError:
        raise EmptyInput(f"{path} holds no rows; a file of rows is needed") from None
    except (PolarsError, OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} cannot be read as {ending}: {error}") from error
    if frame.height == 0:
        raise EmptyInput(f"{path} holds a header but no rows; a file of rows is needed")
    return frame


def _read(path: Path, ending: str) -> pl.DataFrame:
    if ending == ".csv.zip":
        with zipfile.ZipFile(path) as archive:
            return _csv(io.BytesIO(archive.read(archive.namelist()[0])))
    if ending in (".csv", ".csv.gz"):
        return _csv(path)
    if ending in (".jsonl", ".ndjson"):
        return pl.read_ndjson(path, infer_schema_length=None)
    if ending == ".parquet":
        return pl.read_parquet(path)
    return pl.read_ipc(path)


def _csv(source: io.BytesIO | Path) -> pl.DataFrame:
    return pl.read_csv(source, null_values=["", "NA"], infer_schema_length=None, try_parse_dates=True)
