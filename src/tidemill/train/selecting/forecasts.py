"""Forecasters that learn: exponential smoothing, and regressions on lagged values, the season and known columns.

A forecaster has `forecast(times, X)`, the values at those times (microseconds since 1970) with the columns X known for
them, and `predict(X)`, the same for the steps that follow the training rows one by one.
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import numpy as np

from tidemill.core.errors import NotEnoughRows
from tidemill.core.types import Matrix
from tidemill.train.ranges import floats, ints, log
from tidemill.train.selecting.columns import whole
from tidemill.train.selecting.series import Series, of_train

Floats = np.ndarray[Any, np.dtype[np.float64]]
Times = np.ndarray[Any, np.dtype[np.int64]]


class Forecaster(Protocol):
    """What a fit of a forecast returns."""

    def forecast(self, times: Times, X: Floats) -> Floats:
        """The value at each time, shape (n,); X: the recipe's columns at these times, shape (n, d)."""
        ...


class Regressor(Protocol):
    """A fitted regression."""

    def predict(self, X: Floats) -> Floats:
        """A value for each row."""
        ...


class Lagged:
    """A regression on earlier values, which are forecasts themselves from the second step on."""

    def __init__(self, series: Series, lags: tuple[int, ...], model: Regressor, *, relative: bool) -> None:
        """lags, relative: see `lag_columns`, to which X is added."""
        self._series, self._lags, self._model, self._relative = series, lags, model, relative

    def forecast(self, times: Times, X: Floats) -> Floats:
        """The value at each time; where steps between have no row, they are forecast with the X of the row before."""
        ahead = self._series.ahead(times)
        order = np.argsort(ahead, kind="stable")
        known = np.full(int(ahead.max(initial=0)), -1)
        known[ahead[order] - 1] = order
        # Steps without a row take the columns of the nearest row before them, the first ones those of the first row.
        places = np.maximum.accumulate(np.where(known >= 0, np.arange(len(known)), -1))
        rows = known[np.where(places >= 0, places, np.argmax(known >= 0))] if len(known) else known
        found: Floats = self._on(X[rows])[ahead - 1]
        return found

    def predict(self, X: Floats) -> Floats:
        """The values of the len(X) steps that follow the training rows, in order."""
        return self._on(X)

    def _on(self, X: Floats) -> Floats:
        """Block by block: as many steps at once as the shortest lag allows."""
        start = len(self._series.values)
        values = np.r_[self._series.values, np.empty(len(X))]
        at_once = min(self._lags)
        for first in range(start, start + len(X), at_once):
            steps = np.arange(first, min(first + at_once, start + len(X)))
            base, columns = lag_columns(values, steps, self._lags, self._series.season, relative=self._relative)
            values[steps] = base + self._model.predict(np.c_[columns, X[steps - start]])
        made: Floats = values[start:]
        return made


def lag_columns(
    values: Floats, steps: Times, lags: tuple[int, ...], season: int, *, relative: bool
) -> tuple[Floats, Floats]:
    """What a step's value is measured from, shape (n,), and what is known before it, shape (n, d).

    Known are the values so many steps back (`lags`) and the place in the season as sine and cosine. relative: they and
    the step's own value are taken as differences from the value a season ago (or of the first lag), which is a column
    of its own, so that trees, too, can go on with a trend; else all is measured from 0.
    """
    base = values[steps - (season if season in lags else lags[0])] if relative else np.zeros(len(steps))
    angle = 2 * np.pi * (steps % season) / season
    columns: Floats = np.c_[values[steps[:, None] - np.array(lags)] - base[:, None], np.sin(angle), np.cos(angle)]
    return base, np.c_[base, columns] if relative else columns


def lagged_linear(
    train: Matrix, strength: Annotated[float, log(1e-3, 1e3)] = 1.0, lags: Annotated[int, ints(1, 48)] = 3
) -> Lagged:
    """Ridge regression on the last values, those of the last two seasons, the season and the recipe's columns."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    filled = SimpleImputer(keep_empty_features=True)
    return _lagged(train, lags, make_pipeline(filled, StandardScaler(), Ridge(alpha=strength)), relative=False)


def lagged_boosting(
    train: Matrix,
    rate: Annotated[float, log(0.01, 0.5)] = 0.1,
    leaves: Annotated[int, ints(4, 128)] = 31,
    lags: Annotated[int, ints(1, 48)] = 3,
    seed: int = 0,
) -> Lagged:
    """Histogram boosting on the last values, those of the last two seasons, the season and the recipe's columns."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(learning_rate=rate, max_leaf_nodes=leaves, max_iter=200, random_state=seed)
    return _lagged(train, lags, whole(model, train.X), relative=True)


