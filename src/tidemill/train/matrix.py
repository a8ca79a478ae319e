"""From rows to a matrix that an estimator can be fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tidemill.core.errors import BadInput, EmptyInput, WrongType, require_columns
from tidemill.core.types import Matrix
from tidemill.train.targets import codes_of

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.recipe import Recipe


def matrix(
    frame: pl.DataFrame,
    recipe: Recipe,
    *,
    target: str,
    key: str,
    time: str | None,
    classes: Sequence[str | int] = (),
) -> Matrix:
    """The rows as numbers, by a fitted recipe. See Matrix for shapes.

    target: a column of numbers or booleans, or with `classes` of those: y then holds each row's place among them. key:
    the row id; time: the event time (a time without zone is UTC), None where rows have none: all times are then 0.
    Raises UnknownColumn, EmptyInput, WrongType, and BadInput for a missing target or time (it names how many rows).
    """
    from tidemill.core.recipe import batch, feature_names

    require_columns([name for name in (target, key, time) if name is not None], frame.columns, where="the rows")
    if frame.height == 0:
        raise EmptyInput("the rows are empty; nothing to make a matrix of. Check the time range of the split")
    return Matrix(
        np.ascontiguousarray(batch(recipe, frame), dtype=np.float64),
        codes_of(frame, target, classes) if classes else target_of(frame, target),
        feature_names(recipe),
        keys_of(frame, key),
        times_of(frame, time),
    )


def target_of(frame: pl.DataFrame, target: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The target as float64, shape (n,). Raises WrongType for text, BadInput for missing values."""
    column = frame[target]
    if not (column.dtype.is_numeric() or str(column.dtype) == "Boolean"):
        raise WrongType(
            f"target {target!r} is {column.dtype}; it must be numbers or true/false: map it before, for example by "
            f"(pl.col({target!r}) == ...)"
        )
    missing = column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)
    if missing:
        raise BadInput(f"target {target!r} is missing in {missing} of {frame.height} rows; leave those rows out first")
    return np.ascontiguousarray(column.to_numpy(), dtype=np.float64)


def keys_of(frame: pl.DataFrame, key: str) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """The row ids as text, shape (n,). Raises BadInput for missing ones."""
    import polars as pl

    column = frame[key]
    if column.null_count():
        raise BadInput(f"key {key!r} is missing in {column.null_count()} of {frame.height} rows; every row needs one")
    texts = np.empty(frame.height, dtype=object)
    texts[:] = column.cast(pl.String).to_list()
    return texts


def times_of(frame: pl.DataFrame, time: str | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Event times as microseconds since 1970 UTC, shape (n,); zeros where rows have none (time is None).

    Raises WrongType, and BadInput for missing ones.
    """
    import polars as pl

    if time is None:
        return np.zeros(frame.height, dtype=np.int64)
    column = frame[time]
    if not isinstance(column.dtype, pl.Datetime | pl.Date):
        raise WrongType(f"time {time!r} is {column.dtype}; it must be a Datetime: read it with str.to_datetime()")
    if column.null_count():
        raise BadInput(f"time {time!r} is missing in {column.null_count()} of {frame.height} rows; give each row one")
    return np.ascontiguousarray(column.cast(pl.Datetime("us")).to_physical().to_numpy(), dtype=np.int64)
