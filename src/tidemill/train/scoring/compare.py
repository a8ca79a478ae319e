"""Whether one model is better than another on the same labelled rows: paired tests, clustered by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.scores import named
from tidemill.core.scores.checking import checked
from tidemill.train.scoring.bootstrap import draw
from tidemill.train.scoring.influence import LEAST_GROUPS, influence, less, places_of, standard_error
from tidemill.train.scoring.intervals import t_interval

__all__ = ["LEAST_GROUPS", "LEAST_ROWS", "McNemar", "Paired", "mcnemar", "paired"]

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
    old: ArrayLike,
    new: ArrayLike,
    *,
    score: str = "log_loss",
    alpha: float = 0.05,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Paired:
    """Compare what two models predicted for the same n rows with truths y, all as the score takes them (see `named`).

    score: a mean over rows (log loss, Brier, accuracy, MAE, MSE ...), RMSE, PR-AUC, or mean AUC of classes by a t-test
    of the rows' influences, which for means are their differences; "auc" by DeLong's test; any other by a bootstrap of
    2,000 draws (seed). groups: rows of one group (a day, a customer) are not independent: the variance is then taken
    between groups, with a t distribution of (groups - 1) degrees of freedom.

    Raises NotEnoughRows below 20 rows or 5 groups, or for "auc" where y holds one class only (or one row of it);
    BadInput for shapes, an alpha outside 0..1, an unknown score or one of rankings or clusterings.
    Sources: DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988; Obuchowski, Nonparametric analysis of clustered ROC
    curve data, Biometrics 53, 1997; Cameron & Miller, A practitioner's guide to cluster-robust inference, 2015.
    """
    which = named(score)
    if which.task in {"ranking", "clustering"}:
        raise BadInput(
            f"score {score!r} is for {which.task}; models are compared by scores of rows, such as 'log_loss'"
        )
    if not 0 < alpha < 1:
        raise BadInput(f"alpha is {alpha}; it must lie between 0 and 1, for example 0.05")
    values = float(which.function(y, old)), float(which.function(y, new))
    rows = len(np.asarray(y))
    if rows < LEAST_ROWS:
        raise NotEnoughRows(f"{rows} rows to compare on; give at least {LEAST_ROWS} with a known y")
    places = places_of(groups, rows)
    units = rows if places is None else int(places.max()) + 1
    difference = values[1] - values[0]
    if which.closed:
        change = less(influence(which, y, new), influence(which, y, old))
        low, high, p_value = _t_test(difference, standard_error(change, places), units - 1, alpha)
    else:
        drawn = draw(which, y, [old, new], draws=2_000, seed=seed, places=places)
        low, high, p_value = _of_draws(drawn[1] - drawn[0], alpha)
    good = difference > 0 if which.direction == "max" else difference < 0
    significant = p_value < alpha and difference != 0
    return Paired(
        score,
        *values,
        difference,
        low,
        high,
        p_value,
        better=significant and good,
        worse=significant and not good,
        rows=rows,
        units=units,
    )


@dataclass(frozen=True, slots=True)
class McNemar:
    """How often only one of two models was right: only_old, only_new, in rows; p_value: two-sided, of equal chances."""

    only_old: int
    only_new: int
    p_value: float


def mcnemar(y: ArrayLike, old: ArrayLike, new: ArrayLike, *, threshold: float = 0.5) -> McNemar:
    """Whether two classifiers are right equally often: the exact binomial test of the rows on which they differ.

    y: 0 or 1; old, new: probabilities, cut at threshold; all of shape (n,). Exact for few rows too, where the t-test of
    `paired` is not. Source: McNemar, Psychometrika 12, 1947; exact form: Mosteller, Biometrics 8, 1952.

    >>> mcnemar([1] * 10, [0.1] * 10, [0.9] * 10).p_value
    0.001953125
    """
    from scipy.stats import binomtest

    truth, before = checked(y, old)
    _, after = checked(y, new)
    was, now = ((p >= threshold) == (truth == 1) for p in (before, after))
    only_old, only_new = int((was & ~now).sum()), int((now & ~was).sum())
    if only_old + only_new == 0:
        return McNemar(0, 0, 1.0)
    return McNemar(only_old, only_new, float(binomtest(only_new, only_old + only_new).pvalue))


def _t_test(difference: float, error: float, freedom: int, alpha: float) -> tuple[float, float, float]:
    from scipy.special import stdtr

    if error == 0:
        return difference, difference, 1.0 if difference == 0 else 0.0
    return *t_interval(difference, error, freedom, 1 - alpha), float(2 * stdtr(freedom, -abs(difference) / error))


def _of_draws(drawn: np.ndarray[Any, np.dtype[np.float64]], alpha: float) -> tuple[float, float, float]:
    """Percentile interval and two-sided p-value (Efron & Tibshirani 1993, ch. 13)."""
    known = drawn[np.isfinite(drawn)]
    if len(known) < len(drawn) / 2:
        raise NotEnoughRows("the score is undefined in more than half of the draws; give more rows of the rare class")
    low, high = np.quantile(known, [alpha / 2, 1 - alpha / 2])
    tail = (1 + min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))) / (len(known) + 1)
    return float(low), float(high), float(min(1.0, 2 * tail))
