"""One fit as a recorded run: what it read, what it learned, the code and the exact row ids."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tidemill.core.errors import BadInput, require_columns
from tidemill.core.ids import canonical_json, digest, iso
from tidemill.core.recording import Recorder, done_before, environment, key_of, outputs_of, recorded
from tidemill.core.types import Artifact, DatasetVersion, Matrix, Run
from tidemill.core.workspace import Workspace
from tidemill.train.matrix import matrix
from tidemill.train.ranges import Fit, check_params, fit_name, parameters_of
from tidemill.train.reporting import NoCheckpoints, Report
from tidemill.train.resuming import Checkpoints
from tidemill.train.rowids import ROWS_META, pack_keys
from tidemill.train.targets import Task, check, classes_of, predicted

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.recipe import Recipe

Probabilities = np.ndarray[Any, np.dtype[np.float64]]


class Code(NamedTuple):
    """The code of a function: a digest by which it counts as changed, and its text for people."""

    digest: str
    text: str


CodeOf = Callable[[Fit], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model in memory, with the records of how it came to be.

    estimator: what the user's function returned. recipe: fitted on the training rows. run: id of the "train.fit" run.
    recipe_artifact, profile, rows: artifacts of that run; the profile's JSON holds the frozen bins and the training
    rows' counts of the raw input columns, rows the ids of the rows used. time: the event time, None where rows have
    none. data_time: ISO time until which the training rows were known. metrics, baseline: scores on the validation
    rows, of this model and of the constant prior (empty after a plain fit). tuning: id of the "train.tune" run that
    chose it first.
    classes: of a "multiclass" task, in the order of what `predict` gives.
    """

    estimator: object
    recipe: Recipe
    params: Mapping[str, Any]
    fit_name: str
    run: str
    recipe_artifact: Artifact
    profile: Artifact
    rows: Artifact
    inputs: tuple[DatasetVersion, ...]
    target: str
    key: str
    time: str | None
    names: tuple[str, ...]
    data_time: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)
    tuning: str | None = None
    task: Task = "binary"
    classes: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """Training rows with the recipe fitted on them and their matrix: shared by all trials of a tuning."""

    frame: pl.DataFrame
    recipe: Recipe
    matrix: Matrix
    target: str
    key: str
    time: str | None
    inputs: tuple[DatasetVersion, ...]
    plan_digest: str
    recipe_digest: str
    task: Task = "binary"
    classes: tuple[str | int, ...] = ()


def source_of(fit: Fit) -> Code:
    """The source text of the function itself; functions that it calls do not count."""
    try:
        text = inspect.getsource(fit)
    except (OSError, TypeError) as error:
        raise BadInput(
            f"no source text for {fit_name(fit)}(); put it in a .py file, so that its code can be recorded"
        ) from error
    return Code(digest(text.encode()), text)


def fit_model(
    ws: Workspace,
    fit: Fit,
    rows_frame: pl.DataFrame,
    recipe: Recipe,
    *,
    target: str,
    key: str,
    time: str | None,
    params: Mapping[str, Any],
    inputs: tuple[DatasetVersion, ...],
    plan_digest: str,
    seed: int = 0,
    code: CodeOf = source_of,
    task: Task = "binary",
) -> Fitted:
    """Fit the recipe and then the estimator on these rows, recorded as a run "train.fit".

    time: the event time, None where rows have none. plan_digest: says which rows these are (same digest, same rows).
    code: how the function's code is read; flow's code_of also counts the project functions that it calls. A fit that
    was recorded before under the same code, data, parameters, seed and environment is repeated in memory (an estimator
    is never read from disk) and shares its run. Raises what `matrix` raises, BadInput for unknown parameters,
    NotEnoughRows for a target of one class only.
    """
    prepared = prepare(
        rows_frame, recipe, target=target, key=key, time=time, inputs=inputs, plan_digest=plan_digest, task=task
    )
    return fit_prepared(ws, fit, prepared, params, seed=seed, code=code)


