"""Any score by slice with its interval, and the slices where a model is weak although its average is not.

Slices are values of columns: times are cut into months, numbers of more than 12 values into quarters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.core.errors import BadInput, NotEnoughRows, require_columns
from tidemill.core.scores.checking import Codes, Floats
from tidemill.core.scores.registry import Score, named
from tidemill.train.scoring.intervals import Interval, interval
from tidemill.train.scoring.slices import texts_of

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class SliceScore:
    """The score of the rows where `column` is `value`; None where it is undefined there (AUC of one class)."""

    column: str
    value: str
    rows: int
    score: Interval | None


@dataclass(frozen=True, slots=True)
class WeakSlice:
    """Rows on which the model is worse than on the others.

    where: (column, value) pairs that all hold. value: the score there; elsewhere: on all other rows. worse_by: how much
    worse, above 0; effect: the same in standard deviations of a row's loss (Hedges' pooled; 0.2 is small, 0.8 large).
    p_value: one-sided, as tested; adjusted: after correction for all the slices that were looked at.
    """

    where: tuple[tuple[str, str], ...]
    rows: int
    value: float
    elsewhere: float
    worse_by: float
    effect: float
    p_value: float
    adjusted: float

    def __str__(self) -> str:
        return " and ".join(f"{column} = {value}" for column, value in self.where)


@dataclass(frozen=True, slots=True)
class WeakSlices:
    """The weak slices found, worst first; looked_at: how many slices were tested."""

    score: str
    overall: float
    looked_at: int
    found: tuple[WeakSlice, ...]


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of the losses of the rows in each slice: shape (slices,) each."""

    rows: Floats
    total: Floats
    squares: Floats


def scores_by_slice(
    frame: pl.DataFrame,
    y: ArrayLike,
    predicted: ArrayLike,
    columns: Sequence[str],
    *,
    score: str = "auc",
    level: float = 0.95,
    min_rows: int = 50,
) -> tuple[SliceScore, ...]:
    """The score of each value of each column, with its interval (see `interval`), most rows first within a column.

    frame: n rows; y and predicted: as the score takes them, in the frame's order. Values of fewer than min_rows rows
    are left out. Raises UnknownColumn, BadInput.
    """
    which, truth, given = _checked(frame, y, predicted, columns, score)
    found = []
    for column in columns:
        names, codes, counts = _coded(frame, column)
        for code in np.argsort(-counts, kind="stable").tolist():
            if counts[code] < min_rows:
                break
            rows = np.flatnonzero(codes == code)
            try:
                got = interval(truth[rows], given[rows], which.name, level=level)
            except NotEnoughRows:
                got = None
            found.append(SliceScore(column, names[code], len(rows), got))
    return tuple(found)


