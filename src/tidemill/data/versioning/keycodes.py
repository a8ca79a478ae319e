"""Keys as small whole numbers: the dictionary of one side's keys, and the other side's rows in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tidemill.core.errors import WrongType

Ints = np.ndarray[Any, np.dtype[np.int64]]
DENSE = 4  # whole numbers are their own codes while their range has at most so many numbers a row ...
SMALL = 1 << 16  # ... or while it is no larger than this


@dataclass(frozen=True, slots=True)
class Codes:
    """The code of each left row, 0 to size - 1, or -1 where a part of its key is null; whole: no row has -1.

    of: the codes of other rows, from their columns in the same order; -1 for a key that no left row has.
    """

    left: Ints
    size: int
    whole: bool
    of: Callable[[Sequence[pl.Series]], Ints]


def codes_of(columns: Sequence[pl.Series], rows: int) -> Codes:
    """The dictionary of the keys in these columns. Without columns every row has the key 0."""
    if not columns:
        return Codes(np.zeros(rows, np.int64), 1, True, lambda _: np.zeros(0, np.int64))
    made = _codes(columns[0])
    for column in columns[1:]:
        made = _paired(made, _codes(column))
    return made


def _codes(column: pl.Series) -> Codes:
    kind = column.dtype
    if (kind.is_integer() and kind not in (pl.UInt64, pl.Int128)) or kind in (pl.Boolean, pl.Date):
        numbers = column.to_physical().cast(pl.Int64)
        low, high = numbers.min(), numbers.max()
        if low is None or high is None:
            return Codes(np.full(len(column), -1, np.int64), 1, not len(column), lambda others: _none(others[0]))
        assert isinstance(low, int)
        assert isinstance(high, int)
        if high - low < max(DENSE * len(column), SMALL):
            return _counted(column, numbers, low, high)
    return _text(column) if kind == pl.String else _listed(column)


def _counted(column: pl.Series, numbers: pl.Series, low: int, high: int) -> Codes:
    """Whole numbers in a narrow range: each is its own code, counted from the lowest."""

    def of(others: Sequence[pl.Series]) -> Ints:
        _same(column, others[0])
        other = others[0].to_physical().cast(pl.Int64, strict=False)
        found = (other.fill_null(low - 1) if other.null_count() else other).to_numpy()
        if len(found) and (found.min() < low or found.max() > high):
            return np.where((found >= low) & (found <= high), found - low, -1)
        return found - low

    left = (numbers.fill_null(low - 1) if numbers.null_count() else numbers).to_numpy() - low
    return Codes(left, high - low + 1, not numbers.null_count(), of)


def _text(column: pl.Series) -> Codes:
    """Text: its place in the list of different texts."""
    words = column.drop_nulls().unique()
    if not len(words):
        return Codes(np.full(len(column), -1, np.int64), 1, not len(column), lambda others: _none(others[0]))
    listed = pl.Enum(words)

    def code(texts: pl.Series) -> Ints:
        found = texts.cast(listed, strict=False).to_physical().cast(pl.Int64)
        return (found.fill_null(-1) if found.null_count() else found).to_numpy()

    def of(others: Sequence[pl.Series]) -> Ints:
        _same(column, others[0])
        return code(others[0])

    return Codes(code(column), len(words), not column.null_count(), of)


def _listed(column: pl.Series) -> Codes:
    """Anything that Polars can compare: its place in the list of different values."""
    values = column.drop_nulls().unique()
    listed = pl.DataFrame({"key": values}).with_row_index("code")

    def code(keys: pl.Series) -> Ints:
        found = keys.alias("key").to_frame().join(listed, on="key", how="left", maintain_order="left")["code"]
        return found.cast(pl.Int64).fill_null(-1).to_numpy()

    def of(others: Sequence[pl.Series]) -> Ints:
        _same(column, others[0])
        return code(others[0] if others[0].dtype == column.dtype else others[0].cast(column.dtype, strict=False))

    return Codes(code(column), max(len(values), 1), not column.null_count(), of)


def _paired(one: Codes, other: Codes) -> Codes:
    """Keys of one more column; pairs are numbered anew where the product of both sizes has gaps."""

    def pair(first: Ints, second: Ints) -> Ints:
        return np.where((first >= 0) & (second >= 0), first * other.size + second, -1)

    left, size = pair(one.left, other.left), one.size * other.size
    whole = one.whole and other.whole
    if size <= max(DENSE * len(left), SMALL):
        return Codes(left, size, whole, lambda columns: pair(one.of(columns[:-1]), other.of(columns[-1:])))
    seen, numbered = np.unique(left, return_inverse=True)
    skipped = int(bool(len(seen)) and seen[0] < 0)
    seen = seen[skipped:]

    def of(columns: Sequence[pl.Series]) -> Ints:
        found = pair(one.of(columns[:-1]), other.of(columns[-1:]))
        place = np.minimum(np.searchsorted(seen, found), max(len(seen) - 1, 0))
        return np.where(seen[place] == found, place, -1) if len(seen) else np.full(len(found), -1, np.int64)

    return Codes(numbered.astype(np.int64) - skipped, max(len(seen), 1), whole, of)


def _none(column: pl.Series) -> Ints:
    return np.full(len(column), -1, np.int64)


def _same(one: pl.Series, other: pl.Series) -> None:
    if one.dtype != other.dtype and not (one.dtype.is_integer() and other.dtype.is_integer()):
        raise WrongType(
            f"column {one.name!r} is {one.dtype} and column {other.name!r} is {other.dtype}; cast one to the other"
        )
