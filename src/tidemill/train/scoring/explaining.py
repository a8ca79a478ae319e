"""What a model looks at: how much worse it gets without a feature, and what each feature adds to each prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.core.errors import BadInput, MissingExtra, NotEnoughRows, nearest
from tidemill.core.scores.checking import Floats
from tidemill.core.scores.registry import named
from tidemill.train.scoring.influence import Linear, influence, less, standard_error
from tidemill.train.scoring.intervals import t_interval

Predict = Callable[[Floats], ArrayLike]


@dataclass(frozen=True, slots=True)
class Importance:
    """How much worse the score gets when a feature's values are shuffled among the rows, with its interval.

    name: the feature, or the group of features that were shuffled together. drop: above 0 is worse, in the score's
    unit, whichever way is better for it.
    """

    name: str
    drop: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each feature adds to each row's prediction (Shapley values).

    values: shape (n, d); base: shape (n,), the mean prediction; base + values.sum(axis=1) is the prediction, in `unit`:
    "raw" is the model's own scale (log-odds of boosted trees), "predicted" that of the function given.
    """

    names: tuple[str, ...]
    values: Floats
    base: Floats
    unit: str

    def mean_sizes(self) -> dict[str, float]:
        """The mean absolute contribution of each feature, largest first."""
        sizes = np.abs(self.values).mean(axis=0)
        return {self.names[place]: float(sizes[place]) for place in np.argsort(-sizes, kind="stable").tolist()}

    def of_row(self, row: int) -> dict[str, float]:
        """One row's contributions, largest first, whatever their sign."""
        order = np.argsort(-np.abs(self.values[row]), kind="stable").tolist()
        return {self.names[place]: float(self.values[row, place]) for place in order}


def permutation_importance(
    predict: Predict,
    X: ArrayLike,
    y: ArrayLike,
    *,
    score: str = "log_loss",
    names: Sequence[str] | None = None,
    together: Mapping[str, Sequence[str]] | None = None,
    repeats: int = 5,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Importance, ...]:
    """Each feature's importance on held-out rows, most important first.

    predict: from X, shape (m, d), to what the score takes (probabilities, labels, values). X: shape (n, d), float;
    y: shape (n,). together: names for groups of features to shuffle as one: alone, each of two that say the same looks
    unimportant, since the other still says it. Shuffling makes rows that never occur; trust small drops little.

    The interval says what the choice of rows and the shuffles leave open where the score has a closed form (see
    `interval`), and only what the shuffles do for other scores. Raises BadInput for shapes, unknown names, fewer than
    two repeats, a score of rankings or clusterings.
    Sources: Breiman, Random forests, Machine Learning 45, 2001; Fisher, Rudin & Dominici, All models are wrong, but
    many are useful, JMLR 20, 2019.
    """
    which = named(score)
    features = _matrix(X, len(np.asarray(y)))
    known = _names(names, features.shape[1])
    if repeats < 2 or not 0 < level < 1:
        raise BadInput(f"repeats is {repeats} and level {level}; give two repeats or more, and a level such as 0.95")
    if which.task in {"ranking", "clustering"}:
        raise BadInput(f"score {score!r} is for {which.task}; use one of rows, such as 'log_loss' or 'rmse'")
    sign = -1.0 if which.direction == "max" else 1.0
    whole = np.asarray(predict(features))
    before = float(which.function(y, whole))
    linear = influence(which, y, whole) if which.closed else None
    dice = np.random.default_rng(seed)
    found = []
    shuffled = features.copy()
    for name, places in _blocks(known, together):
        drops, changes = [], []
        for _ in range(repeats):
            order = dice.permutation(len(features))
            shuffled[:, places] = features[order][:, places]
            given = np.asarray(predict(shuffled))
            drops.append(sign * (float(which.function(y, given)) - before))
            if linear is not None:
                changes.append(_both_roles(less(influence(which, y, given), linear), order))
        shuffled[:, places] = features[:, places]
        drop = float(np.mean(drops))
        if changes:
            mean = np.mean(changes, axis=0)
            error, freedom = standard_error([(np.arange(len(mean)), mean)], None), len(mean) - 1
        else:
            error, freedom = float(np.std(drops, ddof=1) / np.sqrt(repeats)), repeats - 1
        found.append(Importance(name, drop, *t_interval(drop, error, freedom, level)))
    return tuple(sorted(found, key=lambda each: -each.drop))