def weak_slices(
    frame: pl.DataFrame,
    y: ArrayLike,
    predicted: ArrayLike,
    columns: Sequence[str],
    *,
    score: str = "log_loss",
    depth: Literal[1, 2] = 2,
    alpha: float = 0.05,
    min_rows: int = 50,
    min_effect: float = 0.1,
    correction: Literal["holm", "bh"] = "holm",
) -> WeakSlices:
    """Search values of columns, and of pairs of columns, for rows on which the score is worse than on the others.

    frame, y, predicted: as in `scores_by_slice`. score: a mean over rows ("log_loss", "brier", "accuracy", "mae",
    "class_log_loss", "label_accuracy" ...). A slice is tested by Welch's one-sided t-test of its rows' losses against
    all other rows'; a pair against the other rows of each of the two slices that hold it, and the larger p counts:
    what is weak only because a whole column's value is weak is told once. correction: "holm" keeps the chance of any
    false find at alpha, "bh" the share of false finds (Benjamini & Hochberg). Slices below min_rows, or weaker by less
    than min_effect standard deviations, are looked at but not told.

    The sizes of effects are of the rows searched: the worst found look a little worse than they are (regression to the
    mean), so measure them again on other rows. Rows must be independent: repeated customers make false finds.
    Raises UnknownColumn; BadInput for a score that is no mean over rows, an alpha outside 0..1.
    Sources: Chung et al., Automated data slicing for model validation, IEEE TKDE 32, 2020; Welch, Biometrika 34, 1947;
    Holm, Scandinavian Journal of Statistics 6, 1979; Benjamini & Hochberg, JRSS B 57, 1995.
    """
    which, truth, given = _checked(frame, y, predicted, columns, score)
    means = which.parts is not None and which.closed in {"mean", "share"}
    parts = which.parts(truth, given) if which.parts is not None and means else None
    if parts is None or not (parts.columns[0] == 1).all():
        raise BadInput(f"score {score!r} is no mean over rows; search with log_loss, brier, accuracy, mae or mse")
    if not 0 < alpha < 1 or depth not in {1, 2}:
        raise BadInput(f"alpha is {alpha} and depth {depth}; allowed are 0 to 1 and 1 or 2")
    losses = parts.columns[1] if which.direction == "min" else -parts.columns[1]
    coded = {column: _coded(frame, column) for column in columns}
    candidates = _singles(coded, losses, min_rows)
    if depth == 2:
        candidates += _pairs(coded, losses, min_rows)
    tested = [each for each in candidates if np.isfinite(each.p_value)]
    adjusted = _adjust(np.array([each.p_value for each in tested]), correction)
    sign = 1.0 if which.direction == "min" else -1.0
    found = [
        WeakSlice(
            each.where,
            each.rows,
            sign * each.value,
            sign * each.elsewhere,
            each.worse_by,
            each.effect,
            each.p_value,
            float(p),
        )
        for each, p in zip(tested, adjusted, strict=True)
        if p < alpha and each.effect >= min_effect
    ]
    found.sort(key=lambda each: (-each.effect, each.where))
    return WeakSlices(score, float(sign * losses.mean()), len(tested), tuple(found))


def _checked(
    frame: pl.DataFrame, y: ArrayLike, predicted: ArrayLike, columns: Sequence[str], score: str
) -> tuple[Score, NDArray[Any], NDArray[Any]]:  # Any: labels may be text
    require_columns(columns, frame.columns, where="the rows")
    truth, given = np.asarray(y), np.asarray(predicted)
    if frame.height != len(truth) or frame.height != len(given):
        raise BadInput(
            f"{frame.height} rows but {len(truth)} truths and {len(given)} predictions; give the frame they belong to"
        )
    return named(score), truth, given


def _coded(frame: pl.DataFrame, column: str) -> tuple[list[str], Codes, Codes]:
    """The column's slices: their names, each row's slice, and how many rows each has."""
    import polars as pl

    texts = texts_of(frame[column])
    names = texts.unique().sort()
    codes = texts.to_frame("text").join(
        pl.DataFrame({"text": names, "code": np.arange(len(names))}), on="text", how="left", maintain_order="left"
    )["code"]
    places = codes.to_numpy().astype(np.int64)
    return names.to_list(), places, np.bincount(places, minlength=len(names))


def _sums(codes: Codes, count: int, losses: Floats) -> _Sums:
    sums = (np.bincount(codes, each, count).astype(np.float64) for each in (None, losses, losses**2))
    return _Sums(*sums)


def _singles(coded: dict[str, tuple[list[str], Codes, Codes]], losses: Floats, min_rows: int) -> list[WeakSlice]:
    centred = losses - losses.mean()  # squares of centred losses keep their digits
    all_rows = _Sums(*(np.array(each) for each in (float(len(losses)), centred.sum(), (centred**2).sum())))
    found = []
    for column, (names, codes, _) in coded.items():
        sums = _sums(codes, len(names), centred)
        p_values, effects = _welch(sums, all_rows)
        for code in np.flatnonzero((sums.rows >= min_rows) & (sums.rows < len(losses))).tolist():
            where = ((column, names[code]),)
            found.append(_weak(where, code, sums, all_rows, float(losses.mean()), float(p_values[code]), effects))
    return found


