"""Honest baselines: what any model must beat to be worth its upkeep. Each is a fit like any other.

Of a classification the shares of the classes; of a regression the mean and the median; of a forecast the last value,
the last season, the line through both ends and the mean; of a clustering one cluster for all.
Source of the forecasts: Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, 2021, ch. 5.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tidemill.core.types import Matrix
from tidemill.train.ranges import Fit
from tidemill.train.selecting.series import Series, of_train

Floats = np.ndarray[Any, np.dtype[np.float64]]
Times = np.ndarray[Any, np.dtype[np.int64]]


def class_shares(train: Matrix) -> object:
    """The share of each class among the training rows, for every row."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior").fit(train.X, train.y)


def mean_value(train: Matrix) -> object:
    """The mean of the training targets, for every row: the best constant by squared errors."""
    from sklearn.dummy import DummyRegressor

    return DummyRegressor(strategy="mean").fit(train.X, train.y)


def median_value(train: Matrix) -> object:
    """The median of the training targets, for every row: the best constant by absolute errors."""
    from sklearn.dummy import DummyRegressor

    return DummyRegressor(strategy="median").fit(train.X, train.y)


class OneCluster:
    """All rows in cluster 0."""

    def predict(self, X: Floats) -> Floats:
        """0 for each row, shape (n,)."""
        return np.zeros(len(X))


def one_cluster(train: Matrix) -> OneCluster:
    """All rows in one cluster: any other must separate them better than that."""
    del train
    return OneCluster()


class Extended:
    """A forecast by a rule of the steps ahead; see `Forecaster` in forecasts.py for what its methods are."""

    def __init__(self, series: Series, rule: Callable[[Series, Times], Floats]) -> None:
        """rule: of the series and the steps after its last one (1 is the next), shape (n,)."""
        self._series, self._rule = series, rule

    def forecast(self, times: Times, X: Floats) -> Floats:
        """The value at each time (microseconds since 1970), shape (n,)."""
        del X
        return self._rule(self._series, self._series.ahead(times))

    def predict(self, X: Floats) -> Floats:
        """The values of the len(X) steps that follow the training rows, in order."""
        return self._rule(self._series, np.arange(1, len(X) + 1))


def last_value(train: Matrix) -> Extended:
    """The last value, for ever: the best forecast of a random walk."""
    return Extended(of_train(train), _last)


def last_season(train: Matrix, season: int | None = None) -> Extended:
    """The value at the same place of the last whole season.

    season: in steps of the series; by default the one that the training rows repeat most (see `series.season_of`); a
    series without one is forecast by its last value.
    """
    return Extended(of_train(train, season), _season)


def drift(train: Matrix) -> Extended:
    """The line through the first and the last value, drawn on."""
    return Extended(of_train(train), _drift)


def historic_mean(train: Matrix) -> Extended:
    """The mean of all values."""
    return Extended(of_train(train), _mean)


def _last(series: Series, ahead: Times) -> Floats:
    return np.full(len(ahead), series.values[-1])


def _season(series: Series, ahead: Times) -> Floats:
    length = series.season
    found: Floats = series.values[len(series.values) - length + (ahead - 1) % length]
    return found


def _drift(series: Series, ahead: Times) -> Floats:
    steps = max(1, len(series.values) - 1)
    found: Floats = series.values[-1] + ahead * (series.values[-1] - series.values[0]) / steps
    return found


def _mean(series: Series, ahead: Times) -> Floats:
    return np.full(len(ahead), series.mean)


BASELINES: dict[str, tuple[Fit, ...]] = {
    "classification": (class_shares,),
    "regression": (mean_value, median_value),
    "clustering": (one_cluster,),
    "forecast": (last_value, last_season, drift, historic_mean),
}


def is_baseline(fit: Fit) -> bool:
    """Whether it is one of these."""
    return any(fit is each for fits in BASELINES.values() for each in fits)
