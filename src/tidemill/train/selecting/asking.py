"""What a leaderboard is asked: candidates, rows and scores looked over before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.core import recipe as recipes
from tidemill.core import scores as registry
from tidemill.core.errors import BadInput, EmptyInput, nearest, require_columns
from tidemill.core.ids import canonical_json, digest
from tidemill.core.types import DatasetVersion, Matrix
from tidemill.train.fit import CodeOf, Prepared, prepare
from tidemill.train.matrix import keys_of, matrix, target_of, times_of
from tidemill.train.ranges import Fit, check_params, fit_name
from tidemill.train.selecting.baselines import BASELINES, is_baseline
from tidemill.train.selecting.candidates import Kind, kind_of
from tidemill.train.selecting.columns import scaled
from tidemill.train.selecting.judging import DEFAULT, Codes, Judge
from tidemill.train.selecting.series import of_train
from tidemill.train.targets import Task, classes_of, codes_of, score_of, task_of
from tidemill.train.tuning.trial import Rows

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.recipe import Recipe

BLOCKS = 30  # of consecutive rows, which count as independent in a forecast


@dataclass(frozen=True, slots=True)
class Asked:
    """The contest as it was asked for, after it was looked over. groups: of the held-out rows, as numbers."""

    fits: Mapping[str, Fit]
    params: Mapping[str, Mapping[str, Any]]
    prepared: Prepared
    rows: Rows
    judge: Judge
    seed: int
    level: float
    groups: Codes | None
    code: CodeOf


def look_over(
    fits: Sequence[Fit] | Fit,
    train: pl.DataFrame,
    held_out: pl.DataFrame,
    recipe: Recipe,
    *,
    target: str | None,
    key: str,
    time: str | None,
    inputs: tuple[DatasetVersion, ...],
    plan_digest: str,
    kind: Kind | None,
    score: str | None,
    params: Mapping[str, Mapping[str, Any]],
    groups: str | None,
    level: float,
    seed: int,
    code: CodeOf,
) -> Asked:
    """Raises for what can be seen to be wrong before anything is fitted; adds baselines where there are none."""
    named = _named(fits)
    if not 0 < level < 1:
        raise BadInput(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    for where, frame in (("training", train), ("held-out", held_out)):
        wanted = [column for column in (target, key, time) if column is not None]
        require_columns(wanted, frame.columns, where=f"the {where} rows")
        if frame.height == 0:
            raise EmptyInput(f"there are no {where} rows; check the split")
    require_columns([groups] if groups else [], held_out.columns, where="the held-out rows")
    kind, task = _kind_and_task(list(named.values()), train, target, kind, score)
    if kind == "forecast" and time is None:
        raise BadInput("a forecast needs rows with an event time; add them with event_time=")
    if not any(is_baseline(fit) for fit in named.values()):
        named = {**{fit_name(fit): fit for fit in BASELINES[kind]}, **named}
    for each, given in params.items():
        if each not in named:
            raise BadInput(f"params are given for {each!r}; there are {', '.join(named)}.{nearest(each, named)}")
        check_params(named[each], given)
    for each, fit in named.items():
        check_params(fit, params.get(each, {}))
    made = _prepared(
        train, recipe, target=target, key=key, time=time, inputs=inputs,
        plan_digest=plan_digest, kind=kind, task=task,
    )  # fmt: skip
    valid = _matrix(held_out, made.recipe, target, key, time, made.classes, task)
    rows = Rows(made.matrix, valid)
    if kind == "clustering":
        rows = _scaled(rows)
    full, direction = _score(kind, task, score, target)
    judge = Judge(kind, task, made.classes, full, direction, known=target is not None)
    places = _groups(rows, held_out, groups, kind)
    return Asked(named, params, made, rows, judge, seed, level, places, code)


def _kind_and_task(
    fits: Sequence[Fit], train: pl.DataFrame, target: str | None, kind: Kind | None, score: str | None
) -> tuple[Kind, Task]:
    found = kind or kind_of(fits)
    if target is None and found != "clustering":
        raise BadInput("target is None; only a clustering has none: give target=, or kind='clustering'")
    if target is None or found in ("regression", "forecast"):
        return found or "clustering", "regression"
    if found is None:
        column = train[target]
        number = column.dtype.is_float() and column.n_unique() > 2
        found = "regression" if number or task_of(train, target, [score or ""]) == "regression" else "classification"
    if found == "regression":
        return found, "regression"
    if found == "clustering":
        return found, "multiclass"
    task = task_of(train, target, [score or ""])
    if task == "regression":
        raise BadInput(f"score {score!r} is for regression, and these candidates are for {found}; choose another")
    return found, task


def _score(kind: Kind, task: Task, score: str | None, target: str | None) -> tuple[str, str]:
    if kind != "clustering":
        full, _, direction = score_of(score or DEFAULT[task], task)
        return full, direction
    found = registry.named(score or ("silhouette" if target is None else "adjusted_rand"), "clustering")
    if target is None and found.of != "features":
        raise BadInput(f"score {found.name!r} compares clusters with a target; give target=, or score='silhouette'")
    return found.name, found.direction


def _prepared(
    train: pl.DataFrame,
    recipe: Recipe,
    *,
    target: str | None,
    key: str,
    time: str | None,
    inputs: tuple[DatasetVersion, ...],
    plan_digest: str,
    kind: Kind,
    task: Task,
) -> Prepared:
    if kind != "clustering":
        assert target is not None
        made = prepare(
            train, recipe, target=target, key=key, time=time, inputs=inputs, plan_digest=plan_digest, task=task
        )
        if kind == "forecast":
            of_train(made.matrix)  # raises for rows that are no series, before any candidate does
        return made
    named = digest(canonical_json(recipes.to_json(recipe)))
    fitted = recipes.fit(recipe, train)
    classes = () if target is None else classes_of(train, target)
    rows = _matrix(train, fitted, target, key, time, classes, task)
    return Prepared(train, fitted, rows, target or "", key, time, inputs, plan_digest, named, task, classes)


def _matrix(
    frame: pl.DataFrame,
    recipe: Recipe,
    target: str | None,
    key: str,
    time: str | None,
    classes: Sequence[str | int],
    task: Task,
) -> Matrix:
    if target is not None and (classes or task != "multiclass"):
        return matrix(frame, recipe, target=target, key=key, time=time, classes=classes)
    X = np.ascontiguousarray(recipes.batch(recipe, frame), dtype=np.float64)
    y = np.zeros(len(X)) if target is None else target_of(frame, target)
    return Matrix(X, y, recipes.feature_names(recipe), keys_of(frame, key), times_of(frame, time))


def _scaled(rows: Rows) -> Rows:
    """Columns of mean 0 and variance 1, by the training rows, so that distances do not depend on units."""
    scaler = scaled("passthrough").fit(rows.train.X)
    train, valid = (
        Matrix(np.ascontiguousarray(scaler.transform(each.X)), each.y, each.names, each.keys, each.times)
        for each in (rows.train, rows.valid)
    )
    return Rows(train, valid)


def _groups(rows: Rows, held_out: pl.DataFrame, groups: str | None, kind: Kind) -> Codes | None:
    if groups is not None:
        return codes_of(held_out, groups, held_out[groups].unique().to_list()).astype(np.int64)
    if kind != "forecast":
        return None
    order = np.argsort(np.argsort(rows.valid.times, kind="stable"), kind="stable")
    blocks: Codes = order * min(BLOCKS, len(order)) // len(order)
    return blocks


def _named(fits: Sequence[Fit] | Fit) -> dict[str, Fit]:
    given = [fits] if callable(fits) else list(fits)
    if not given:
        raise BadInput("no candidates; give some, for example tm.candidates('classification')")
    named: dict[str, Fit] = {}
    for fit in given:
        if fit_name(fit) in named:
            raise BadInput(f"two candidates are named {fit_name(fit)!r}; give each function a name of its own")
        named[fit_name(fit)] = fit
    return named
