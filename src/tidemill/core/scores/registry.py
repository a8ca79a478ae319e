"""Every score by name: its formula, which way is better, which task it is for, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput, nearest
from tidemill.core.scores import binary, clustering, multiclass, ranking, regression
from tidemill.core.scores.checking import checked, numbers
from tidemill.core.scores.parts import Finish, Parts, mean_parts, ratio

Function = Callable[..., float]  # (y, predicted), and weights=, threshold=, groups= or k= where the score knows them
Direction = Literal["max", "min"]
Task = Literal["binary", "multiclass", "regression", "ranking", "clustering"]
Takes = Literal["score", "proba", "label", "value"]
Closed = Literal["share", "mean", "root_mean", "auc", "linear", ""]
PartsOf = Callable[[Any, Any], Parts]  # Any: arrays as `function` takes them


@dataclass(frozen=True, slots=True)
class Score:
    """One score.

    function: (y, predicted) -> float. direction: which way is better. takes: what `predicted` is: "score" any number
    that ranks; "proba" probabilities, shape (n,), or (n, classes) of a multiclass task; "label" predicted labels;
    "value" predicted numbers. For "ranking" function has a keyword `groups` (the query of each row). For "silhouette",
    "davies_bouldin" and "calinski_harabasz" y is the features, shape (n, d): `of` says "features".
    parts, finish: the score as sums over rows (see parts.py), where it is that. closed: which closed-form interval
    fits: of a "share" of rows, a "mean" over rows, its root, "auc", or by its "linear" form; "" for none.
    """

    name: str
    function: Function
    direction: Direction
    task: Task
    takes: Takes
    of: Literal["truth", "features"] = "truth"
    parts: PartsOf | None = None
    finish: Finish = ratio
    closed: Closed = ""


def _on(check: Callable[[ArrayLike, ArrayLike], tuple[Any, Any]], parts: Callable[..., Parts]) -> PartsOf:
    return lambda y, p: parts(*check(y, p))


def _mean(check: Callable[[ArrayLike, ArrayLike], tuple[Any, Any]], loss: Callable[[Any, Any], Any]) -> PartsOf:
    return lambda y, p: mean_parts(loss(*check(y, p)))


def _listed() -> tuple[Score, ...]:
    yes, no = binary, multiclass
    return (
        Score("auc", yes.auc, "max", "binary", "score", closed="auc"),
        Score(
            "log_loss", yes.log_loss, "min", "binary", "proba", parts=_mean(checked, yes.row_log_loss), closed="mean"
        ),
        Score("brier", yes.brier, "min", "binary", "proba", parts=_mean(checked, yes.row_brier), closed="mean"),
        Score(
            "accuracy", yes.accuracy, "max", "binary", "proba", parts=_on(checked, yes.accuracy_parts), closed="share"
        ),
        Score(
            "calibration_error",
            yes.expected_calibration_error,
            "min",
            "binary",
            "proba",
            parts=_on(checked, yes.calibration_parts),
            finish=yes.calibration_of,
        ),
        Score("pr_auc", yes.pr_auc, "max", "binary", "score", closed="linear"),
        Score(
            "precision",
            yes.precision,
            "max",
            "binary",
            "proba",
            parts=_on(checked, yes.precision_parts),
            closed="share",
        ),
        Score("recall", yes.recall, "max", "binary", "proba", parts=_on(checked, yes.recall_parts), closed="share"),
        Score("f1", yes.f1, "max", "binary", "proba", parts=_on(checked, yes.confusion_parts), finish=yes.f1_of),
        Score(
            "label_accuracy",
            no.label_accuracy,
            "max",
            "multiclass",
            "label",
            parts=no.label_accuracy_parts,
            closed="share",
        ),
        Score(
            "class_log_loss",
            no.class_log_loss,
            "min",
            "multiclass",
            "proba",
            parts=no.class_log_loss_parts,
            closed="mean",
        ),
        Score("class_brier", no.class_brier, "min", "multiclass", "proba", parts=no.class_brier_parts, closed="mean"),
        Score("class_auc", no.class_auc, "max", "multiclass", "proba", closed="linear"),
        Score(
            "class_calibration_error",
            no.class_calibration_error,
            "min",
            "multiclass",
            "proba",
            parts=no.class_calibration_parts,
            finish=yes.calibration_of,
        ),
        *(
            Score(name, function, "max", "multiclass", "label", parts=no.confusion_parts, finish=finish)
            for name, function, finish in (
                ("balanced_accuracy", no.balanced_accuracy, no.balanced_accuracy_of),
                ("macro_precision", no.macro_precision, no.macro_precision_of),
                ("macro_recall", no.macro_recall, no.macro_recall_of),
                ("macro_f1", no.macro_f1, no.macro_f1_of),
                ("matthews", no.matthews, no.matthews_of),
            )
        ),
        *_regression(),
        Score("ndcg", ranking.ndcg, "max", "ranking", "score"),
        Score("mean_average_precision", ranking.mean_average_precision, "max", "ranking", "score"),
        Score("mean_reciprocal_rank", ranking.mean_reciprocal_rank, "max", "ranking", "score"),
        Score("adjusted_rand", clustering.adjusted_rand, "max", "clustering", "label"),
        Score("normalized_mutual_information", clustering.normalized_mutual_information, "max", "clustering", "label"),
        Score("silhouette", clustering.silhouette, "max", "clustering", "label", of="features"),
        Score("davies_bouldin", clustering.davies_bouldin, "min", "clustering", "label", of="features"),
        Score("calinski_harabasz", clustering.calinski_harabasz, "max", "clustering", "label", of="features"),
    )


def _regression() -> tuple[Score, ...]:
    of, squares = regression, _on(numbers, regression.mse_parts)
    return (
        Score("mae", of.mae, "min", "regression", "value", parts=_on(numbers, of.mae_parts), closed="mean"),
        Score("mse", of.mse, "min", "regression", "value", parts=squares, closed="mean"),
        Score("rmse", of.rmse, "min", "regression", "value", parts=squares, finish=of.root_ratio, closed="root_mean"),
        Score("mape", of.mape, "min", "regression", "value", parts=_on(numbers, of.mape_parts), closed="mean"),
        Score("r2", of.r2, "max", "regression", "value", parts=_on(numbers, of.r2_parts), finish=of.r2_of),
        _quantile_loss(0.5),
    )


def _quantile_loss(q: float) -> Score:
    def parts(y: ArrayLike, p: ArrayLike) -> Parts:
        return regression.quantile_parts(*numbers(y, p), q)

    loss = partial(regression.quantile_loss, q=q)
    return Score("quantile_loss", loss, "min", "regression", "value", parts=parts, closed="mean")


_ALL = {score.name: score for score in _listed()}
_AT = {"ndcg": "ndcg@10", "quantile_loss": "quantile_loss@0.9"}  # names that take a number, by example

SCORES: dict[str, tuple[Function, Direction]] = {
    name: (score.function, score.direction) for name, score in _ALL.items() if score.task == "binary"
}


def names(task: Task | None = None) -> tuple[str, ...]:
    """The names of all scores, or of one task's."""
    return tuple(name for name, score in _ALL.items() if task in {None, score.task})


