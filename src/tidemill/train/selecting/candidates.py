"""`tm.candidates("classification")`: the algorithms worth a try, as plain fit functions with ranges for `mill.tune`.

    fits = [*tm.candidates("classification"), mine]     # def mine(train: tm.Matrix, ...) -> estimator

They take columns as a recipe leaves them: numbers, with NaN where a value is missing. Those that need scaled or
complete columns see to it themselves. Their defaults are the ones that a first look deserves, not tuned to any data.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, get_args

from tidemill.core.errors import BadInput, MissingExtra, nearest
from tidemill.train.ranges import Fit, fit_name
from tidemill.train.selecting import boosters, classifiers, clusterers, forecasts, regressors
from tidemill.train.selecting.baselines import BASELINES, is_baseline

Kind = Literal["classification", "regression", "clustering", "forecast"]

_LEARNERS: dict[str, tuple[Fit, ...]] = {
    "classification": (
        classifiers.logistic,
        classifiers.nearest,
        classifiers.support_vectors,
        classifiers.tree,
        classifiers.forest,
        classifiers.extra_trees,
        classifiers.boosting,
        boosters.lightgbm_classifier,
        boosters.xgboost_classifier,
    ),
    "regression": (
        regressors.linear,
        regressors.ridge,
        regressors.lasso,
        regressors.nearest_mean,
        regressors.support_vector_regression,
        regressors.regression_tree,
        regressors.regression_forest,
        regressors.extra_regression_trees,
        regressors.regression_boosting,
        boosters.lightgbm_regressor,
        boosters.xgboost_regressor,
    ),
    "clustering": (clusterers.k_means, clusterers.gaussian_mixture, clusterers.dbscan, clusterers.hdbscan),
    "forecast": (
        forecasts.exponential_smoothing,
        forecasts.lagged_linear,
        forecasts.lagged_boosting,
        forecasts.seasonal_boosting,
    ),
}
_NEEDS: dict[Fit, str] = {
    boosters.lightgbm_classifier: "lightgbm",
    boosters.lightgbm_regressor: "lightgbm",
    boosters.xgboost_classifier: "xgboost",
    boosters.xgboost_regressor: "xgboost",
}
_SKLEARN = ("sklearn.dummy", "sklearn.ensemble", "sklearn.impute", "sklearn.pipeline", "sklearn.calibration")


def candidates(kind: Kind, *, include: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> list[Fit]:
    """Fit functions for a task, baselines first, then from the plain to the involved.

    include: only these names, in this order; exclude: all but these. What needs a package that is not installed
    (LightGBM, XGBoost: the extra "boosting") is left out, unless it is asked for by name: then MissingExtra is raised.
    Raises BadInput for an unknown kind or name, naming the nearest, and where nothing is left.

    >>> [fit.__name__ for fit in candidates("regression", include=["median_value", "ridge"])]
    ['median_value', 'ridge']
    """
    if kind not in get_args(Kind):
        raise BadInput(f"no candidates for {kind!r}; known are {', '.join(get_args(Kind))}.{nearest(kind, _LEARNERS)}")
    known = {fit_name(fit): fit for fit in (*BASELINES[kind], *_LEARNERS[kind])}
    for name in [*(include or ()), *exclude]:
        if name not in known:
            raise BadInput(f"no candidate {name!r} for {kind}; known are {', '.join(known)}.{nearest(name, known)}")
    for name in include or ():
        _require(known[name], name)
    wanted = list(dict.fromkeys(known if include is None else include))
    found = [known[name] for name in wanted if name not in exclude and _installed(known[name])]
    if not found:
        raise BadInput(f"no candidates for {kind} are left; include or exclude others of {', '.join(known)}")
    return found


def warm(fit: Fit) -> None:
    """Import the libraries of a candidate, so that a fit's time is not that of an import."""
    if is_baseline(fit) or any(fit is each for fits in _LEARNERS.values() for each in fits):
        for name in (*_SKLEARN, *([_NEEDS[fit]] if fit in _NEEDS else [])):
            import_module(name)


def kind_of(fits: Sequence[Fit]) -> Kind | None:
    """The kind of which these candidates are; None where none of them is ours. Raises BadInput for two kinds."""
    known: dict[Kind, str] = {}
    for kind in get_args(Kind):
        for fit in (*BASELINES[kind], *_LEARNERS[kind]):
            if any(fit is each for each in fits):
                known.setdefault(kind, fit_name(fit))
    if len(known) > 1:
        told = " and ".join(f"{name} for {kind}" for kind, name in known.items())
        raise BadInput(f"these candidates are of two kinds, {told}; compare those of one")
    return next(iter(known), None)


def _installed(fit: Fit) -> bool:
    return fit not in _NEEDS or find_spec(_NEEDS[fit]) is not None


def _require(fit: Fit, name: str) -> None:
    if not _installed(fit):
        raise MissingExtra(f"candidate {name!r} needs {_NEEDS[fit]}: pip install 'tidemill[boosting]'")