def seasonal_boosting(
    train: Matrix,
    rate: Annotated[float, log(0.01, 0.5)] = 0.1,
    leaves: Annotated[int, ints(4, 128)] = 31,
    seed: int = 0,
) -> Lagged:
    """Histogram boosting on the values of the last two seasons only, the season and the recipe's columns.

    It looks back a whole season at least, so that its own errors come back to it only once a season.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(learning_rate=rate, max_leaf_nodes=leaves, max_iter=200, random_state=seed)
    return _lagged(train, 0, whole(model, train.X), relative=True)


def _lagged(
    train: Matrix, lags: int, model: Any, *, relative: bool
) -> Lagged:  # Any: a regressor of scikit-learn's kind
    series = of_train(train)
    back = {*range(1, lags + 1), series.season, 2 * series.season}
    used = tuple(sorted(each for each in back if each <= len(series.values) // 3))
    if not used:
        raise NotEnoughRows(f"{len(train)} rows are too few for lagged values; give 9 or more")
    rows = np.flatnonzero(series.rows >= max(used))
    if len(rows) < 2:
        raise NotEnoughRows(f"{len(rows)} rows are left after lags of {max(used)} steps; give more, or fewer lags")
    base, columns = lag_columns(series.values, series.rows[rows], used, series.season, relative=relative)
    model.fit(np.c_[columns, train.X[rows]], train.y[rows] - base)
    return Lagged(series, used, model, relative=relative)


class Smoothed:
    """A level, a damped slope and a season, as they stood after the last training row."""

    def __init__(self, series: Series, level: float, slope: float, season: Floats, damping: float) -> None:
        """season: what is added at each of the next steps of a season, shape (season,)."""
        self._series, self._level, self._slope, self._season, self._damping = series, level, slope, season, damping

    def forecast(self, times: Times, X: Floats) -> Floats:
        """The value at each time."""
        del X
        return self._at(self._series.ahead(times))

    def predict(self, X: Floats) -> Floats:
        """The values of the len(X) steps that follow the training rows, in order."""
        return self._at(np.arange(1, len(X) + 1))

    def _at(self, ahead: Times) -> Floats:
        d = self._damping
        grown = ahead.astype(np.float64) if d == 1 else d * (1 - d ** ahead.astype(np.float64)) / (1 - d)
        found: Floats = self._level + self._slope * grown + self._season[(ahead - 1) % len(self._season)]
        return found


def exponential_smoothing(
    train: Matrix,
    level: Annotated[float, floats(0.01, 0.99)] = 0.3,
    slope: Annotated[float, floats(0.001, 0.3)] = 0.01,
    season: Annotated[float, floats(0.001, 0.5)] = 0.1,
    damping: Annotated[float, floats(0.8, 0.999)] = 0.98,
) -> Smoothed:
    """Additive Holt-Winters with a damped slope. level, slope, season: how fast each follows what was seen, 0..1.

    Source: Gardner & McKenzie, Forecasting trends in time series, Management Science 31, 1985.
    """
    series = of_train(train)
    length = series.season
    now, rise, around = _begun(series.values, length)
    seasons = list(around)
    for step, value in enumerate(series.values.tolist()):
        before, place = now, step % length
        ahead = before + damping * rise
        now = level * (value - seasons[place]) + (1 - level) * ahead
        rise = slope * (now - before) + (1 - slope) * damping * rise
        seasons[place] = season * (value - now) + (1 - season) * seasons[place]
    turned = np.roll(np.array(seasons), -(len(series.values) % length))
    return Smoothed(series, now, rise, turned if length > 1 else np.zeros(1), damping)


def _begun(values: Floats, length: int) -> tuple[float, float, list[float]]:
    """Level, slope and season to start from: the means of the first seasons."""
    if length == 1 or len(values) < 2 * length:
        return float(values[0]), 0.0, [0.0] * length
    first, second = values[:length], values[length : 2 * length]
    level, rise = float(first.mean()), float((second.mean() - first.mean()) / length)
    around = (first - first.mean() + second - second.mean()) / 2
    return level, rise, [float(each) for each in around]
