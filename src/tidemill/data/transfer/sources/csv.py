"""CSV files: plain, gzipped or zipped; empty values and NA are missing, numbers, truths and times are found by reading.

A column's type is the narrowest that holds every value of the file, so the file is read twice: once for the types, once
for the rows. Both times in blocks of whole lines.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import NoDataError, PolarsError

from tidemill.core.errors import BadInput, EmptyInput, WrongType
from tidemill.data.transfer.sources.blocks import blocks
from tidemill.data.transfer.sources.source import Asked, Source, narrowed, unified

ENDINGS = (".csv", ".csv.gz", ".csv.zip")
MISSING = ["", "NA"]
SAMPLE_ROWS = 1000
NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?(_duplicated_\d+)?")
UNPARSED = re.compile(r"could not parse `(?P<value>.*?)` as dtype `.*?` at column '(?P<column>.*?)'", re.S)


def opens(url: str) -> bool:
    """Whether this is a CSV file."""
    return "://" not in url and url.lower().endswith(ENDINGS) and not Path(url).is_dir()


def open_(url: str, asked: Asked) -> Source:
    """Read the types, then offer the rows."""
    path = Path(url)
    columns = header(path)
    fixed = {column: asked.types[column] for column in columns if column in asked.types}
    rows: int | None = None
    if len(fixed) == len(columns):
        kinds = fixed
    else:
        rows, kinds = types_of(blocks(path, quoted=True), columns, fixed, url)
        if rows == 0:
            raise EmptyInput(f"{url} holds a header but no rows; a file of rows is needed")

    def read(_: int) -> Iterator[pl.DataFrame]:
        for place, block in enumerate(blocks(path, quoted=True)):
            yield parsed(block, columns, kinds, header=place == 0, name=url)

    return narrowed(Source(url, kinds, read, rows, path.stat().st_size), asked)


def header(path: Path) -> list[str]:
    """The column names. BadInput for a header that gives a column no name or two the same, or that holds numbers."""
    first = next(blocks(path, quoted=True), b"")
    try:
        columns = pl.read_csv(io.BytesIO(first), n_rows=0, infer_schema=False).columns
    except NoDataError:
        raise EmptyInput(f"{path} holds no rows; a file of rows is needed") from None
    if not all(name.strip() for name in columns):
        place = next(n for n, name in enumerate(columns, 1) if not name.strip())
        raise BadInput(f"{path}: column {place} of {len(columns)} has no name in the header; give it one")
    twice = [name.split("_duplicated_")[0] for name in columns if "_duplicated_" in name]
    if twice and twice[0] in columns:
        raise BadInput(f"{path} names column {twice[0]!r} twice in its header; rename one")
    if all(NUMBER.fullmatch(name.strip()) for name in columns):
        raise BadInput(f"{path} has no header: its first line is {', '.join(columns[:5])}; put column names there")
    return columns


def types_of(
    texts: Iterable[bytes], columns: list[str], fixed: Mapping[str, pl.DataType], name: str
) -> tuple[int, dict[str, pl.DataType]]:
    """How many rows there are, and for each column the narrowest type that holds all its values; text for no values."""
    rows = 0
    found: dict[str, pl.DataType | None] = {column: fixed.get(column) for column in columns}
    for place, block in enumerate(texts):
        guess = found
        for sample in (SAMPLE_ROWS, None):
            unknown = [column for column, kind in guess.items() if kind is None]
            if unknown:
                guess = {**guess, **_guessed(block, columns, unknown, sample, header=place == 0)}
            try:
                frame = parsed(block, columns, guess, header=place == 0, name=name)
            except WrongType:
                # Only here each value of the block is looked at for its type: 20 times slower than reading it.
                fresh = _guessed(block, columns, columns, None, header=place == 0)
                guess = {column: fixed.get(column) or _both(found[column], fresh.get(column)) for column in columns}
                frame = parsed(block, columns, guess, header=place == 0, name=name)
            # A column of which the sample was missing may have values that the sample did not show.
            if all(guess[column] is not None or frame[column].null_count() == frame.height for column in columns):
                break
        found = guess
        rows += frame.height
    return rows, {column: pl.String() if kind is None else kind for column, kind in found.items()}


def parsed(
    block: bytes, columns: list[str], kinds: Mapping[str, pl.DataType | None], *, header: bool, name: str
) -> pl.DataFrame:
    """The rows of a block. WrongType for a value that is not of its column's type."""
    schema = {column: kind or pl.String() for column, kind in kinds.items()}
    try:
        return _csv(block, columns, header=header, schema=schema)
    except NoDataError:
        return pl.DataFrame(schema=schema)
    except PolarsError as error:
        hit = UNPARSED.search(str(error))
        if hit is None:
            raise
        column = hit["column"]
        raise WrongType(
            f"column {column!r} of {name} holds {hit['value']!r}, which is not {schema.get(column)}; "
            "mend the value, or import the column under another type into a new dataset"
        ) from error


def _guessed(
    block: bytes, columns: list[str], unknown: list[str], sample: int | None, *, header: bool
) -> dict[str, pl.DataType]:
    """The types of those columns that have values in the first `sample` rows (all where None)."""
    try:
        # n_rows bounds what comes back, not what is parsed: so the sample is cut out as text first
        text = _csv(block, columns, header=header, infer_schema=False, n_rows=sample)
    except NoDataError:
        return {}
    values = text.select(column for column in unknown if text[column].null_count() < text.height)
    if values.width == 0:
        return {}
    frame = _csv(
        values.write_csv().encode(), values.columns, header=True, infer_schema_length=None, try_parse_dates=True
    )
    return dict(frame.schema)


def _csv(block: bytes, columns: list[str], *, header: bool, **options: Any) -> pl.DataFrame:  # Any: Polars' own
    """header: whether the first line holds the column names."""
    if not header and "schema" not in options:
        options["new_columns"] = columns
    return pl.read_csv(io.BytesIO(block), has_header=header, null_values=MISSING, **options)


def _both(one: pl.DataType | None, other: pl.DataType | None) -> pl.DataType | None:
    if one is None or other is None:
        return one or other
    return unified(one, other) or pl.String()
