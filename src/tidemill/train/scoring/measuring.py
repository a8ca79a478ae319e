"""What an evaluation measures of labelled rows and a model's answers to them, each part as JSON values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tidemill.core import scores
from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.train import targets
from tidemill.train.scoring.explaining import Importance, contributions, permutation_importance
from tidemill.train.scoring.fairness import fairness
from tidemill.train.scoring.intervals import Interval, interval, t_interval, wilson
from tidemill.train.scoring.slice_scores import scores_by_slice, weak_slices
from tidemill.train.scoring.thresholds import cheapest

if TYPE_CHECKING:
    import polars as pl

Floats = targets.Floats
Explain = Literal["permutation", "shap"]
Lines = list[dict[str, Any]]  # Any: JSON values

BINS = 10
LEVEL = 0.95
MOST_CLASSES = 20  # fairness asks each class against all others
PAIRED_COLUMNS = 15  # above that, weak slices are searched one column at a time
COSTS = ("false_positive", "false_negative", "true_positive", "true_negative")
# By slice two scores a task: one of order, one of size. A weak slice is one of a mean over rows.
BY_SLICE = {
    "binary": ("auc", "log_loss"),
    "multiclass": ("label_accuracy", "class_log_loss"),
    "regression": ("mae", "rmse"),
}
MEAN = {"binary": "log_loss", "multiclass": "class_log_loss", "regression": "mse"}


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows and what a model said of them.

    frame: n rows. y: 0 or 1, places among the classes, or values, shape (n,). said: P(positive) or values, shape (n,);
    P of each class, shape (n, k).
    """

    frame: pl.DataFrame
    y: Floats
    said: Floats
    task: targets.Task
    classes: tuple[str | int, ...] = ()

    def given(self, score: str) -> Floats:
        """What that score takes: the answers, or each row's most probable class."""
        return called(self.said) if scores.named(score).takes == "label" else self.said


def called(said: Floats) -> Floats:
    """The most probable class of each row, as its place."""
    places: Floats = said.argmax(axis=1).astype(np.float64)
    return places


def with_intervals(rows: Answered, *, cluster: str | None = None) -> dict[str, dict[str, Any]]:
    """Every score of the task that is defined for these rows, with its interval at 95 % (see `interval`).

    cluster: a column of which rows of one value are not independent (a day, a customer).
    """
    units = None if cluster is None else rows.frame[cluster].cast(str_type()).fill_null("(missing)").to_numpy()
    found: dict[str, dict[str, Any]] = {}
    for name in scores.names(rows.task):
        try:
            got = _interval(rows, name, units)
        except BadInput:  # not defined for these rows: mape where y is 0, AUC of one class
            continue
        if np.isfinite(got["value"]):
            found[name] = {**got, "direction": scores.named(name).direction}
    return found


def baseline(rows: Answered) -> dict[str, float]:
    """Scores of a model that says the same of each row: these rows' own share, shares or mean."""
    same, _ = targets.constant(rows.task, rows.y, len(rows.y), rows.classes)
    return targets.all_scores(rows.task, rows.y, same)


def calibration(rows: Answered) -> Lines:
    """What was said against what came, in bins: lines {rows, predicted, observed, observed_low, observed_high}.

    Binary: p in ten bins of equal width; multiclass: the probability of the class called, against how often it was
    right; regression: ten bins of equally many rows by predicted value. Intervals at 95 %: Wilson's of shares,
    Student's t of means.
    """
    if rows.task == "regression":
        return _binned_values(rows.y, rows.said)
    y, p = rows.y, rows.said
    if rows.task == "multiclass":
        y, p = (called(rows.said) == rows.y).astype(np.float64), rows.said.max(axis=1)
    lines = scores.calibration(y, np.clip(p, 0.0, 1.0), BINS)
    for line in lines:
        line["observed_low"], line["observed_high"] = wilson(line["observed"] * line["rows"], line["rows"], LEVEL)
    return lines


