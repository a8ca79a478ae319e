"""How the answers of several models are judged on the same rows: scores, intervals, and who is as good as the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tidemill.core import scores as registry
from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.types import Matrix
from tidemill.train.scoring.compare import paired
from tidemill.train.scoring.intervals import interval
from tidemill.train.selecting import halving
from tidemill.train.targets import Task, all_scores, score_of

Floats = np.ndarray[Any, np.dtype[np.float64]]
Codes = np.ndarray[Any, np.dtype[np.int64]]
DEFAULT = {"binary": "auc", "multiclass": "class_log_loss", "regression": "mae"}


@dataclass(frozen=True, slots=True)
class Judge:
    """What is asked of models, and how it is scored.

    kind: "classification", "regression", "clustering" or "forecast". task: what the target is. score: its full name.
    known: of a clustering, whether the rows have a target to compare with.
    """

    kind: str
    task: Task
    classes: tuple[str | int, ...]
    score: str
    direction: str
    known: bool = True

    def scores(self, rows: Matrix, said: Floats) -> dict[str, float]:
        """All scores that are defined for these rows."""
        if self.kind != "clustering":
            return all_scores(self.task, rows.y, said)
        return halving.all_scores(rows.X, rows.y if self.known else None, said)

    def value(self, rows: Matrix, said: Floats) -> float:
        """The score; NaN where it is not defined."""
        if self.kind == "clustering":
            return halving.value(self.score, rows.X, rows.y, said)
        return float(score_of(self.score, self.task)[1](rows.y, said))

    def better(self, one: float, other: float) -> bool:
        """Whether one score is better than another."""
        return one > other if self.direction == "max" else one < other


@dataclass(frozen=True, slots=True)
class Standing:
    """The score of one model with its interval low..high (None where there is none; method then says why).

    difference, difference_low, difference_high, p_value: to the best model, paired by rows; p by Holm's method for all
    models that are compared with it, None for the best one itself and where there is no test. tied: the difference may
    be chance. over_baseline: better than the best baseline, by the same kind of test; None for a baseline.
    """

    value: float
    low: float | None
    high: float | None
    method: str
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    tied: bool | None = None
    over_baseline: bool | None = None


@dataclass(frozen=True, slots=True)
class _Test:
    difference: float
    low: float
    high: float
    p_value: float


def standings(
    judge: Judge,
    rows: Matrix,
    said: Mapping[str, Floats],
    *,
    baselines: Sequence[str],
    level: float,
    seed: int,
    groups: Codes | None,
) -> dict[str, Standing]:
    """Where each model stands, best first; those whose score is not defined come last.

    said: the answers for the rows, by name. groups: rows of one are not independent.
    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    values = {name: judge.value(rows, answers) for name, answers in said.items()}
    sign = -1.0 if judge.direction == "max" else 1.0
    order = sorted(values, key=lambda name: sign * values[name] if np.isfinite(values[name]) else np.inf)
    found: dict[str, Standing] = {}
    if judge.kind == "clustering":
        draws = halving.drawn(judge.score, rows.X, rows.y, said, seed=seed)
    for name in order:
        if judge.kind == "clustering":
            low, high, method = halving.interval(values[name], draws[name], level, rows=len(rows))
        else:
            low, high, method = _interval(judge, rows, said[name], level, seed, groups)
        found[name] = Standing(values[name], low, high, method)
    best = order[0]
    base = next((name for name in order if name in baselines), None)

    def test(one: str, other: str) -> _Test | None:
        if not (np.isfinite(values[one]) and np.isfinite(values[other])):
            return None
        if judge.kind == "clustering":
            return _of_halves(values[other] - values[one], draws[other] - draws[one], level)
        return _paired(judge, rows, said[one], said[other], level, seed, groups)

    to_best = {name: test(best, name) for name in order[1:]}
    adjusted = holm({name: each.p_value for name, each in to_best.items() if each is not None})
    for name, each in to_best.items():
        if each is not None:
            found[name] = replace(
                found[name],
                difference=each.difference,
                difference_low=each.low,
                difference_high=each.high,
                p_value=adjusted[name],
                tied=adjusted[name] >= 1 - level,
            )
    over = {} if base is None else {name: test(base, name) for name in order if name not in baselines}
    adjusted = holm({name: each.p_value for name, each in over.items() if each is not None})
    for name, p_value in adjusted.items():
        ahead = base is not None and judge.better(values[name], values[base]) and p_value < 1 - level
        found[name] = replace(found[name], over_baseline=ahead)
    return found


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for how many there are.

    >>> holm({"a": 0.01, "b": 0.04})
    {'a': 0.02, 'b': 0.04}
    """
    adjusted: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def _interval(
    judge: Judge, rows: Matrix, said: Floats, level: float, seed: int, groups: Codes | None
) -> tuple[float | None, float | None, str]:
    try:
        found = interval(rows.y, _taken(judge, said), judge.score, level=level, groups=groups, seed=seed)
    except (NotEnoughRows, BadInput) as error:
        return None, None, str(error)
    return found.low, found.high, found.method


def _paired(
    judge: Judge, rows: Matrix, one: Floats, other: Floats, level: float, seed: int, groups: Codes | None
) -> _Test | None:
    try:
        found = paired(
            rows.y, _taken(judge, one), _taken(judge, other),
            score=judge.score, alpha=1 - level, seed=seed, groups=groups,
        )  # fmt: skip
    except (NotEnoughRows, BadInput):
        return None
    return _Test(found.difference, found.low, found.high, found.p_value)


def _taken(judge: Judge, said: Floats) -> Floats:
    """As the score takes it: labels instead of the probabilities of classes."""
    if judge.task == "multiclass" and registry.named(judge.score).takes == "label":
        labels: Floats = said.argmax(axis=1).astype(np.float64)
        return labels
    return said


def _of_halves(difference: float, draws: Floats, level: float) -> _Test | None:
    low, high, _ = halving.interval(difference, draws, level)
    if low is None or high is None:
        return None
    return _Test(difference, low, high, halving.p_value(difference, draws))