def prepare(
    frame: pl.DataFrame,
    recipe: Recipe,
    *,
    target: str,
    key: str,
    time: str | None,
    inputs: tuple[DatasetVersion, ...],
    plan_digest: str,
    task: Task = "binary",
) -> Prepared:
    """Fit the recipe on the rows and make their matrix; of a "multiclass" target y holds places among its classes."""
    from tidemill.core import recipe as recipes

    require_columns(
        [name for name in (target, key, time) if name is not None], frame.columns, where="the training rows"
    )
    before = digest(canonical_json(recipes.to_json(recipe)))
    fitted = recipes.fit(recipe, frame)
    classes = classes_of(frame, target) if task == "multiclass" else ()
    made = matrix(frame, fitted, target=target, key=key, time=time, classes=classes)
    check(task, made.y, target)
    return Prepared(frame, fitted, made, target, key, time, inputs, plan_digest, before, task, classes)


def fit_prepared(
    ws: Workspace,
    fit: Fit,
    prepared: Prepared,
    params: Mapping[str, Any],
    *,
    seed: int = 0,
    code: CodeOf = source_of,
    estimator: object | None = None,
    parent: str | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Fitted:
    """`fit_model` on prepared rows. estimator: already fitted on them with these parameters, so only recorded."""
    check_params(fit, params)
    code_digest, text = code(fit)
    key = fit_key(ws, "train.fit", code_digest, prepared, params=params, seed=seed)
    before = done_before(ws, key)
    if before is not None:
        return _fitted(
            call(fit, prepared.matrix, params, seed) if estimator is None else estimator,
            prepared,
            before,
            fit=fit,
            params=params,
            made=dict(outputs_of(ws, before)),
            metrics=metrics,
        )
    with recorded(
        ws,
        "train.fit",
        fit_name(fit),
        inputs=[(version.name, version) for version in prepared.inputs],
        params={**params, "seed": seed, "target": prepared.target, **_named_task(prepared)},
        key=key,
        code=ws.store.put(text.encode()),
        parent=parent,
    ) as run:
        model = (
            call(fit, prepared.matrix, params, seed, report=Report(run), checkpoints=Checkpoints(run, key))
            if estimator is None
            else estimator
        )
        made = _emit(ws, run, prepared, fit_name(fit))
        run.result({"rows": len(prepared.matrix), "features": len(prepared.matrix.names), **(metrics or {})})
    return _fitted(model, prepared, run.run, fit=fit, params=params, made=made, metrics=metrics)


def fit_key(
    ws: Workspace, kind: str, code_digest: str, prepared: Prepared, *, params: Mapping[str, Any], seed: int
) -> str:
    """The cache key of a fit: code, rows, recipe, parameters, seed and environment."""
    return key_of(
        kind,
        1,
        code_digest,
        prepared.plan_digest,
        [version.digest for version in prepared.inputs],
        prepared.recipe_digest,
        [prepared.target, prepared.key, prepared.time, prepared.frame.height],
        dict(params),
        seed,
        environment(ws),
        # Keys of binary targets stay as they were before there were other tasks.
        *([] if prepared.task == "binary" else [prepared.task]),
    )


def call(
    fit: Fit,
    train: Matrix,
    params: Mapping[str, Any],
    seed: int,
    *,
    report: Report | None = None,
    checkpoints: Checkpoints | NoCheckpoints | None = None,
) -> object:
    """Call the user's function, repeatably: it gets `seed`, `report` and `checkpoints` where it has such parameters.

    Without a run to report to, reports are dropped, and there are no checkpoints.
    """
    given = dict(params)
    extra = {"seed": seed, "report": report or Report(None), "checkpoints": checkpoints or NoCheckpoints()}
    for name in parameters_of(fit).keys() & extra.keys():
        given.setdefault(name, extra[name])
    with seeded(seed):
        return fit(train, **given)


def predict(fitted: Fitted, frame: pl.DataFrame) -> Probabilities:
    """What the model says of each row: P(positive), a value, or P of each class. Shape (n,), or (n, classes).

    Raises UnknownColumn and WrongType where the frame does not fit.
    """
    from tidemill.core.recipe import batch

    return answers(fitted.estimator, batch(fitted.recipe, frame), fitted.task, fitted.classes)


def answers(
    estimator: object,
    X: np.ndarray[Any, np.dtype[np.float64]],
    task: Task = "binary",
    classes: tuple[str | int, ...] = (),
) -> Probabilities:
    """What an estimator says of each row of X, as `predict`. Raises BadInput for answers of another shape."""
    return positive(estimator, X) if task == "binary" else predicted(estimator, X, task, classes)


def positive(estimator: object, X: np.ndarray[Any, np.dtype[np.float64]]) -> Probabilities:
    """P(positive) of each row of X by a scikit-learn classifier, shape (n,).

    Raises BadInput for an estimator without predict_proba, or one that answers with no probability.
    """
    method = getattr(estimator, "predict_proba", None)
    name = type(estimator).__name__
    if method is None:
        raise BadInput(
            f"{name} has no predict_proba; return a fitted classifier from fit(), such as LogisticRegression"
        )
    if len(X) == 0:
        return np.empty(0)
    answer = np.asarray(method(X), dtype=np.float64)
    if answer.shape != (len(X), 2):
        raise BadInput(f"{name}.predict_proba gave shape {answer.shape} for {len(X)} rows; it must be ({len(X)}, 2)")
    p: Probabilities = np.ascontiguousarray(answer[:, 1])
    if not (np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1):
        raise BadInput(f"{name}.predict_proba gave values from {p.min()} to {p.max()}; they must lie in 0..1")
    return p


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators for the body and put them back after it.

    An estimator without random_state draws from them (scikit-learn's default), so a fit could not be repeated.
    """
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _emit(ws: Workspace, run: Recorder, prepared: Prepared, name: str) -> dict[str, Artifact]:
    from tidemill.core import profile
    from tidemill.core import recipe as recipes

    columns = recipes.needs(prepared.recipe)
    raw = prepared.frame.select(list(columns))
    bins = profile.bins_of(raw)
    counts = profile.count(bins, raw)
    return {
        "recipe": run.emit_json(
            "recipe",
            name,
            recipes.to_json(prepared.recipe),
            meta={"features": list(prepared.matrix.names), "needs": dict(columns)},
            slot="recipe",
        ),
        "profile": run.emit_json(
            "profile",
            name,
            {"format": 1, "bins": profile.bins_to_json(bins), "counts": profile.counts_to_json(counts)},
            meta={"rows": prepared.frame.height},
            slot="profile",
        ),
        "rows": run.emit_bytes(
            "rows",
            name,
            pack_keys(prepared.matrix.keys.tolist()),
            meta={
                **ROWS_META,
                "rows": len(prepared.matrix),
                "key": prepared.key,
                "data_time": _data_time(ws, prepared),
            },
            slot="rows",
        ),
    }


def _data_time(ws: Workspace, prepared: Prepared) -> str:
    if ws.clock is not None:
        return iso(ws.clock)
    if prepared.time is None:  # then a version's own time is the last at which its rows can have been known
        return iso(max((version.artifact.created_at for version in prepared.inputs), default=ws.now))
    return iso(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(prepared.matrix.times.max())))


def _fitted(
    model: object,
    prepared: Prepared,
    run: Run,
    *,
    fit: Fit,
    params: Mapping[str, Any],
    made: Mapping[str, Artifact],
    metrics: Mapping[str, float] | None,
) -> Fitted:
    return Fitted(
        estimator=model,
        recipe=prepared.recipe,
        params=dict(params),
        fit_name=fit_name(fit),
        run=run.id,
        recipe_artifact=made["recipe"],
        profile=made["profile"],
        rows=made["rows"],
        inputs=prepared.inputs,
        target=prepared.target,
        key=prepared.key,
        time=prepared.time,
        names=prepared.matrix.names,
        data_time=str(made["rows"].meta["data_time"]),
        metrics=dict(metrics or {}),
        tuning=run.parent,
        task=prepared.task,
        classes=prepared.classes,
    )


def _named_task(prepared: Prepared) -> dict[str, Any]:
    return {} if prepared.task == "binary" else {"task": prepared.task, "classes": list(prepared.classes)}
