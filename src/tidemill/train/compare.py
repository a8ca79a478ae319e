"""Whether one model is better than another on the same labelled rows: paired tests, clustered by group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.core.errors import BadInput, NotEnoughRows, nearest
from tidemill.core.scores import (
    SCORES,
    Floats,
    Function,
    checked,
    mid_ranks,
    row_brier,
    row_log_loss,
)

_Part = tuple[NDArray[np.int64], Floats]  # rows, and what each adds to the estimate's deviation

LEAST_GROUPS = 5
LEAST_ROWS = 20


@dataclass(frozen=True, slots=True)
class Paired:
    """Scores of two models on the same rows.

    old, new: the scores; difference: new - old, with its confidence interval low..high at 1 - alpha. p_value:
    two-sided, of no difference. better: the difference is significant and in the score's good direction; worse: in
    the bad one.
    units: what was taken as independent (rows, or groups).
    """

    score: str
    old: float
    new: float
    difference: float
    low: float
    high: float
    p_value: float
    better: bool
    worse: bool
    rows: int
    units: int

    def as_json(self) -> dict[str, Any]:
        """The comparison as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


def paired(
    y: ArrayLike,
    p_old: ArrayLike,
    p_new: ArrayLike,
    *,
    score: str = "log_loss",
    alpha: float = 0.05,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Paired:
    """Compare two models' p on the same rows with truths y, all of shape (n,).

    score: "log_loss", "brier" and "accuracy" by a t-test of the per-row differences; "auc" by DeLong's test; any other
    of SCORES by a bootstrap of 2,000 draws (seed). groups: rows of one group (a day, a customer) are not independent:
    the variance is then taken between groups, with a t distribution of (groups - 1) degrees of freedom.

    Raises NotEnoughRows below 20 rows or 5 groups, or for "auc" where y holds one class only (or one row of it);
    BadInput for shapes, an alpha outside 0..1, an unknown score.
    Sources: DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988; Obuchowski, Nonparametric analysis of clustered ROC
    curve data, Biometrics 53, 1997; Cameron & Miller, A practitioner's guide to cluster-robust inference, 2015.
    """
    truth, old = checked(y, p_old)
    _, new = checked(y, p_new)
    if score not in SCORES:
        raise BadInput(f"no score {score!r}; known are {', '.join(SCORES)}.{nearest(score, SCORES)}")
    if not 0 < alpha < 1:
        raise BadInput(f"alpha is {alpha}; it must lie between 0 and 1, for example 0.05")
    if len(truth) < LEAST_ROWS:
        raise NotEnoughRows(f"{len(truth)} rows to compare on; give at least {LEAST_ROWS} with a known y")
    places = _places(groups, len(truth))
    function, direction = SCORES[score]
    values = function(truth, old), function(truth, new)
    units = len(truth) if places is None else int(places.max()) + 1
    if score in _ROW_SCORES or score == "auc":
        parts = _auc_parts(truth, old, new) if score == "auc" else _row_parts(truth, old, new, _ROW_SCORES[score])
        difference, error = float(values[1] - values[0]), _standard_error(parts, places)
        low, high, p_value = _t_interval(difference, error, units - 1, alpha)
    else:
        difference = float(values[1] - values[0])
        low, high, p_value = _bootstrap(truth, old, new, places, function, alpha=alpha, seed=seed)
    good = difference > 0 if direction == "max" else difference < 0
    significant = p_value < alpha and difference != 0
    return Paired(
        score,
        float(values[0]),
        float(values[1]),
        difference,
        low,
        high,
        p_value,
        better=significant and good,
        worse=significant and not good,
        rows=len(truth),
        units=units,
    )


def _row_accuracy(truth: Floats, p: Floats) -> Floats:
    right: Floats = ((p >= 0.5) == (truth == 1)).astype(np.float64)
    return right


_ROW_SCORES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "log_loss": row_log_loss,
    "brier": row_brier,
    "accuracy": _row_accuracy,
}


def _places(groups: ArrayLike | None, rows: int) -> NDArray[np.int64] | None:
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


def _row_parts(truth: Floats, old: Floats, new: Floats, loss: Callable[[Floats, Floats], Floats]) -> list[_Part]:
    """Each row's share of (difference - its mean): they sum to 0, and their squares to the variance."""
    change = loss(truth, new) - loss(truth, old)
    return [(np.arange(len(change)), (change - change.mean()) / len(change))]


def _auc_parts(truth: Floats, old: Floats, new: Floats) -> list[_Part]:
    """DeLong's structural components of (AUC new - AUC old), centred: one part for positives and one for negatives.

    The component of a positive row is the share of negative rows below it (ties half), by mid-ranks after Sun & Xu,
    Fast implementation of DeLong's algorithm, IEEE Signal Processing Letters 21, 2014: n log n.
    """
    positive = truth == 1
    counts = int(positive.sum()), int((~positive).sum())
    if min(counts) < 2:
        raise NotEnoughRows(
            f"{counts[0]} positive and {counts[1]} negative rows; AUC is compared on two or more of each"
        )

    def components(p: Floats) -> tuple[Floats, Floats]:
        ranks = mid_ranks(p)
        above = (ranks[positive] - mid_ranks(p[positive])) / counts[1]
        below = 1 - (ranks[~positive] - mid_ranks(p[~positive])) / counts[0]
        return above, below

    (above_old, below_old), (above_new, below_new) = components(old), components(new)
    return [
        (np.flatnonzero(mask), (change - change.mean()) / len(change))
        for mask, change in ((positive, above_new - above_old), (~positive, below_new - below_old))
    ]


def _standard_error(parts: list[_Part], places: NDArray[np.int64] | None) -> float:
    """Of the sum of the parts: over independent rows, each part with its own n / (n - 1); or over groups, together."""
    if places is None:
        return float(np.sqrt(sum((values**2).sum() * len(values) / (len(values) - 1) for _, values in parts)))
    sums = np.zeros(int(places.max()) + 1)
    for rows, values in parts:
        sums += np.bincount(places[rows], weights=values, minlength=len(sums))
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)))


def _t_interval(difference: float, error: float, freedom: int, alpha: float) -> tuple[float, float, float]:
    from scipy.special import stdtr, stdtrit

    if error == 0:
        return difference, difference, 1.0 if difference == 0 else 0.0
    reach = float(stdtrit(freedom, 1 - alpha / 2)) * error
    return difference - reach, difference + reach, float(2 * stdtr(freedom, -abs(difference) / error))


def _bootstrap(
    truth: Floats,
    old: Floats,
    new: Floats,
    places: NDArray[np.int64] | None,
    function: Function,
    *,
    alpha: float,
    seed: int,
) -> tuple[float, float, float]:
    """Percentile interval and two-sided p-value of 2,000 draws of whole groups (Efron & Tibshirani 1993, ch. 13)."""
    dice = np.random.default_rng(seed)
    members = (
        [np.array([row]) for row in range(len(truth))]
        if places is None
        else [np.flatnonzero(places == place) for place in range(int(places.max()) + 1)]
    )
    drawn = np.empty(2_000)
    for index in range(len(drawn)):
        picks = dice.integers(0, len(members), len(members))
        rows = picks if places is None else np.concatenate([members[pick] for pick in picks])
        drawn[index] = function(truth[rows], new[rows]) - function(truth[rows], old[rows])
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    tail = (1 + min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))) / (len(drawn) + 1)
    return float(low), float(high), float(min(1.0, 2 * tail))
