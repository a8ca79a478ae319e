"""Confidence intervals of scores: in closed form where there is one, by bootstrap elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.scores import ranking
from tidemill.core.scores.checking import Codes, Floats, checked, weights_of
from tidemill.core.scores.registry import Score, named
from tidemill.train.scoring.bootstrap import draw
from tidemill.train.scoring.influence import influence, places_of, standard_error

Method = Literal["auto", "closed", "bootstrap"]
_PER_QUERY = {
    "mean_average_precision": ranking.query_average_precision,
    "mean_reciprocal_rank": ranking.query_reciprocal_rank,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A score and the interval low..high that holds its true value with confidence `level`.

    method: how it was found. rows: how many were scored; units: what was taken as independent (rows, groups, queries).
    """

    score: str
    value: float
    low: float
    high: float
    level: float
    method: str
    rows: int
    units: int

    def as_json(self) -> dict[str, Any]:  # Any: text and numbers
        """The interval as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


def interval(
    y: ArrayLike,
    predicted: ArrayLike,
    score: str = "auc",
    *,
    level: float = 0.95,
    method: Method = "auto",
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """The score of these rows with a confidence interval.

    y, predicted: as the score takes them (see `named`), n rows. groups: rows of one group (a day, a customer) are not
    independent, groups are; for scores of rankings they are the queries. weights: count rows so many times. method:
    "closed" refuses where there is no closed form, "bootstrap" draws `draws` times (seed), "auto" takes the closed one:

    - shares of rows (accuracy, precision, recall): Wilson; with groups or weights at the effective number of rows.
    - means over rows (log loss, Brier, MAE, ...), or over queries: Student's t; RMSE: the root of that of the MSE.
    - AUC: DeLong's variance on the logit scale; where that is 0 (AUC 0 or 1), Newcombe's method 5.
    - PR-AUC, the mean AUC of classes: the linearised variance on the logit scale.
    - all others: bootstrap, BCa; reflected where more than 84 % of draws lie on one side, as for calibration errors.

    Raises NotEnoughRows for a single unit, or an undefined score; BadInput for a level outside 0..1, an unknown score,
    or one of a clustering (its rows cannot be drawn: a row drawn twice is a cluster of its own).
    Sources: Wilson 1927; DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988; Newcombe, Confidence intervals for an
    effect size measure based on the Mann-Whitney statistic, part 2, 2006; Boyd, Eng & Page, Area under the
    precision-recall curve: point estimates and confidence intervals, 2013; Efron, Better bootstrap confidence
    intervals, JASA 82, 1987; Korn & Graubard 1998 (effective rows).
    """
    which = named(score)
    if not 0 < level < 1:
        raise BadInput(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    if which.task == "clustering":
        raise BadInput(f"{score!r} has no interval: a row drawn twice is a cluster; score several seeds instead")
    rows = len(np.asarray(y))
    if which.task == "ranking":
        return _of_queries(which, y, predicted, groups, level)
    heavy = weights_of(weights, rows)
    value = float(which.function(y, predicted, weights=heavy))
    places = places_of(groups, rows)
    units = rows if places is None else int(places.max()) + 1
    if units < 2 or not np.isfinite(value):
        raise NotEnoughRows(f"{score} of {units} independent rows is {value:g}; give rows of both classes, two or more")
    if method == "closed" and not which.closed:
        raise BadInput(f"there is no closed form for {score!r}; leave method out, or 'bootstrap'")
    if method == "bootstrap" or not which.closed:
        if draws < 100:
            raise BadInput(f"draws is {draws}; give 100 or more, 1000 for an interval of 95 %")
        drawn = draw(which, y, [predicted], draws=draws, seed=seed, places=places, weights=heavy)[0]
        skew = _skew(which, y, predicted, heavy, places)
        low, high, how = of_draws(drawn, value, level, skew)
        how = f"bootstrap, {how}, {draws} draws"
    else:
        low, high, how = _closed(which, y, predicted, value, level, places, heavy)
    return Interval(score, value, low, high, level, how, rows, units)


def wilson(hits: float, rows: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share, hits of rows (also effective, broken numbers); (0, 1) for no rows.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.

    >>> tuple(round(each, 4) for each in wilson(8, 10))
    (0.4902, 0.9433)
    """
    if rows <= 0:
        return 0.0, 1.0
    z, share = _z(level), hits / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    reach = z / (1 + z * z / rows) * np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    low = 0.0 if hits == 0 else max(0.0, float(middle - reach))
    return low, 1.0 if hits == rows else min(1.0, float(middle + reach))


def of_draws(drawn: Floats, value: float, level: float, skew: float = 0.0) -> tuple[float, float, str]:
    """The interval of bootstrap draws around the score's value, and its kind: "BCa" or "reflected".

    skew: the acceleration, a sixth of the influences' skewness. Where |z0| > 1 the score is so biased by drawing rows
    twice that quantiles of the draws say little: the draws are then reflected at the value (the basic bootstrap), and
    the interval is widened to hold the value.
    """
    from scipy.special import ndtr, ndtri

    known = drawn[np.isfinite(drawn)]
    if len(known) < len(drawn) / 2:
        raise NotEnoughRows("the score is undefined in more than half of the draws; give more rows of the rare class")
    below = ((known < value).sum() + (known == value).sum() / 2) / len(known)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    z0 = float(ndtri(np.clip(below, 0.5 / len(known), 1 - 0.5 / len(known))))
    if abs(z0) > 1:
        low, high = np.quantile(known, tails)
        return max(0.0, float(2 * value - high)), max(value, float(2 * value - low)), "reflected"
    z = z0 + ndtri(tails)
    low, high = np.quantile(known, ndtr(z0 + z / (1 - skew * z)))
    return float(low), float(high), "BCa"


