"""How much one column alone tells of the target: a small tree on it, judged on rows that it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars as pl

Floats = np.ndarray[Any, np.dtype[np.float64]]
MOST_ROWS = 20_000  # of each side: enough to see a column that knows the target
MOST_VALUES = 50  # more classes than that are taken for numbers
_LEAVES = 256


def skill(train: pl.DataFrame, held_out: pl.DataFrame, column: str, target: str) -> float:
    """The share of the target's uncertainty on the held-out rows that the column takes away alone, at most 1.

    Of classes: 1 - log loss / log loss of the training shares (McFadden's pseudo R2); of numbers: R2. NaN where the
    target does not vary. A missing value is a value like any other, since that a value is missing may tell, too.
    """
    ours, theirs = _sample(train.select(column, target)), _sample(held_out.select(column, target))
    ours, theirs = ours.drop_nulls(target), theirs.drop_nulls(target)
    if min(ours.height, theirs.height) < 20:
        return float("nan")
    if _is_number(ours[target]):
        y, truth = (frame[target].to_numpy().astype(np.float64) for frame in (ours, theirs))
        return _of_numbers(*_coded(ours[column], theirs[column], y), y, truth)
    y, truth = _classes(ours[target], theirs[target])
    return _of_classes(*_coded(ours[column], theirs[column], y), y, truth)


def _sample(frame: pl.DataFrame) -> pl.DataFrame:
    """At most 20,000 rows, spread evenly."""
    if frame.height <= MOST_ROWS:
        return frame
    return frame[np.linspace(0, frame.height - 1, MOST_ROWS).astype(np.int64)]


def _is_number(column: pl.Series) -> bool:
    if column.dtype.is_float():
        return column.n_unique() > 2
    return column.dtype.is_integer() and column.n_unique() > MOST_VALUES


def _classes(ours: pl.Series, theirs: pl.Series) -> tuple[Floats, Floats]:
    """Codes of the classes; one that the training rows lack has a code of its own."""
    import polars as pl

    ours, theirs = ours.cast(pl.String), theirs.cast(pl.String)
    place = {value: float(code) for code, value in enumerate(sorted(ours.unique().to_list()))}
    coded = [np.array([place.get(value, float(len(place))) for value in side.to_list()]) for side in (ours, theirs)]
    return coded[0], coded[1]


def _coded(ours: pl.Series, theirs: pl.Series, y: Floats) -> tuple[Floats, Floats]:
    """Both columns as numbers, NaN where missing; texts in the order of their mean target, unknown ones missing."""
    import polars as pl

    if ours.dtype.is_numeric() or ours.dtype == pl.Boolean:
        sides = [side.cast(pl.Float64).to_numpy().astype(np.float64) for side in (ours, theirs)]
    elif ours.dtype.is_temporal():
        sides = [side.to_physical().cast(pl.Float64).to_numpy().astype(np.float64) for side in (ours, theirs)]
    else:
        texts = ours.cast(pl.String)
        means = pl.DataFrame({"text": texts, "y": y}).group_by("text").agg(pl.col("y").mean()).sort("y", "text")
        place = {text: float(code) for code, text in enumerate(means["text"].to_list())}
        sides = [
            np.array([place.get(text, np.nan) for text in side.cast(pl.String).to_list()], dtype=np.float64)
            for side in (ours, theirs)
        ]
    for side in sides:
        side[~np.isfinite(side)] = np.nan
    return sides[0], sides[1]


def _of_numbers(x: Floats, new: Floats, y: Floats, truth: Floats) -> float:
    from sklearn.tree import DecisionTreeRegressor

    spread = float(((truth - y.mean()) ** 2).mean())
    if spread == 0:
        return float("nan")
    fitted = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=3, random_state=0).fit(x[:, None], y)
    return float(1 - ((truth - fitted.predict(new[:, None])) ** 2).mean() / spread)


def _of_classes(x: Floats, new: Floats, y: Floats, truth: Floats) -> float:
    from sklearn.tree import DecisionTreeClassifier

    count = int(max(y.max(), truth.max())) + 1
    if len(np.unique(y)) < 2:
        return float("nan")
    fitted = DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=3, random_state=0).fit(x[:, None], y)
    p, prior = np.zeros((len(new), count)), np.bincount(y.astype(np.int64), minlength=count) / len(y)
    p[:, fitted.classes_.astype(np.int64)] = fitted.predict_proba(new[:, None])
    # A leaf's shares are pulled a little towards the prior: a pure leaf is not sure to the end.
    p = 0.999 * p + 0.001 * np.maximum(prior, 1e-9)
    places = truth.astype(np.int64)
    loss = float(-np.log(np.maximum(p[np.arange(len(places)), places], 1e-12)).mean())
    base = float(-np.log(np.maximum(prior[places], 1e-12)).mean())
    return 1 - loss / base if base > 0 else float("nan")
