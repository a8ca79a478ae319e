"""Scores of a binary classifier: how well probabilities p agree with what happened (y, 0 or 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.core.errors import BadInput, NotEnoughRows, WrongType, nearest

Floats = NDArray[np.float64]
Score = Callable[[ArrayLike, ArrayLike], float]
Direction = Literal["max", "min"]

_TINY = float(np.finfo(np.float64).eps)  # log_loss clips here, as scikit-learn does for float64


def auc(y: ArrayLike, p: ArrayLike) -> float:
    """Area under the ROC curve, 0..1: the chance that a positive row has the higher p; ties count half.

    y: 0 or 1, shape (n,); p: any real score, shape (n,). NaN where y holds one class only.
    Source: Hanley & McNeil, The meaning and use of the area under a ROC curve, Radiology 143, 1982 (by ranks).

    >>> auc([0, 1, 1], [0.1, 0.4, 0.1])
    0.75
    """
    truth, score = _pair(y, p)
    positives = float(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = float(mid_ranks(score)[truth == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """Mean negative log likelihood in nats; p is clipped to [2.2e-16, 1 - 2.2e-16].

    >>> round(log_loss([1, 0], [0.5, 0.5]), 6)
    0.693147
    """
    return float(row_log_loss(*_pair(y, p)).mean())


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """Mean squared difference of p and y. Source: Brier, Monthly Weather Review 78, 1950 (half of his sum).

    >>> brier([1, 0], [1.0, 0.5])
    0.125
    """
    return float(row_brier(*_pair(y, p)).mean())


def accuracy(y: ArrayLike, p: ArrayLike) -> float:
    """Share of rows where p >= 0.5 agrees with y.

    >>> accuracy([1, 0], [0.7, 0.7])
    0.5
    """
    truth, score = _pair(y, p)
    return float(((score >= 0.5) == (truth == 1)).mean())


def expected_calibration_error(y: ArrayLike, p: ArrayLike, bins: int = 10) -> float:
    """Mean |observed share - mean p| over bins of equal width, weighted by their rows; 0 means calibrated.

    Source: Naeini, Cooper & Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.

    >>> expected_calibration_error([1, 0, 1, 1], [0.75, 0.75, 0.75, 0.75])
    0.0
    """
    table = calibration(y, p, bins)
    rows = sum(line["rows"] for line in table)
    return float(sum(line["rows"] * abs(line["observed"] - line["predicted"]) for line in table) / rows)


def calibration(y: ArrayLike, p: ArrayLike, bins: int = 10) -> list[dict[str, Any]]:
    """The reliability table: a line {low, high, rows, predicted, observed} for each non-empty bin of equal width in p.

    predicted: mean p of the bin's rows; observed: their share of y = 1. Raises BadInput for p outside 0..1.
    """
    truth, score = _pair(y, p)
    if bins < 1:
        raise BadInput(f"bins is {bins}; it must be 1 or more, for example 10")
    if score.min() < 0 or score.max() > 1:
        raise BadInput(f"p ranges from {score.min():g} to {score.max():g}; calibration needs probabilities, 0..1")
    place = np.minimum((score * bins).astype(np.int64), bins - 1)
    rows = np.bincount(place, minlength=bins)
    predicted = np.bincount(place, weights=score, minlength=bins)
    observed = np.bincount(place, weights=truth, minlength=bins)
    return [
        {
            "low": index / bins,
            "high": (index + 1) / bins,
            "rows": int(rows[index]),
            "predicted": float(predicted[index] / rows[index]),
            "observed": float(observed[index] / rows[index]),
        }
        for index in np.flatnonzero(rows).tolist()
    ]


SCORES: dict[str, tuple[Score, Direction]] = {
    "auc": (auc, "max"),
    "log_loss": (log_loss, "min"),
    "brier": (brier, "min"),
    "accuracy": (accuracy, "max"),
    "calibration_error": (expected_calibration_error, "min"),
}


def score_named(name: str) -> tuple[Score, Direction]:
    """The score function of that name and whether more or less is better; BadInput names the nearest."""
    if name not in SCORES:
        raise BadInput(f"no score {name!r}; known are {', '.join(SCORES)}.{nearest(name, SCORES)}")
    return SCORES[name]


def all_scores(y: ArrayLike, p: ArrayLike) -> dict[str, float]:
    """Every score in SCORES that is defined for these rows (no AUC where y holds one class only)."""
    found = {name: function(y, p) for name, (function, _) in SCORES.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def row_log_loss(truth: Floats, p: Floats) -> Floats:
    """Each row's negative log likelihood in nats, shape (n,)."""
    sure = np.clip(p, _TINY, 1 - _TINY)
    return np.where(truth == 1, -np.log(sure), -np.log(1 - sure))


def row_brier(truth: Floats, p: Floats) -> Floats:
    """Each row's squared error, shape (n,)."""
    return (p - truth) ** 2


def mid_ranks(values: Floats) -> Floats:
    """Ranks 1..n, ties sharing their mean, shape (n,)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle: Floats = ends - (counts - 1) / 2.0
    return middle[place]


def checked(y: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    """y and p as float64 of one shape (n,): see `auc` for what is allowed.

    Raises BadInput for shapes that differ, y other than 0 and 1 or a p that is not finite; NotEnoughRows for none.
    """
    return _pair(y, p)


def _pair(y: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    try:
        truth, score = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongType(f"y and p must be numbers: {error}; map the labels to 0 and 1 first") from error
    if truth.ndim != 1 or truth.shape != score.shape:
        raise BadInput(f"y has shape {truth.shape} and p {score.shape}; both must be (n,), one number a row")
    if len(truth) == 0:
        raise NotEnoughRows("no rows to score; give at least one row with a known y")
    known = (truth == 0) | (truth == 1)
    if not known.all():
        raise BadInput(f"y holds {truth[~known][0]:g} at row {int(np.argmin(known))}; allowed are 0 and 1")
    finite = np.isfinite(score)
    if not finite.all():
        raise BadInput(f"p holds {score[~finite][0]} at row {int(np.argmin(finite))}; allowed are finite numbers")
    return truth, score
