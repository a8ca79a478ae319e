"""Candidates by LightGBM and XGBoost (the extra "boosting")."""

from __future__ import annotations

from typing import Annotated, Any

from tidemill.core.errors import MissingExtra
from tidemill.core.types import Matrix
from tidemill.train.ranges import floats, ints, log


def lightgbm_classifier(
    train: Matrix,
    rate: Annotated[float, log(0.01, 0.5)] = 0.1,
    leaves: Annotated[int, ints(4, 128)] = 31,
    rounds: Annotated[int, ints(20, 1_000)] = 100,
    columns: Annotated[float, floats(0.3, 1.0)] = 1.0,
    seed: int = 0,
) -> object:
    """LightGBM's classifier. columns: the share of them that a tree sees."""
    return _lightgbm("LGBMClassifier", train, rate=rate, leaves=leaves, rounds=rounds, columns=columns, seed=seed)


def lightgbm_regressor(
    train: Matrix,
    rate: Annotated[float, log(0.01, 0.5)] = 0.1,
    leaves: Annotated[int, ints(4, 128)] = 31,
    rounds: Annotated[int, ints(20, 1_000)] = 100,
    columns: Annotated[float, floats(0.3, 1.0)] = 1.0,
    seed: int = 0,
) -> object:
    """LightGBM's regressor. columns: the share of them that a tree sees."""
    return _lightgbm("LGBMRegressor", train, rate=rate, leaves=leaves, rounds=rounds, columns=columns, seed=seed)


def xgboost_classifier(
    train: Matrix,
    rate: Annotated[float, log(0.01, 0.5)] = 0.1,
    depth: Annotated[int, ints(2, 12)] = 6,
    rounds: Annotated[int, ints(20, 1_000)] = 100,
    columns: Annotated[float, floats(0.3, 1.0)] = 1.0,
    seed: int = 0,
) -> object:
    """XGBoost's classifier. columns: the share of them that a tree sees."""
    return _xgboost("XGBClassifier", train, rate=rate, depth=depth, rounds=rounds, columns=columns, seed=seed)


def xgboost_regressor(
    train: Matrix,
    rate: Annotated[float, log(0.01, 0.5)] = 0.1,
    depth: Annotated[int, ints(2, 12)] = 6,
    rounds: Annotated[int, ints(20, 1_000)] = 100,
    columns: Annotated[float, floats(0.3, 1.0)] = 1.0,
    seed: int = 0,
) -> object:
    """XGBoost's regressor. columns: the share of them that a tree sees."""
    return _xgboost("XGBRegressor", train, rate=rate, depth=depth, rounds=rounds, columns=columns, seed=seed)


def _lightgbm(
    name: str, train: Matrix, *, rate: float, leaves: int, rounds: int, columns: float, seed: int
) -> Any:  # Any: an estimator of LightGBM's
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtra(f"{name} needs lightgbm: pip install 'tidemill[boosting]'") from error
    return getattr(lightgbm, name)(
        learning_rate=rate,
        num_leaves=leaves,
        n_estimators=rounds,
        colsample_bytree=columns,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    ).fit(train.X, train.y)


def _xgboost(
    name: str, train: Matrix, *, rate: float, depth: int, rounds: int, columns: float, seed: int
) -> Any:  # Any: an estimator of XGBoost's
    try:
        import xgboost
    except ImportError as error:
        raise MissingExtra(f"{name} needs xgboost: pip install 'tidemill[boosting]'") from error
    return getattr(xgboost, name)(
        learning_rate=rate,
        max_depth=depth,
        n_estimators=rounds,
        colsample_bytree=columns,
        random_state=seed,
        tree_method="hist",
        verbosity=0,
    ).fit(train.X, train.y)