def t_interval(value: float, error: float, freedom: int, level: float) -> tuple[float, float]:
    """value -+ Student's t times its standard error."""
    from scipy.special import stdtrit

    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    return value - reach, value + reach


def _closed(
    score: Score,
    y: ArrayLike,
    predicted: ArrayLike,
    value: float,
    level: float,
    places: Codes | None,
    weights: Floats | None,
) -> tuple[float, float, str]:
    linear = influence(score, y, predicted, weights)
    error = standard_error(linear, places)
    units = len(np.asarray(y)) if places is None else int(places.max()) + 1
    if score.closed == "share":
        assert score.parts is not None
        rows = float(score.parts(y, predicted).totals()[0, 0])
        if places is not None or weights is not None:
            rows = value * (1 - value) / error**2 if error > 0 else min(rows, units)
        low, high = wilson(value * rows, rows, level)
        return low, high, "Wilson" if places is None and weights is None else "Wilson, effective rows"
    if score.closed == "mean":
        low, high = t_interval(value, error, units - 1, level)
        return max(0.0, low), high, "Student's t"
    if score.closed == "root_mean":
        low, high = t_interval(value**2, 2 * value * error, units - 1, level)
        return float(np.sqrt(max(0.0, low))), float(np.sqrt(high)), "root of Student's t"
    if score.closed == "auc" and (error == 0 or value in {0.0, 1.0}):
        truth, _ = checked(y, predicted)
        low, high = _newcombe(value, float(truth.sum()), float(len(truth) - truth.sum()), level)
        return low, high, "Newcombe 5"
    if error == 0 or value in {0.0, 1.0}:
        raise NotEnoughRows(f"{score.name} is {value:g} without any spread; give more rows, or method='bootstrap'")
    logit, reach = np.log(value / (1 - value)), _z(level) * error / (value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-(logit + side)))) for side in (-reach, reach))
    return low, high, "DeLong, logit" if score.closed == "auc" else "linearised, logit"


def _newcombe(area: float, positives: float, negatives: float, level: float) -> tuple[float, float]:
    """Where |area - a| = z * the standard error at a, with Hanley & McNeil's exponential model of it."""
    from scipy.optimize import brentq

    z, extra = _z(level), (positives + negatives) / 2 - 1

    def off(a: float) -> float:
        spread = a * (1 - a) * (1 + extra * (1 - a) / (2 - a) + extra * a / (1 + a)) / (positives * negatives)
        return float((area - a) ** 2 - z * z * spread)

    low = 0.0 if area == 0 else float(brentq(off, 0.0, area - 1e-12))
    return low, 1.0 if area == 1 else float(brentq(off, area + 1e-12, 1.0))


def _of_queries(score: Score, y: ArrayLike, predicted: ArrayLike, groups: ArrayLike | None, level: float) -> Interval:
    base, _, k = score.name.partition("@")
    if base == "ndcg":
        each = ranking.query_ndcg(y, predicted, groups, int(k) if k else None)
    else:
        each = _PER_QUERY[base](y, predicted, groups)
    if len(each) < 2:
        raise NotEnoughRows(f"{score.name} of one query has no interval; give the query of each row as groups=")
    value = float(each.mean())
    low, high = t_interval(value, float(each.std(ddof=1) / np.sqrt(len(each))), len(each) - 1, level)
    how = "Student's t over queries"
    return Interval(score.name, value, max(0.0, low), min(1.0, high), level, how, len(np.asarray(y)), len(each))


def _skew(score: Score, y: ArrayLike, predicted: ArrayLike, weights: Floats | None, places: Codes | None) -> float:
    """The acceleration of BCa: a sixth of the skewness of the units' influences; 0 where they are not known.

    For scores of sums the derivative is taken by differences of the totals, one per cell and column.
    """
    if score.parts is None:
        return 0.0
    parts = score.parts(y, predicted)
    totals = parts.totals(weights)
    if totals.size > 400:
        return 0.0
    step = 1e-5 * max(float(np.abs(totals).max()), 1.0)
    moved = totals + step * np.eye(totals.size).reshape(-1, *totals.shape)
    slope = ((score.finish(moved) - score.finish(totals)) / step).reshape(totals.shape)
    columns = parts.columns if weights is None else parts.columns * weights
    by_row = slope[0] @ columns if parts.codes is None else (slope[parts.codes].T * columns).sum(axis=0)
    units = by_row if places is None else np.bincount(places, by_row)
    squares = float((units**2).sum())
    return float((units**3).sum() / (6 * squares**1.5)) if np.isfinite(squares) and squares > 0 else 0.0


def _z(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))
