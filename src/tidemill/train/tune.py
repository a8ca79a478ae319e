"""Tuning: a search over algorithms and their ranges, each trial a recorded run, so that a killed search goes on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.core import extend
from tidemill.core.errors import BadInput, NotEnoughRows, require_columns
from tidemill.core.recording import done_before, recorded
from tidemill.core.scores import all_scores, score_named
from tidemill.core.types import DatasetVersion, Matrix
from tidemill.core.workspace import Workspace
from tidemill.train.fit import CodeOf, Fitted, Prepared, call, fit_key, fit_prepared, positive, prepare, source_of
from tidemill.train.matrix import matrix
from tidemill.train.ranges import Fit, check_params, defaults_of, distribution, fit_name, ranges_of

if TYPE_CHECKING:
    import polars as pl
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler

    from tidemill.core.recipe import Recipe

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class _Tried:
    """What one trial gave; the estimator is there when it was fitted in this process."""

    fit: Fit
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    estimator: object | None


@dataclass(frozen=True, slots=True)
class _Search:
    """What all trials of one tuning share."""

    fits: Mapping[str, Fit]
    prepared: Prepared
    valid: Matrix
    seed: int
    code: CodeOf
    parent: str


def tune(
    ws: Workspace,
    fits: Sequence[Fit] | Fit,
    train: pl.DataFrame,
    valid: pl.DataFrame,
    recipe: Recipe,
    *,
    target: str,
    key: str,
    time: str,
    score: str = "auc",
    trials: int = 20,
    seed: int = 0,
    inputs: tuple[DatasetVersion, ...],
    plan_digest: str,
    progress: Progress | None = None,
    sampler: str = "tpe",
    code: CodeOf = source_of,
) -> Fitted:
    """The best of `trials` fits on `train` by `score` on `valid`; ties go to the earlier trial.

    fits: functions of a Matrix, with ranges in Annotated parameters; which one is a choice of the search. The first
    trial of each has its default parameters. plan_digest: says which rows train and valid are. progress: called with
    (trials done, trials in all, text) after each. code: how a function's code is read (see fit_model).

    Recorded: a run "train.tune"; inside it one "train.trial" each (parameters and all scores on valid), a
    "train.baseline" (the training rows' share of positives as everyone's p) and the best one's "train.fit". The same
    call again, also after kill -9, takes finished trials from the graph and ends with the same model.
    Raises BadInput for an unknown score or sampler, and the user function's own error if it fails with its defaults;
    later trials that fail are recorded as failed and passed over.
    """
    named = _named(fits)
    function, _ = score_named(score)
    sampling = extend.load("sampler", sampler)(seed)
    if trials < len(named):
        raise BadInput(f"trials is {trials} for {len(named)} fits; give at least one each, for example {20}")
    require_columns([target, key, time], valid.columns, where="the validation rows")
    for fit in named.values():
        check_params(fit, defaults_of(fit))
    prepared = prepare(train, recipe, target=target, key=key, time=time, inputs=inputs, plan_digest=plan_digest)
    held_out = matrix(valid, prepared.recipe, target=target, key=key, time=time)
    if not np.isfinite(function(held_out.y, np.full(len(held_out), 0.5))):
        raise NotEnoughRows(
            f"target {target!r} is {held_out.y[0]:g} in all {len(held_out)} validation rows, so {score} is undefined; "
            "validate on more rows"
        )
    with recorded(
        ws,
        "train.tune",
        "+".join(named),
        inputs=[(version.name, version) for version in inputs],
        params={"score": score, "trials": trials, "seed": seed, "sampler": sampler, "fits": list(named)},
    ) as tuning:
        search = _Search(named, prepared, held_out, seed, code, tuning.run.id)
        baseline = _baseline(ws, search)
        best = _best_of(ws, search, score=score, trials=trials, sampler=sampling, progress=progress)
        fitted = fit_prepared(
            ws,
            best.fit,
            prepared,
            best.params,
            seed=seed,
            code=code,
            estimator=best.estimator,
            parent=tuning.run.id,
            metrics=best.metrics,
        )
        for slot, artifact in (
            ("recipe", fitted.recipe_artifact),
            ("profile", fitted.profile),
            ("rows", fitted.rows),
        ):
            tuning.link_output(artifact, slot)
        tuning.result({**best.metrics, "trials": trials})
    return replace(fitted, baseline=baseline)


def _best_of(
    ws: Workspace, search: _Search, *, score: str, trials: int, sampler: BaseSampler, progress: Progress | None
) -> _Tried:
    from optuna.trial import TrialState

    _, direction = score_named(score)
    best: _Tried | None = None
    with _quiet():
        study = _study(search, sampler, direction)
        for number in range(trials):
            # Replayed trials are asked and told too: the sampler then draws as it did before the process was killed.
            trial = study.ask()
            fit = search.fits[trial.suggest_categorical("fit", list(search.fits))]
            params = _suggest(trial, fit)
            try:
                tried = _trial(ws, search, fit, params)
            except Exception:  # the user's function; recorded as a failed run
                if number < len(search.fits):
                    raise
                study.tell(trial, state=TrialState.FAIL)
                _say(progress, number + 1, trials, f"{fit_name(fit)} failed, see its run")
                continue
            value = tried.metrics[score]
            study.tell(trial, value)
            if best is None or (value > best.metrics[score] if direction == "max" else value < best.metrics[score]):
                best = tried
            _say(progress, number + 1, trials, f"{fit_name(fit)} {score} {value:.4f}, best {best.metrics[score]:.4f}")
    assert best is not None  # the first trial of each fit has succeeded or raised
    return best


def _trial(ws: Workspace, search: _Search, fit: Fit, params: Mapping[str, Any]) -> _Tried:
    code_digest, text = search.code(fit)
    key = fit_key(ws, "train.trial", code_digest, search.prepared, params=params, seed=search.seed)
    before = done_before(ws, key)
    if before is not None:
        return _Tried(fit, params, before.metrics, None)
    with recorded(
        ws,
        "train.trial",
        fit_name(fit),
        inputs=[(version.name, version) for version in search.prepared.inputs],
        params={**params, "seed": search.seed},
        key=key,
        code=ws.store.put(text.encode()),
        parent=search.parent,
    ) as run:
        estimator = call(fit, search.prepared.matrix, params, search.seed)
        run.result(all_scores(search.valid.y, positive(estimator, search.valid.X)))
    return _Tried(fit, params, dict(run.metrics), estimator)


def _baseline(ws: Workspace, search: _Search) -> Mapping[str, float]:
    share = float(search.prepared.matrix.y.mean())
    key = fit_key(ws, "train.baseline", "constant", search.prepared, params={}, seed=0)
    before = done_before(ws, key)
    if before is not None:
        return before.metrics
    with recorded(
        ws,
        "train.baseline",
        "constant",
        inputs=[(version.name, version) for version in search.prepared.inputs],
        params={"p": share},
        key=key,
        parent=search.parent,
    ) as run:
        run.result(all_scores(search.valid.y, np.full(len(search.valid), share)))
    return dict(run.metrics)


def _study(search: _Search, sampler: BaseSampler, direction: str) -> Study:
    import optuna

    study = optuna.create_study(sampler=sampler, direction="maximize" if direction == "max" else "minimize")
    for name, fit in search.fits.items():
        study.enqueue_trial({"fit": name, **{f"{name}.{key}": value for key, value in defaults_of(fit).items()}})
    return study


def _suggest(trial: Trial, fit: Fit) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    given: dict[str, Any] = {}
    for name, values in ranges_of(fit).items():
        full, spread = f"{fit_name(fit)}.{name}", distribution(values)
        match spread:
            case FloatDistribution(low=low, high=high, log=log):
                given[name] = trial.suggest_float(full, low, high, log=log)
            case IntDistribution(low=low, high=high):
                given[name] = trial.suggest_int(full, low, high)
            case CategoricalDistribution(choices=choices):
                given[name] = trial.suggest_categorical(full, choices)
    return given


def _named(fits: Sequence[Fit] | Fit) -> dict[str, Fit]:
    given = [fits] if callable(fits) else list(fits)
    if not given:
        raise BadInput("no fits to tune; give at least one function def fit(train: tm.Matrix, ...) -> estimator")
    named: dict[str, Fit] = {}
    for fit in given:
        if fit_name(fit) in named:
            raise BadInput(f"two fits are named {fit_name(fit)!r}; give each function a name of its own")
        named[fit_name(fit)] = fit
    return named


def _say(progress: Progress | None, done: int, total: int, text: str) -> None:
    if progress is not None:
        progress(done, total, text)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's log lines (we say the same by `progress`) and its experimental-feature warnings from the user."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"optuna\.")
            yield
    finally:
        optuna.logging.set_verbosity(level)