def _pairs(coded: dict[str, tuple[list[str], Codes, Codes]], losses: Floats, min_rows: int) -> list[WeakSlice]:
    centred = losses - losses.mean()
    all_rows = _Sums(*(np.array(each) for each in (float(len(losses)), centred.sum(), (centred**2).sum())))
    kept = {
        column: (names, codes, counts)
        for column, (names, codes, counts) in coded.items()
        if (counts >= min_rows).any() and len(names) > 1
    }
    found = []
    for (one, (names, codes, counts)), (two, (others, more, sizes)) in combinations(kept.items(), 2):
        # Values too rare to be in a pair share one place, so that a column of many values costs no memory.
        left, right = (np.flatnonzero(each >= min_rows) for each in (counts, sizes))
        place_left, place_right = (np.full(len(each), -1) for each in (counts, sizes))
        place_left[left], place_right[right] = np.arange(len(left)), np.arange(len(right))
        a, b = place_left[codes], place_right[more]
        inside = (a >= 0) & (b >= 0)
        sums = _sums(a[inside] * len(right) + b[inside], len(left) * len(right), centred[inside])
        parents = _sums(codes, len(names), centred), _sums(more, len(others), centred)
        of_left, of_right = np.repeat(left, len(right)), np.tile(right, len(left))
        tests = [
            _welch(sums, _Sums(each.rows[at], each.total[at], each.squares[at]))
            for each, at in zip(parents, (of_left, of_right), strict=True)
        ]
        p_values = np.maximum(tests[0][0], tests[1][0])
        _, effects = _welch(sums, all_rows)
        for code in np.flatnonzero(sums.rows >= min_rows).tolist():
            where = ((one, names[of_left[code]]), (two, others[of_right[code]]))
            found.append(_weak(where, code, sums, all_rows, float(losses.mean()), float(p_values[code]), effects))
    return found


def _weak(
    where: tuple[tuple[str, str], ...],
    code: int,
    sums: _Sums,
    within: _Sums,
    middle: float,
    p_value: float,
    effects: Floats,
) -> WeakSlice:
    rows = float(sums.rows[code])
    value = middle + float(sums.total[code]) / rows
    rest = float(within.rows) - rows
    elsewhere = middle + float(within.total - sums.total[code]) / rest if rest > 0 else value
    return WeakSlice(where, int(rows), value, elsewhere, value - elsewhere, float(effects[code]), p_value, p_value)


def _welch(sums: _Sums, within: _Sums) -> tuple[Floats, Floats]:
    """One-sided p that the slices' mean loss is not above that of the rest of `within`, and the size of the effect.

    NaN where either side has fewer than two rows.
    """
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        rest = _Sums(within.rows - sums.rows, within.total - sums.total, within.squares - sums.squares)
        means = [each.total / each.rows for each in (sums, rest)]
        spreads = [
            np.maximum(each.squares - each.rows * mean**2, 0) / (each.rows - 1)
            for each, mean in zip((sums, rest), means, strict=True)
        ]
        shares = spreads[0] / sums.rows, spreads[1] / rest.rows
        error = np.sqrt(shares[0] + shares[1])
        freedom = error**4 / (shares[0] ** 2 / (sums.rows - 1) + shares[1] ** 2 / (rest.rows - 1))
        difference = means[0] - means[1]
        p_values = stdtr(freedom, -difference / error)
        pooled = ((sums.rows - 1) * spreads[0] + (rest.rows - 1) * spreads[1]) / (sums.rows + rest.rows - 2)
        effects = difference / np.sqrt(pooled)
    usable = (sums.rows >= 2) & (rest.rows >= 2)
    p_values = np.where(usable & (error == 0), np.where(difference > 0, 0.0, 1.0), p_values)
    return np.where(usable, p_values, np.nan), np.where(np.isfinite(effects), effects, 0.0)


def _adjust(p_values: Floats, correction: Literal["holm", "bh"]) -> Floats:
    count, order = len(p_values), np.argsort(p_values, kind="stable")
    adjusted = np.empty(count)
    if correction == "holm":
        stepped = np.maximum.accumulate(p_values[order] * (count - np.arange(count)))
    else:
        scaled = p_values[order] * count / (np.arange(count) + 1)
        stepped = np.minimum.accumulate(scaled[::-1])[::-1]
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
