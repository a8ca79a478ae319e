"""The digest of a table's rows: a 128-bit sum over rows, so it does not depend on file layout or row order.

A row's hash is a 64-bit mix over its (column name, value) pairs, spread over two words; the table's digest is the sum
of its rows' words, each modulo 2**64, so appending adds and deleting subtracts. It finds accidents and edits; it does
not defend against somebody who makes collisions on purpose (sums of hashes can be solved for): blobs' SHA-256 and
signed packages do. Types count only as far as their values differ: 1 and True are alike, 1 and 1.0 are not.
Mixing: splitmix64 (Steele, Lea and Flood, OOPSLA 2014); text: BLAKE2b with 8 bytes, once for each distinct value.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars as pl

Words = np.ndarray[Any, np.dtype[np.uint64]]

MASK = (1 << 64) - 1
NULL = 0x9E37_79B9_7F4A_7C15
BLOCK_ROWS = 1 << 14  # 128 KiB of words: three such arrays stay in a core's cache, which makes it 3 times as fast
FEW_ROWS = 5_000  # up to here a dict is quicker than a join

_STEP, _FIRST, _SECOND = (np.uint64(each) for each in (NULL, 0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB))
_30, _27, _31 = (np.uint64(each) for each in (30, 27, 31))


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
        words, salt = _words(frame[name]), _salt(name)
        for block in _blocks(frame.height):
            low[block] += _mix(words[block] ^ salt)
    high = np.empty_like(low)
    for block in _blocks(frame.height):
        high[block] = _mix(low[block] ^ np.uint64(NULL))
        low[block] = _mix(low[block].copy())
    return high, low


@lru_cache(maxsize=10_000)
def _salt(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def _blocks(rows: int) -> list[slice]:
    return [slice(start, start + BLOCK_ROWS) for start in range(0, rows, BLOCK_ROWS)]


def _mix(words: Words) -> Words:
    """One round of splitmix64's finaliser, in the array itself: it wraps around, as it should."""
    words += _STEP
    words ^= words >> _30
    words *= _FIRST
    words ^= words >> _27
    words *= _SECOND
    words ^= words >> _31
    return words


def _words(column: pl.Series) -> Words:
    """One 64-bit word a value: the bits of numbers and times, a hash of text. The array is not to be changed."""
    import polars as pl

    kind, nulls = column.dtype, column.null_count()
    if kind.is_float():
        values = _filled(column, pl.Float64(), 0.0).to_numpy() + 0.0  # -0.0 equals 0.0
        missing = np.isnan(values)
        if missing.any():
            values[missing] = np.nan  # every NaN is one NaN
        words = values.view(np.uint64)
    elif kind.is_integer() or kind == pl.Boolean:
        wide = pl.UInt64() if kind == pl.UInt64 else pl.Int64()
        words = np.ascontiguousarray(_filled(column, wide, 0).to_numpy()).view(np.uint64)
    elif kind.is_temporal():
        words = np.ascontiguousarray(_filled(_micros(column), pl.Int64(), 0).to_numpy()).view(np.uint64)
    else:
        words = _text_words(_as_strings(column))
    if nulls:
        words = np.where(column.is_null().to_numpy(), np.uint64(NULL), words)
    return words


def _filled(column: pl.Series, kind: pl.DataType, value: float) -> pl.Series:
    made = column if column.dtype == kind else column.cast(kind)
    return made.fill_null(value) if made.null_count() else made


def _text_words(text: pl.Series) -> Words:
    if len(text) <= FEW_ROWS:
        values = text.to_list()
        known = {value: _text_word(value) for value in set(values)}
        return np.fromiter(map(known.__getitem__, values), np.uint64, len(values))
    distinct = text.unique()
    if len(distinct) > len(text) // 2:  # mostly different, as keys are: looking for equal ones costs more than it saves
        return _hashed(text)
    words: Words = _hashed(distinct)[_places(text, distinct)]
    return words


def _hashed(text: pl.Series) -> Words:
    """`_text_word` of each value, in half the time: one array of bytes instead of a number a value."""
    import polars as pl

    blake, null = hashlib.blake2b, NULL.to_bytes(8, "little")
    values = text.cast(pl.Binary).to_list()
    if text.null_count():
        hashed = b"".join([null if each is None else blake(each, digest_size=8).digest() for each in values])
    else:
        hashed = b"".join([blake(each, digest_size=8).digest() for each in values])
    return np.frombuffer(hashed, "<u8").astype(np.uint64, copy=False)


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