def named(name: str, task: Task | None = None) -> Score:
    """The score of that name; "ndcg@10" is of the first ten places, "quantile_loss@0.9" of the 0.9-quantile.

    task: what the score must be for. Raises BadInput for an unknown name (the nearest is named), a number that the
    score cannot have, or another task's score.

    >>> named("rmse").direction
    'min'
    """
    base, at, number = name.partition("@")
    if base not in _ALL or (at and base not in _AT):
        known = names(task)
        raise BadInput(f"no score {name!r}; known are {', '.join(known)}.{nearest(name, known)}")
    score = _ALL[base]
    if task is not None and score.task != task:
        raise BadInput(f"score {name!r} is for {score.task}, not {task}; for {task} there are {', '.join(names(task))}")
    if not at:
        return score
    try:
        if base == "ndcg" and int(number) >= 1:
            return replace(score, name=name, function=partial(ranking.ndcg, k=int(number)))
        if base == "quantile_loss" and 0 < float(number) < 1:
            return replace(_quantile_loss(float(number)), name=name)
    except ValueError:
        pass
    raise BadInput(f"no score {name!r}: {number!r} is not allowed after the @; write it as in {_AT[base]!r}")


def score_named(name: str) -> tuple[Function, Direction]:
    """The function of a binary classifier's score and whether more or less is better; BadInput names the nearest."""
    score = named(name, "binary")
    return score.function, score.direction


def all_scores(y: ArrayLike, p: ArrayLike) -> dict[str, float]:
    """Every score of a binary classifier that is defined for these rows (no AUC where y holds one class only)."""
    found = {name: function(y, p) for name, (function, _) in SCORES.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}
