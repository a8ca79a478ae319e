"""Columns made fit for estimators that compare them with one another: complete, and of one scale."""

from __future__ import annotations

from typing import Any

import numpy as np


def scaled(estimator: Any) -> Any:  # Any: scikit-learn ships no types
    """A pipeline that fills NaN with the median, scales to mean 0 and variance 1, and hands on to the estimator."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), estimator)


def whole(estimator: Any, X: np.ndarray[Any, np.dtype[np.float64]]) -> Any:  # Any: scikit-learn ships no types
    """The estimator, or where a column of X is missing in every row, a pipeline that fills gaps before it.

    Histogram boosting takes gaps as they are, but fails on a column of nothing else.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    if not np.isnan(X).all(axis=0).any():
        return estimator
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), estimator)