def by_class(rows: Answered) -> Lines:
    """Of each class: rows, how often it was called, precision and recall with Wilson's intervals."""
    said, lines = called(rows.said), []
    for place, name in enumerate(rows.classes):
        true, mine = rows.y == place, said == place
        hits = int((true & mine).sum())
        line: dict[str, Any] = {"class": str(name), "rows": int(true.sum()), "called": int(mine.sum())}
        for share, of in (("precision", line["called"]), ("recall", line["rows"])):
            low, high = wilson(hits, of, LEVEL)
            line[share] = {"value": hits / of if of else None, "low": low, "high": high}
        lines.append(line)
    return lines


def by_slice(rows: Answered, columns: Sequence[str]) -> Lines:
    """A line {column, value, rows, scores: {name: {value, low, high} or None}} of each value with 50 rows or more."""
    first, second = BY_SLICE[rows.task]
    made = [scores_by_slice(rows.frame, rows.y, rows.given(name), columns, score=name) for name in (first, second)]
    lines = []
    for pair in zip(*made, strict=True):
        line = {"column": pair[0].column, "value": pair[0].value, "rows": pair[0].rows}
        parts = {name: _three(each.score) for name, each in zip((first, second), pair, strict=True)}
        lines.append({**line, "scores": parts})
    return lines


def weak(rows: Answered, columns: Sequence[str]) -> dict[str, Any]:
    """The slices on which the model is worse than elsewhere, after Holm's correction for all that were looked at."""
    score = MEAN[rows.task]
    depth: Literal[1, 2] = 2 if len(columns) <= PAIRED_COLUMNS else 1
    found = weak_slices(rows.frame, rows.y, rows.given(score), columns, score=score, depth=depth)
    lines = [{**asdict(each), "where": [list(pair) for pair in each.where]} for each in found.found]
    return {
        "score": score,
        "overall": found.overall,
        "columns": list(columns),
        "depth": depth,
        "looked_at": found.looked_at,
        "correction": "holm",
        "found": lines,
    }


def threshold(rows: Answered, costs: Mapping[str, float]) -> dict[str, Any]:
    """The cheapest cut of these rows' probabilities; BadInput for other tasks and unknown costs."""
    if rows.task != "binary":
        raise BadInput(f"costs are of two classes, and the task is {rows.task}; leave costs out")
    unknown = sorted(set(costs) - set(COSTS))
    if unknown:
        raise BadInput(f"no cost {unknown[0]!r}; known are {', '.join(COSTS)}: costs={{'false_negative': 5}}")
    return {**cheapest(rows.y, rows.said, **costs).as_json(), "costs": dict(costs)}


def fair(rows: Answered, column: str, cut: float) -> dict[str, Any]:
    """How alike the values of a column are treated; of several classes, each against all others.

    cut: from which probability a row is called positive. Regression: each group's mean error with an interval.
    Raises NotEnoughRows for fewer than two groups of 30 rows.
    """
    names = rows.frame[column].cast(str_type()).to_list()
    if rows.task == "regression":
        return {"column": column, "groups": _errors(rows, names)}
    if rows.task == "binary":
        return {"column": column, **fairness(rows.y, rows.said, names, threshold=cut).as_json()}
    said, found = called(rows.said), []
    for place, name in list(enumerate(rows.classes))[:MOST_CLASSES]:
        mine = (said == place).astype(np.float64)
        one = fairness((rows.y == place).astype(np.float64), mine, names).as_json()
        groups = [{key: each for key, each in group.items() if key != "calibration_error"} for group in one["groups"]]
        found.append({"class": str(name), **one, "groups": groups})
    return {"column": column, "classes": found}


def importances(
    answer: Callable[[Floats], Floats],
    X: Floats,
    rows: Answered,
    *,
    names: Sequence[str],
    of: Mapping[str, str],
    at_most: int,
    seed: int = 0,
) -> dict[str, Any]:
    """How much worse the mean score gets when a column's values are shuffled, all features made of it together.

    answer: from X, shape (m, d), to what the model says. of: the column that each feature is made of.
    """
    picked = np.sort(np.random.default_rng(seed).permutation(len(X))[:at_most])
    together: dict[str, list[str]] = {}
    for name in names:
        together.setdefault(of[name], []).append(name)
    score = MEAN[rows.task]
    found: tuple[Importance, ...] = permutation_importance(
        answer, X[picked], rows.y[picked], score=score, names=names, together=together, seed=seed
    )
    lines = [asdict(each) for each in found]
    return {"method": "permutation", "score": score, "rows": len(picked), "repeats": 5, "columns": lines}


