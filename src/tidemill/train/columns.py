"""Columns made fit for estimators that compare them with one another: complete, and of one scale."""

from __future__ import annotations

from typing import Any


def scaled(estimator: Any) -> Any:  # Any: scikit-learn ships no types
    """A pipeline that fills NaN with the median, scales to mean 0 and variance 1, and hands on to the estimator."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), estimator)
