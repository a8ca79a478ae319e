"""What a model predicts: a binary target, one of several classes, or a number; and how each is asked and scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tidemill.core import scores
from tidemill.core.errors import BadInput, NotEnoughRows, WrongType

if TYPE_CHECKING:
    import polars as pl

Task = Literal["binary", "multiclass", "regression"]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Direction = Literal["max", "min"]
Scored = Callable[[Floats, Floats], float]


def task_of(frame: pl.DataFrame, target: str, names: Sequence[str]) -> Task:
    """The task that these scores and this target ask for: a score of one task alone decides; then text and more than
    two whole numbers are classes."""
    bases = {name.partition("@")[0] for name in names}
    if bases & set(scores.names("regression")):
        return "regression"
    if bases & set(scores.names("multiclass")):
        return "multiclass"
    column = frame[target]
    if column.dtype.is_integer():
        return "multiclass" if column.n_unique() > 2 else "binary"
    return "multiclass" if str(column.dtype).partition("(")[0] in ("String", "Categorical", "Enum") else "binary"


def classes_of(frame: pl.DataFrame, target: str) -> tuple[str | int, ...]:
    """The classes of a target, sorted. Raises WrongType for fractions, BadInput for missing values."""
    column = frame[target]
    if column.null_count():
        raise BadInput(
            f"target {target!r} is missing in {column.null_count()} of {frame.height} rows; leave those rows out first"
        )
    if column.dtype.is_float():
        raise WrongType(f"target {target!r} is {column.dtype}; classes are text or whole numbers, so cast it first")
    found = column.unique().to_list()
    return tuple(sorted(int(each) if isinstance(each, bool) else each for each in found))


def codes_of(frame: pl.DataFrame, target: str, classes: Sequence[str | int]) -> Floats:
    """Each row's place among the classes, float64 of shape (n,). Raises BadInput for a class that is none of them."""
    place = {each: float(code) for code, each in enumerate(classes)}
    try:
        return np.array([place[each] for each in frame[target].to_list()], dtype=np.float64)
    except KeyError as error:
        shown = ", ".join(map(str, classes[:20]))
        raise BadInput(
            f"target {target!r} holds {error.args[0]!r}, which the training rows lack; they have {shown}"
        ) from None


def check(task: Task, y: Floats, target: str) -> None:
    """Raise NotEnoughRows for a target of one value, BadInput for a binary one that is not 0 and 1."""
    found = np.unique(y)
    if len(found) < 2:
        need = {"binary": "a classifier needs both 0 and 1", "multiclass": "a classifier needs two classes or more"}
        raise NotEnoughRows(
            f"target {target!r} is {found[0]:g} in all {len(y)} training rows; "
            f"{need.get(task, 'a regression needs values that differ')}"
        )
    if task == "binary" and not np.isin(found, (0.0, 1.0)).all():
        odd = found[~np.isin(found, (0.0, 1.0))][0]
        raise BadInput(f"target {target!r} holds {odd:g}; allowed are 0 and 1 (or true and false)")


def predicted(estimator: object, X: Floats, task: Task, classes: Sequence[object] = ()) -> Floats:
    """What an estimator says of each row: P(positive) or a value, shape (n,); P of each class, shape (n, k).

    Raises BadInput for an estimator without the method it takes, or one that answers in another shape.
    """
    name = type(estimator).__name__
    if task == "regression":
        method = getattr(estimator, "predict", None)
        if method is None:
            raise BadInput(f"{name} has no predict; return a fitted regressor from fit()")
        values = np.asarray(method(X), dtype=np.float64).reshape(len(X), -1)
        if values.shape != (len(X), 1) or not np.isfinite(values).all():
            raise BadInput(
                f"{name}.predict gave shape {values.shape} for {len(X)} rows; it must be one finite number each"
            )
        return np.ascontiguousarray(values[:, 0])
    method = getattr(estimator, "predict_proba", None)
    if method is None:
        raise BadInput(
            f"{name} has no predict_proba; return a fitted classifier from fit(), such as LogisticRegression"
        )
    answer = np.asarray(method(X), dtype=np.float64)
    known = getattr(estimator, "classes_", range(len(classes)))
    places = [int(each) for each in known]
    if answer.shape != (len(X), len(places)) or not np.isfinite(answer).all():
        raise BadInput(
            f"{name}.predict_proba gave shape {answer.shape} for {len(X)} rows; it must be ({len(X)}, {len(places)})"
        )
    full = np.zeros((len(X), len(classes)))
    full[:, places] = answer
    return full


def score_of(name: str, task: Task) -> tuple[str, Scored, Direction]:
    """The score's full name, its function of (y, what `predicted` gives), and whether more or less is better.

    A multiclass task also takes the names of two classes: "log_loss" is its "class_log_loss", "f1" its "macro_f1".
    Raises BadInput naming the nearest.
    """
    if task == "multiclass":
        name = next((full for full in (f"class_{name}", f"label_{name}", f"macro_{name}") if full in _MANY), name)
    score = scores.named(name, task)
    return score.name, _by_label(score.function) if score.takes == "label" else score.function, score.direction


def all_scores(task: Task, y: Floats, answers: Floats) -> dict[str, float]:
    """Every score of the task that is defined for these rows."""
    if task == "binary":
        return scores.all_scores(y, answers)
    found: dict[str, float] = {}
    for name in scores.names(task):
        _, function, _ = score_of(name, task)
        try:
            found[name] = function(y, answers)
        except (BadInput, NotEnoughRows):  # such as mape where y is 0: not defined for these rows
            continue
    return {name: value for name, value in found.items() if np.isfinite(value)}


def constant(task: Task, y: Floats, rows: int, classes: Sequence[object] = ()) -> tuple[Floats, Mapping[str, float]]:
    """The answers of a model that knows only the training targets (share, shares or mean), and its parameters."""
    if task == "multiclass":
        shares = np.bincount(y.astype(np.int64), minlength=len(classes)) / len(y)
        return np.tile(shares, (rows, 1)), {str(each): float(p) for each, p in zip(classes, shares, strict=True)}
    mean = float(y.mean())
    return np.full(rows, mean), {"p" if task == "binary" else "mean": mean}


def _by_label(function: Callable[..., float]) -> Scored:
    return lambda y, p: function(y, p.argmax(axis=1).astype(np.float64))


_MANY = scores.names("multiclass")
