"""Scores of a binary classifier: how well probabilities p agree with what happened (y, 0 or 1).

y: 0 or 1, shape (n,); p: finite, shape (n,); weights, shape (n,) and 0 or more, count a row so many times. All raise
BadInput for other values and shapes, WrongType for text and NotEnoughRows for no rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput
from tidemill.core.scores.checking import Floats, block_ends, checked, mid_ranks, weights_of
from tidemill.core.scores.parts import Parts, mean_parts, ratio, whole

_TINY = float(np.finfo(np.float64).eps)  # log_loss clips here, as scikit-learn does for float64


def auc(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Area under the ROC curve, 0..1: the chance that a positive row has the higher p; ties count half.

    p: any real score. NaN where y holds one class only.
    Source: Hanley & McNeil, The meaning and use of the area under a ROC curve, Radiology 143, 1982 (by ranks).

    >>> auc([0, 1, 1], [0.1, 0.4, 0.1])
    0.75
    """
    truth, score = checked(y, p)
    heavy = weights_of(weights, len(truth))
    if heavy is not None:
        return float(ranked_auc(*_ranked(truth, score, heavy)))
    positives = float(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = float(mid_ranks(score)[truth == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def pr_auc(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Average precision, 0..1: precision at each threshold, weighted by the recall that it adds; by chance, y's mean.

    The area under the precision-recall curve as steps: no line is drawn between its points, since that is too good.
    NaN where y holds no positive row.
    Source: Davis & Goadrich, The relationship between precision-recall and ROC curves, ICML 2006.

    >>> pr_auc([0, 1, 1], [0.1, 0.4, 0.1])
    0.8333333333333333
    """
    truth, score = checked(y, p)
    heavy = weights_of(weights, len(truth))
    return float(ranked_pr_auc(*_ranked(truth, score, np.ones(len(truth)) if heavy is None else heavy)))


def _ranked(truth: Floats, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The positives' and all rows' summed weight at or above each distinct score, from high to low."""
    order = np.argsort(-score, kind="stable")
    ends = block_ends(score[order])
    heavy = weights[order]
    return np.cumsum(heavy * truth[order])[ends], np.cumsum(heavy)[ends]


def ranked_auc(above: Floats, reached: Floats) -> Floats:
    """AUC from the positives and all rows at or above each threshold, shapes (..., thresholds)."""
    negatives = reached - above
    mean = np.concatenate([above[..., :1], above[..., 1:] + above[..., :-1]], axis=-1) / 2
    area = negatives[..., 0] * mean[..., 0] + ((negatives[..., 1:] - negatives[..., :-1]) * mean[..., 1:]).sum(axis=-1)
    below = above[..., -1] * negatives[..., -1]
    out: Floats = np.divide(area, below, out=np.full(np.shape(below), np.nan), where=below > 0)
    return out


def ranked_pr_auc(above: Floats, reached: Floats) -> Floats:
    """Average precision from the positives and all rows at or above each threshold, shapes (..., thresholds)."""
    precision = np.divide(above, reached, out=np.zeros_like(above), where=reached > 0)
    area = above[..., 0] * precision[..., 0] + ((above[..., 1:] - above[..., :-1]) * precision[..., 1:]).sum(axis=-1)
    below = above[..., -1]
    out: Floats = np.divide(area, below, out=np.full(np.shape(below), np.nan), where=below > 0)
    return out


def log_loss(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean negative log likelihood in nats; p is clipped to [2.2e-16, 1 - 2.2e-16].

    >>> round(log_loss([1, 0], [0.5, 0.5]), 6)
    0.693147
    """
    truth, score = checked(y, p)
    return whole(mean_parts(row_log_loss(truth, score)).totals(weights_of(weights, len(truth))), ratio)


def brier(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean squared difference of p and y. Source: Brier, Monthly Weather Review 78, 1950 (half of his sum).

    >>> brier([1, 0], [1.0, 0.5])
    0.125
    """
    truth, score = checked(y, p)
    return whole(mean_parts(row_brier(truth, score)).totals(weights_of(weights, len(truth))), ratio)


def accuracy(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None, threshold: float = 0.5) -> float:
    """Share of rows where p >= threshold agrees with y.

    >>> accuracy([1, 0], [0.7, 0.7])
    0.5
    """
    truth, score = checked(y, p)
    return whole(accuracy_parts(truth, score, threshold).totals(weights_of(weights, len(truth))), ratio)


def precision(
    y: ArrayLike,
    p: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    threshold: float = 0.5,
    undefined: float = 0.0,
) -> float:
    """Share of positives among the rows with p >= threshold; `undefined` where there is no such row.

    >>> precision([1, 0, 1], [0.7, 0.7, 0.1])
    0.5
    """
    truth, score = checked(y, p)
    found = whole(precision_parts(truth, score, threshold).totals(weights_of(weights, len(truth))), ratio)
    return undefined if np.isnan(found) else found


def recall(
    y: ArrayLike,
    p: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    threshold: float = 0.5,
    undefined: float = 0.0,
) -> float:
    """Share of the positive rows with p >= threshold (sensitivity); `undefined` where no row is positive.

    >>> recall([1, 0, 1], [0.7, 0.7, 0.1])
    0.5
    """
    truth, score = checked(y, p)
    found = whole(recall_parts(truth, score, threshold).totals(weights_of(weights, len(truth))), ratio)
    return undefined if np.isnan(found) else found


def f1(
    y: ArrayLike,
    p: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    threshold: float = 0.5,
    undefined: float = 0.0,
) -> float:
    """Harmonic mean of precision and recall; `undefined` where no row is positive nor predicted to be.

    Source: van Rijsbergen, Information Retrieval, 1979, ch. 7.

    >>> f1([1, 0, 1], [0.7, 0.7, 0.1])
    0.5
    """
    truth, score = checked(y, p)
    found = whole(confusion_parts(truth, score, threshold).totals(weights_of(weights, len(truth))), f1_of)
    return undefined if np.isnan(found) else found


def expected_calibration_error(
    y: ArrayLike, p: ArrayLike, bins: int = 10, *, weights: ArrayLike | None = None
) -> float:
    """Mean |observed share - mean p| over bins of equal width, weighted by their rows; 0 means calibrated.

    Source: Naeini, Cooper & Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.

    >>> expected_calibration_error([1, 0, 1, 1], [0.75, 0.75, 0.75, 0.75])
    0.0
    """
    truth, score = checked(y, p)
    return whole(calibration_parts(truth, score, bins).totals(weights_of(weights, len(truth))), calibration_of)


def calibration(
    y: ArrayLike, p: ArrayLike, bins: int = 10, *, weights: ArrayLike | None = None
) -> list[dict[str, Any]]:  # Any: numbers of a JSON line
    """The reliability table: a line {low, high, rows, predicted, observed} for each non-empty bin of equal width in p.

    rows: how many, unweighted; predicted: mean p of the bin's rows; observed: their share of y = 1. Raises BadInput
    for p outside 0..1.
    """
    truth, score = checked(y, p)
    parts = calibration_parts(truth, score, bins)
    totals = parts.totals(weights_of(weights, len(truth)))
    rows = parts.totals()[:, 0]
    return [
        {
            "low": index / bins,
            "high": (index + 1) / bins,
            "rows": int(rows[index]),
            "predicted": float(totals[index, 1] / totals[index, 0]),
            "observed": float(totals[index, 2] / totals[index, 0]),
        }
        for index in np.flatnonzero(totals[:, 0]).tolist()
    ]


def row_log_loss(truth: Floats, p: Floats) -> Floats:
    """Each row's negative log likelihood in nats, shape (n,)."""
    sure = np.clip(p, _TINY, 1 - _TINY)
    return np.where(truth == 1, -np.log(sure), -np.log(1 - sure))


def row_brier(truth: Floats, p: Floats) -> Floats:
    """Each row's squared error, shape (n,)."""
    return (p - truth) ** 2


def accuracy_parts(truth: Floats, p: Floats, threshold: float = 0.5) -> Parts:
    """For `ratio`: all rows, and those predicted right."""
    return mean_parts(((p >= threshold) == (truth == 1)).astype(np.float64))


def precision_parts(truth: Floats, p: Floats, threshold: float = 0.5) -> Parts:
    """For `ratio`: the rows predicted positive, and those of them that are."""
    said = (p >= threshold).astype(np.float64)
    return Parts(np.stack([said, said * truth]))


def recall_parts(truth: Floats, p: Floats, threshold: float = 0.5) -> Parts:
    """For `ratio`: the positive rows, and those of them predicted so."""
    return Parts(np.stack([truth, truth * (p >= threshold)]))


def confusion_parts(truth: Floats, p: Floats, threshold: float = 0.5) -> Parts:
    """Four cells: 0 true negative, 1 false positive, 2 false negative, 3 true positive."""
    return Parts(np.ones((1, len(truth))), (2 * truth + (p >= threshold)).astype(np.int64), 4)


def f1_of(totals: Floats) -> Floats:
    """F1 from the four cells of `confusion_parts`; NaN without positives and predicted positives."""
    below = 2 * totals[..., 3, 0] + totals[..., 1, 0] + totals[..., 2, 0]
    out: Floats = np.divide(2 * totals[..., 3, 0], below, out=np.full(np.shape(below), np.nan), where=below > 0)
    return out


def calibration_parts(truth: Floats, p: Floats, bins: int = 10) -> Parts:
    """A cell for each bin of equal width in p, holding rows, sum of p and sum of y."""
    if bins < 1:
        raise BadInput(f"bins is {bins}; it must be 1 or more, for example 10")
    if p.min() < 0 or p.max() > 1:
        raise BadInput(f"p ranges from {p.min():g} to {p.max():g}; calibration needs probabilities, 0..1")
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    return Parts(np.stack([np.ones(len(p)), p, truth]), place, bins)


def calibration_of(totals: Floats) -> Floats:
    """Expected calibration error from the totals of `calibration_parts`."""
    gaps: Floats = np.abs(totals[..., 2] - totals[..., 1]).sum(axis=-1) / totals[..., 0].sum(axis=-1)
    return gaps