def contributions(
    model: object,
    X: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    background: ArrayLike | None = None,
    output: int = 1,
    at_most: int = 1000,
    seed: int = 0,
) -> Contributions:
    """SHAP values of up to `at_most` rows of X (the first ones), shape (n, d). Needs the extra "explain".

    model: an estimator of trees (scikit-learn, LightGBM, XGBoost), explained exactly on its raw scale; or a function
    from rows to numbers, shape (m,) or (m, classes), explained against the background rows (by default 100 of X, by
    seed): exactly for up to ten features, by sampled permutations above. output: which class's, if there are several.

    Raises MissingExtra; BadInput for shapes, names, or a model that is neither (hand model.predict_proba over then).
    Sources: Lundberg & Lee, A unified approach to interpreting model predictions, NIPS 2017; Lundberg et al., From
    local explanations to global understanding with explainable AI for trees, Nature Machine Intelligence 2, 2020.
    """
    try:
        shap: Any = import_module("shap")  # Any: it ships no types
    except ImportError as error:
        raise MissingExtra("SHAP values need shap: pip install 'tidemill[explain]'") from error
    every = _matrix(X, None)
    known = _names(names, every.shape[1])
    rows = every[:at_most]
    if len(rows) == 0:
        raise NotEnoughRows("no rows to explain; give at least one")
    if hasattr(model, "predict"):
        try:
            explained = shap.TreeExplainer(model)(rows)
        except shap.utils._exceptions.InvalidModelError as error:
            raise BadInput(
                f"{type(model).__name__} is no model of trees; give a function, such as model.predict_proba"
            ) from error
        unit = "raw"
    elif callable(model):
        picked = np.random.default_rng(seed).permutation(len(every))[:100]
        beside = every[picked] if background is None else _matrix(background, None)
        masker = shap.maskers.Independent(beside, max_samples=len(beside))
        exact = every.shape[1] <= 10
        kind = shap.ExactExplainer(model, masker) if exact else shap.PermutationExplainer(model, masker, seed=seed)
        explained = kind(rows, silent=True)
        unit = "predicted"
    else:
        raise BadInput(f"{type(model).__name__} can neither predict nor be called; give an estimator or a function")
    values, base = np.asarray(explained.values, dtype=np.float64), np.asarray(explained.base_values, dtype=np.float64)
    if values.ndim == 3:
        if not 0 <= output < values.shape[2]:
            raise BadInput(f"output is {output}; the model has {values.shape[2]}, 0 to {values.shape[2] - 1}")
        values, base = values[:, :, output], base[..., output]
    return Contributions(known, values, np.broadcast_to(base, (len(rows),)).copy(), unit)


def _both_roles(parts: Linear, order: NDArray[np.int64]) -> Floats:
    """A row moves a shuffled score twice, as itself and where its value went to: the score is a two-sample mean."""
    values = np.zeros(len(order))
    for places, each in parts:
        values[places] = each
    both = values.copy()
    both[order] += values
    return both


def _matrix(X: ArrayLike, rows: int | None) -> Floats:
    features = np.array(X, dtype=np.float64)
    if features.ndim != 2 or (rows is not None and len(features) != rows):
        raise BadInput(f"X has shape {features.shape} for {rows} truths; it must be (n, d), a row for each truth")
    return features


def _names(names: Sequence[str] | None, width: int) -> tuple[str, ...]:
    known = tuple(f"x{place}" for place in range(width)) if names is None else tuple(names)
    if len(known) != width:
        raise BadInput(f"{len(known)} names for {width} features; give one each")
    return known


def _blocks(
    names: tuple[str, ...], together: Mapping[str, Sequence[str]] | None
) -> list[tuple[str, NDArray[np.int64]]]:
    grouped: dict[str, str] = {}
    for group, members in (together or {}).items():
        for member in members:
            if member not in names:
                raise BadInput(
                    f"no feature {member!r} for {group!r}; there are {', '.join(names)}.{nearest(member, names)}"
                )
            grouped[member] = group
    blocks: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        blocks.setdefault(grouped.get(name, name), []).append(place)
    return [(name, np.array(places, dtype=np.int64)) for name, places in blocks.items()]
