"""The digest of a table's rows: a 128-bit sum over rows, so it does not depend on file layout or row order.

A row's hash is a 64-bit mix over its (column name, value) pairs, spread over two words; the table's digest is the sum
of its rows' words, each modulo 2**64, so appending adds and deleting subtracts. It finds accidents and edits; it does
not defend against somebody who makes collisions on purpose (sums of hashes can be solved for): blobs' SHA-256 and
signed packages do. Types count only as far as their values differ: 1 and True are alike, 1 and 1.0 are not.
Mixing: splitmix64 (Steele, Lea and Flood, OOPSLA 2014); text: BLAKE2b with 8 bytes, once for each distinct value.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars as pl

Words = np.ndarray[Any, np.dtype[np.uint64]]

MASK = (1 << 64) - 1
NULL = 0x9E37_79B9_7F4A_7C15


def rows_digest(frame: pl.DataFrame) -> int:
    """The 128-bit sum over the rows of `frame`, 0 for none."""
    high, low = row_words(frame)
    with np.errstate(over="ignore"):
        return (int(high.sum(dtype=np.uint64)) << 64) | int(low.sum(dtype=np.uint64))


def add(one: int, other: int) -> int:
    """The digest of the rows of both."""
    return ((((one >> 64) + (other >> 64)) & MASK) << 64) | ((one + other) & MASK)


def subtract(one: int, other: int) -> int:
    """The digest of the rows of `one` without those of `other`."""
    return ((((one >> 64) - (other >> 64)) & MASK) << 64) | ((one - other) & MASK)


def as_text(value: int) -> str:
    """32 hexadecimal digits."""
    return f"{value:032x}"


def row_words(frame: pl.DataFrame) -> tuple[Words, Words]:
    """Two 64-bit words a row, each of shape (n,); columns count by name, not by place."""
    low = np.zeros(frame.height, np.uint64)
    for name in sorted(frame.columns):
        salt = np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))
        with np.errstate(over="ignore"):
            low += _mix(_words(frame[name]) ^ salt)
    return _mix(low ^ np.uint64(NULL)), _mix(low)


def _mix(words: Words) -> Words:
    """One round of splitmix64's finaliser."""
    with np.errstate(over="ignore"):
        words = words + np.uint64(0x9E37_79B9_7F4A_7C15)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        return words ^ (words >> np.uint64(31))


def _words(column: pl.Series) -> Words:
    """One 64-bit word a value: the bits of numbers and times, a hash of text."""
    import polars as pl

    kind = column.dtype
    if kind.is_float():
        values = column.cast(pl.Float64).fill_null(0.0).to_numpy()
        # -0.0 equals 0.0 and every NaN is one NaN
        values = np.where(np.isnan(values), np.nan, values + 0.0)
        words = np.ascontiguousarray(values, np.float64).view(np.uint64)
    elif kind.is_integer() or kind == pl.Boolean:
        wide = pl.UInt64 if kind == pl.UInt64 else pl.Int64
        words = np.ascontiguousarray(column.cast(wide).fill_null(0).to_numpy()).view(np.uint64)
    elif kind.is_temporal():
        words = np.ascontiguousarray(_micros(column).fill_null(0).to_numpy()).view(np.uint64)
    else:
        text = _as_strings(column)
        distinct = text.unique(maintain_order=True)
        hashed = np.fromiter((_text_word(value) for value in distinct), np.uint64, len(distinct))
        words = hashed[_places(text, distinct)]
    if column.null_count():
        words = np.where(column.is_null().to_numpy(), np.uint64(NULL), words)
    return words


def _as_strings(column: pl.Series) -> pl.Series:
    import polars as pl

    if column.dtype == pl.Binary:
        return column.bin.encode("hex")
    if column.dtype.is_nested():
        return column.alias("value").to_frame().to_struct("row").struct.json_encode()
    return column if column.dtype == pl.String else column.cast(pl.String)


def _micros(column: pl.Series) -> pl.Series:
    import polars as pl

    if isinstance(column.dtype, pl.Datetime | pl.Duration):
        column = column.dt.cast_time_unit("us")
    return column.to_physical().cast(pl.Int64)


def _text_word(value: str | None) -> int:
    if value is None:
        return NULL
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little")


def _places(text: pl.Series, distinct: pl.Series) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each value its place among the distinct ones."""
    import polars as pl

    order = pl.DataFrame({"value": distinct, "place": np.arange(len(distinct), dtype=np.int64)})
    joined = pl.DataFrame({"value": text}).join(order, on="value", how="left", nulls_equal=True, maintain_order="left")
    return joined["place"].to_numpy()