def shapley(
    model: object,
    X: Floats,
    *,
    names: Sequence[str],
    of: Mapping[str, str],
    classes: Sequence[str | int] = (),
    at_most: int = 500,
    seed: int = 0,
) -> dict[str, Any]:
    """Mean sizes of the Shapley values, a column's features added up row by row. Raises MissingExtra, BadInput.

    Of several classes: the mean over classes.
    """
    picked = np.sort(np.random.default_rng(seed).permutation(len(X))[:at_most])
    outputs = range(len(classes)) if len(classes) > 2 else (1,)
    columns = list(dict.fromkeys(of[name] for name in names))
    sizes = np.zeros(len(columns))
    unit = ""
    for output in outputs:
        got = contributions(model, X[picked], names=names, background=X, output=output)
        unit = got.unit
        for place, column in enumerate(columns):
            mine = [at for at, name in enumerate(got.names) if of[name] == column]
            sizes[place] += float(np.abs(got.values[:, mine].sum(axis=1)).mean()) / len(outputs)
    order = np.argsort(-sizes, kind="stable").tolist()
    lines = [{"name": columns[place], "size": float(sizes[place])} for place in order]
    return {"method": "shap", "unit": unit, "rows": len(picked), "columns": lines}


def str_type() -> Any:  # Any: a Polars type
    """Polars' text, loaded when asked for."""
    import polars as pl

    return pl.String


def _interval(rows: Answered, name: str, units: np.ndarray[Any, Any] | None) -> dict[str, Any]:
    given = rows.given(name)
    try:
        return interval(rows.y, given, name, level=LEVEL, groups=units).as_json()
    except NotEnoughRows as error:
        value = float(scores.named(name).function(rows.y, given))
        ends = {"low": None, "high": None, "level": LEVEL, "method": str(error)}
        return {"score": name, "value": value, **ends, "rows": len(rows.y), "units": len(rows.y)}


def _three(found: Interval | None) -> dict[str, float] | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def _binned_values(y: Floats, said: Floats) -> Lines:
    """Ten bins of equally many rows; rows of one predicted value stay together."""
    edges = np.unique(np.quantile(said, np.linspace(0, 1, BINS + 1)))
    places = np.clip(np.searchsorted(edges, said, side="right") - 1, 0, max(len(edges) - 2, 0))
    lines = []
    for place in np.unique(places).tolist():
        true, mine = y[places == place], said[places == place]
        mean = float(true.mean())
        error = float(true.std(ddof=1) / np.sqrt(len(true))) if len(true) > 1 else 0.0
        low, high = t_interval(mean, error, max(len(true) - 1, 1), LEVEL)
        line = {"low": float(mine.min()), "high": float(mine.max()), "rows": len(true)}
        ends = {"observed_low": low, "observed_high": high}
        lines.append({**line, "predicted": float(mine.mean()), "observed": mean, **ends})
    return lines


def _errors(rows: Answered, names: Sequence[str | None]) -> Lines:
    texts = np.array(["(missing)" if name is None else name for name in names], dtype=object)
    lines = []
    for name, count in zip(*np.unique(texts, return_counts=True), strict=True):
        if count < 30:
            continue
        off = (rows.y - rows.said)[texts == name]
        low, high = t_interval(float(off.mean()), float(off.std(ddof=1) / np.sqrt(count)), int(count) - 1, LEVEL)
        mae = _three(interval(rows.y[texts == name], rows.said[texts == name], "mae", level=LEVEL))
        lines.append({"group": str(name), "rows": int(count), "off": float(off.mean()), "off_low": low,
                      "off_high": high, "mae": mae})  # fmt: skip
    if len(lines) < 2:
        raise NotEnoughRows(f"{len(lines)} groups of 30 rows or more; give more rows, or another column")
    return sorted(lines, key=lambda line: -line["rows"])
