"""How much each row moves a score: the linearisation that standard errors, paired tests and bootstraps stand on.

The influence of a row is the derivative of the score with respect to the row's weight (the infinitesimal jackknife of
Jaeckel, Bell Laboratories memorandum, 1972). Influences sum to 0, and the sum of their squares is the variance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.scores.checking import Codes, Floats, block_ends, checked, class_probabilities, mid_ranks
from tidemill.core.scores.parts import Parts, ratio
from tidemill.core.scores.registry import Score

Linear = list[tuple[Codes, Floats]]  # rows, and what each adds: one part, or one a class where each has its own n - 1
LEAST_GROUPS = 5


def influence(score: Score, y: ArrayLike, predicted: ArrayLike, weights: Floats | None = None) -> Linear:
    """The rows' influences on a score that has a closed form.

    Raises NotEnoughRows for areas under curves where a class has fewer than two rows; BadInput for other scores.
    """
    if score.closed == "auc" and weights is None:
        return auc_influence(*checked(y, predicted))
    if score.closed == "auc":
        truth, p = checked(y, predicted)
        values = weighted_auc_influence(truth, p, weights)
    elif score.name == "pr_auc":
        values = pr_auc_influence(*checked(y, predicted), weights)
    elif score.name == "class_auc":
        codes, chance = class_probabilities(y, predicted)
        count = chance.shape[1]
        each = [weighted_auc_influence((codes == c).astype(np.float64), chance[:, c], weights) for c in range(count)]
        values = np.mean(each, axis=0)
    elif score.parts is not None and score.closed:
        values = ratio_influence(score.parts(y, predicted), weights)
        if score.closed == "root_mean":
            root = float(score.function(y, predicted, weights=weights))
            values = values / (2 * root) if root > 0 else values
    else:
        raise BadInput(f"{score.name!r} has no closed form; use method='bootstrap'")
    return [(np.arange(len(values)), values)]


def ratio_influence(parts: Parts, weights: Floats | None) -> Floats:
    """On the ratio of two sums, shape (n,)."""
    totals = parts.totals(weights)
    below, above = parts.columns
    values: Floats = (above - float(ratio(totals)) * below) / totals[0, 0]
    return values if weights is None else values * weights


def auc_influence(truth: Floats, p: Floats) -> Linear:
    """DeLong's structural components of the AUC, centred: one part for positives and one for negatives.

    The component of a positive row is the share of negative rows below it (ties half), by mid-ranks after Sun & Xu,
    Fast implementation of DeLong's algorithm, IEEE Signal Processing Letters 21, 2014: n log n.
    """
    _two_of_each(truth)
    positive = truth == 1
    counts = int(positive.sum()), int((~positive).sum())
    ranks = mid_ranks(p)
    above = (ranks[positive] - mid_ranks(p[positive])) / counts[1]
    below = 1 - (ranks[~positive] - mid_ranks(p[~positive])) / counts[0]
    return [
        (np.flatnonzero(mask), (values - values.mean()) / len(values))
        for mask, values in ((positive, above), (~positive, below))
    ]


def weighted_auc_influence(truth: Floats, p: Floats, weights: Floats | None) -> Floats:
    """On the AUC of rows that count `weights` times, shape (n,)."""
    _two_of_each(truth)
    heavy = np.ones(len(truth)) if weights is None else weights
    order = np.argsort(p, kind="stable")
    ends = block_ends(p[order])
    values = np.empty(len(truth))
    for mine in (1.0, 0.0):
        along = np.cumsum(heavy[order] * (truth[order] != mine))[ends]
        half = np.concatenate([along[:1], along[1:] + along[:-1]]) / 2  # the other class below, ties half
        beaten = np.empty(len(truth))
        beaten[order] = np.repeat(half, np.diff(ends, prepend=-1)) / along[-1]
        rows = truth == mine
        won = beaten[rows] if mine else 1 - beaten[rows]
        total = heavy[rows].sum()
        values[rows] = heavy[rows] * (won - (heavy[rows] * won).sum() / total) / total
    return values


def pr_auc_influence(truth: Floats, p: Floats, weights: Floats | None) -> Floats:
    """On average precision, shape (n,): by differentiating sum over thresholds of (positives there) * T / N.

    T and N are the positives and all rows at or above the threshold: a row counts in those of its own and of every
    lower threshold, a positive one in the positives there too.
    """
    _two_of_each(truth)
    heavy = np.ones(len(truth)) if weights is None else weights
    order = np.argsort(-p, kind="stable")
    ends = block_ends(p[order])
    reached, above = np.cumsum(heavy[order])[ends], np.cumsum(heavy[order] * truth[order])[ends]
    here = np.diff(above, prepend=0.0)
    inverse = np.divide(1.0, reached, out=np.zeros_like(reached), where=reached > 0)
    precision, total = above * inverse, above[-1]
    area = float((here * precision).sum() / total)
    below_all = np.cumsum((here * precision * inverse)[::-1])[::-1]
    below_positive = np.cumsum((here * inverse)[::-1])[::-1]
    block = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    values = np.empty(len(truth))
    values[order] = (truth[order] * (precision[block] - area + below_positive[block]) - below_all[block]) / total
    return values * heavy


def places_of(groups: ArrayLike | None, rows: int) -> Codes | None:
    """Each row's group as a number from 0. Raises BadInput for another shape, NotEnoughRows below 5 groups."""
    if groups is None:
        return None
    given = np.asarray(groups)
    if given.shape != (rows,):
        raise BadInput(f"groups has shape {given.shape} for {rows} rows; give one group a row")
    names, places = np.unique(given, return_inverse=True)
    if len(names) < LEAST_GROUPS:
        raise NotEnoughRows(
            f"{len(names)} groups to compare on; give at least {LEAST_GROUPS} (more days), or leave groups out"
        )
    return places.astype(np.int64)


def less(new: Linear, old: Linear) -> Linear:
    """The influences on the difference of two scores of the same rows."""
    return [(rows, values - before) for (rows, values), (_, before) in zip(new, old, strict=True)]


def standard_error(parts: Linear, places: NDArray[Any] | None) -> float:  # Any: whole numbers of any width
    """Of the sum of the parts: over independent rows, each part with its own n / (n - 1); or over groups, together.

    Source of the grouped form: Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53, 1997;
    Cameron & Miller, A practitioner's guide to cluster-robust inference, 2015.
    """
    if places is None:
        return float(np.sqrt(sum((values**2).sum() * len(values) / (len(values) - 1) for _, values in parts)))
    sums = np.zeros(int(places.max()) + 1)
    for rows, values in parts:
        sums += np.bincount(places[rows], weights=values, minlength=len(sums))
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)))


def _two_of_each(truth: Floats) -> None:
    positives = int(truth.sum())
    if min(positives, len(truth) - positives) < 2:
        raise NotEnoughRows(
            f"{positives} positive and {len(truth) - positives} negative rows; AUC is compared on two or more of each"
        )
