"""What is given to be scored, checked once: truths, predictions and weights of one length, without gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.core.errors import BadInput, NotEnoughRows, WrongType

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def checked(y: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    """y (0 or 1) and p (any finite number) as float64 of one shape (n,).

    Raises BadInput for shapes that differ, y other than 0 and 1 or a p that is not finite; NotEnoughRows for none.
    """
    try:
        truth, score = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongType(f"y and p must be numbers: {error}; map the labels to 0 and 1 first") from error
    _one_shape(truth, score)
    known = (truth == 0) | (truth == 1)
    if not known.all():
        raise BadInput(f"y holds {truth[~known][0]:g} at row {int(np.argmin(known))}; allowed are 0 and 1")
    _finite("p", score)
    return truth, score


def numbers(y: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    """y and p as finite float64 of one shape (n,). Raises BadInput, WrongType for text, NotEnoughRows for none."""
    try:
        truth, value = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongType(f"y and p must be numbers: {error}") from error
    _one_shape(truth, value)
    _finite("y", truth)
    _finite("p", value)
    return truth, value


def labels(y: ArrayLike, predicted: ArrayLike) -> tuple[Codes, Codes, int]:
    """Two labellings of the same n rows (numbers or text) as codes 0..k-1 of the classes in either, and k.

    Raises BadInput for shapes that differ, a NaN, or text beside numbers; NotEnoughRows for none.
    """
    truth, given = np.asarray(y), np.asarray(predicted)
    _one_shape(truth, given)
    if truth.dtype.kind in "OUS" or given.dtype.kind in "OUS":
        if not (truth.dtype.kind in "OUS" and given.dtype.kind in "OUS"):
            raise BadInput(f"y is {truth.dtype} and p {given.dtype}; give labels of one kind, all numbers or all text")
    else:
        _finite("y", truth.astype(np.float64))
        _finite("p", given.astype(np.float64))
    try:
        names, places = np.unique(np.concatenate([truth, given]), return_inverse=True)
    except TypeError as error:
        raise WrongType(f"the labels cannot be sorted: {error}; give all as text or all as numbers") from error
    codes = places.astype(np.int64)
    return codes[: len(truth)], codes[len(truth) :], len(names)


def class_probabilities(y: ArrayLike, p: ArrayLike) -> tuple[Codes, Floats]:
    """y as codes 0..k-1, shape (n,), and p as float64, shape (n, k): column c is the probability of code c.

    Raises BadInput for other shapes, codes outside 0..k-1, a p outside 0..1 or rows whose sum is not 1 (to 1e-6).
    """
    try:
        truth, chance = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongType(f"y and p must be numbers: {error}; number the classes 0, 1, 2 ... first") from error
    if chance.ndim != 2 or truth.ndim != 1 or len(truth) != len(chance) or chance.shape[1] < 2:
        raise BadInput(f"y has shape {truth.shape} and p {chance.shape}; they must be (n,) and (n, classes)")
    if len(truth) == 0:
        raise NotEnoughRows("no rows to score; give at least one row with a known y")
    codes = truth.astype(np.int64) if np.isfinite(truth).all() else np.full(len(truth), -1)
    known = (codes == truth) & (codes >= 0) & (codes < chance.shape[1])
    if not known.all():
        raise BadInput(
            f"y holds {truth[~known][0]:g} at row {int(np.argmin(known))}; p has {chance.shape[1]} columns, so y must "
            f"be a whole number, 0 to {chance.shape[1] - 1}"
        )
    _finite("p", chance.ravel())
    sums = chance.sum(axis=1)
    if chance.min() < 0 or chance.max() > 1 or np.abs(sums - 1).max() > 1e-6:
        raise BadInput(
            f"p ranges from {chance.min():g} to {chance.max():g} and its rows sum to {sums.min():g} to "
            f"{sums.max():g}; give probabilities, 0..1, that sum to 1 in each row"
        )
    return codes, chance


def weights_of(weights: ArrayLike | None, rows: int) -> Floats | None:
    """The rows' weights as float64, shape (n,). Raises BadInput for another shape, negative ones or a sum of 0."""
    if weights is None:
        return None
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (rows,):
        raise BadInput(f"weights have shape {given.shape} for {rows} rows; give one weight a row")
    if not np.isfinite(given).all() or given.min() < 0 or given.sum() <= 0:
        raise BadInput(f"weights range from {given.min():g} to {given.max():g}; allowed are finite ones, 0 or more")
    return given


def mid_ranks(values: Floats) -> Floats:
    """Ranks 1..n, ties sharing their mean, shape (n,)."""
    order = np.argsort(values)
    ends = block_ends(values[order])
    counts = np.diff(ends, prepend=-1)
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(ends + 1 - (counts - 1) / 2.0, counts)
    return ranks


def block_ends(*ordered: NDArray[Any]) -> Codes:  # Any: sorted columns of any type
    """The last place of each block of equal neighbours (equal in all columns), ascending."""
    changed = np.zeros(max(len(ordered[0]) - 1, 0), dtype=bool)
    for column in ordered:
        changed |= column[1:] != column[:-1]
    return np.append(np.flatnonzero(changed), len(ordered[0]) - 1).astype(np.int64)


def _one_shape(truth: NDArray[Any], given: NDArray[Any]) -> None:
    if truth.ndim != 1 or truth.shape != given.shape:
        raise BadInput(f"y has shape {truth.shape} and p {given.shape}; both must be (n,), one number a row")
    if len(truth) == 0:
        raise NotEnoughRows("no rows to score; give at least one row with a known y")


def _finite(name: str, values: Floats) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        raise BadInput(f"{name} holds {values[~finite][0]} at row {int(np.argmin(finite))}; allowed are finite numbers")
