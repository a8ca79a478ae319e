"""Scores of a regression: how far predicted numbers p are from what was measured (y).

y and p: finite numbers, shape (n,), in one unit; weights, shape (n,) and 0 or more, count a row so many times. All
raise BadInput for other values and shapes, WrongType for text and NotEnoughRows for no rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput
from tidemill.core.scores.checking import Floats, numbers, weights_of
from tidemill.core.scores.parts import Parts, mean_parts, ratio, whole


def mae(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean absolute error, in y's unit.

    >>> mae([1.0, 3.0], [2.0, 3.0])
    0.5
    """
    truth, given = numbers(y, p)
    return whole(mae_parts(truth, given).totals(weights_of(weights, len(truth))), ratio)


def mse(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean squared error, in y's unit squared.

    >>> mse([1.0, 3.0], [2.0, 3.0])
    0.5
    """
    truth, given = numbers(y, p)
    return whole(mse_parts(truth, given).totals(weights_of(weights, len(truth))), ratio)


def rmse(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Root of the mean squared error, in y's unit.

    >>> rmse([1.0, 3.0], [2.0, 4.0])
    1.0
    """
    return float(np.sqrt(mse(y, p, weights=weights)))


def mape(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean |p - y| / |y|, a share (not percent); |y| below 2.2e-16 counts as that, so a y of 0 makes it huge.

    >>> mape([1.0, 4.0], [2.0, 4.0])
    0.5
    """
    truth, given = numbers(y, p)
    return whole(mape_parts(truth, given).totals(weights_of(weights, len(truth))), ratio)


def r2(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Share of y's variance that p explains: 1 is perfect, 0 as good as y's mean, below 0 worse.

    Where y is constant: 1 for a perfect p, else 0. NaN for a single row.

    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """
    truth, given = numbers(y, p)
    heavy = weights_of(weights, len(truth))
    if len(truth) < 2:
        return float("nan")
    counts = np.ones(len(truth)) if heavy is None else heavy
    # Around the weighted mean itself: the one-pass form of r2_of cancels digits.
    mean = float((counts * truth).sum() / counts.sum())
    left, spread = float((counts * (truth - given) ** 2).sum()), float((counts * (truth - mean) ** 2).sum())
    if spread == 0:
        return 1.0 if left == 0 else 0.0
    return 1 - left / spread


def quantile_loss(y: ArrayLike, p: ArrayLike, *, q: float = 0.5, weights: ArrayLike | None = None) -> float:
    """Mean pinball loss of p as the q-quantile of y: an underestimate costs q, an overestimate 1 - q, a unit.

    q: strictly between 0 and 1. At 0.5 it is half of the mean absolute error.
    Source: Koenker & Bassett, Regression quantiles, Econometrica 46, 1978.

    >>> quantile_loss([10.0], [8.0], q=0.9)
    1.8
    """
    truth, given = numbers(y, p)
    return whole(quantile_parts(truth, given, q).totals(weights_of(weights, len(truth))), ratio)


def mae_parts(truth: Floats, p: Floats) -> Parts:
    """For `ratio`: all rows, and their absolute errors."""
    return mean_parts(np.abs(truth - p))


def mse_parts(truth: Floats, p: Floats) -> Parts:
    """For `ratio`: all rows, and their squared errors."""
    return mean_parts((truth - p) ** 2)


def mape_parts(truth: Floats, p: Floats) -> Parts:
    """For `ratio`: all rows, and their errors as shares of y."""
    return mean_parts(np.abs(truth - p) / np.maximum(np.abs(truth), np.finfo(np.float64).eps))


def quantile_parts(truth: Floats, p: Floats, q: float) -> Parts:
    """For `ratio`: all rows, and their pinball losses."""
    if not 0 < q < 1:
        raise BadInput(f"q is {q}; it must lie between 0 and 1, for example 0.9")
    short = truth - p
    return mean_parts(np.where(short >= 0, q * short, (q - 1) * short))


def r2_parts(truth: Floats, p: Floats) -> Parts:
    """For `r2_of`: rows, squared error, and the first two moments of y around its mean."""
    off = truth - truth.mean()
    return Parts(np.stack([np.ones(len(truth)), (truth - p) ** 2, off, off**2]))


def root_ratio(totals: Floats) -> Floats:
    """The root of `ratio`: RMSE from the parts of the MSE."""
    root: Floats = np.sqrt(ratio(totals))
    return root


def r2_of(totals: Floats) -> Floats:
    """R2 from the totals of `r2_parts`."""
    rows, left, first, second = (totals[..., 0, place] for place in range(4))
    spread = second - first**2 / rows
    out: Floats = 1 - np.divide(left, spread, out=np.full(np.shape(left), np.nan), where=spread > 0)
    return out
