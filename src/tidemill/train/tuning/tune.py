"""Tuning: a search over algorithms and their ranges, each trial a recorded run, so that a killed search goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.core import extend, locks
from tidemill.core.engine import Engine, Resources
from tidemill.core.errors import BadInput, Busy, NotEnoughRows, NotFound, require_columns
from tidemill.core.recording import Recorder, done_before, recorded
from tidemill.core.types import Artifact, DatasetVersion, Matrix
from tidemill.core.workspace import Workspace
from tidemill.train.fit import CodeOf, Fitted, Prepared, fit_key, fit_prepared, prepare, source_of
from tidemill.train.matrix import matrix
from tidemill.train.ranges import Fit, check_params, conditions_of, defaults_of, fit_name, parameters_of, ranges_of
from tidemill.train.targets import Task, all_scores, constant, score_of, task_of
from tidemill.train.tuning.budgets import Budget
from tidemill.train.tuning.limits import Limit, limit_of
from tidemill.train.tuning.pruners import pruner_named
from tidemill.train.tuning.quiet import quiet
from tidemill.train.tuning.trial import Job, Rows, run_of

if TYPE_CHECKING:
    import polars as pl
    from optuna import Study

    from tidemill.core.recipe import Recipe
    from tidemill.train.tuning.search import Where

Progress = Callable[[int, int, str], None]
BEST_OF_EARLIER = 3  # trials of each earlier study that a warm start tries


@dataclass(frozen=True, slots=True)
class _Asked:
    """The search as it was asked for, after it was looked over."""

    fits: Mapping[str, Fit]
    scores: tuple[tuple[str, str], ...]
    sampler: str
    pruner: str
    limits: tuple[Limit, ...]
    seed: int
    start_from: tuple[str, ...]
    prepared: Prepared
    valid: Matrix
    code: CodeOf


def tune(
    ws: Workspace,
    fits: Sequence[Fit] | Fit,
    train: pl.DataFrame,
    valid: pl.DataFrame,
    recipe: Recipe,
    *,
    target: str,
    key: str,
    time: str | None,
    score: str | Sequence[str] = "auc",
    trials: int = 20,
    seed: int = 0,
    inputs: tuple[DatasetVersion, ...],
    plan_digest: str,
    progress: Progress | None = None,
    sampler: str = "tpe",
    code: CodeOf = source_of,
    task: Task | None = None,
    pruner: str = "none",
    constraints: Sequence[str] = (),
    start_from: Sequence[str] = (),
    time_s: float | None = None,
    cost: float | None = None,
    price_per_hour: float | None = None,
    engine: Engine | None = None,
    parallel: int | None = None,
    needs: Resources | None = None,
    trial_timeout_s: float | None = None,
    retries: int = 2,
) -> Fitted:
    """The best of `trials` fits on `train` by `score` on `valid`; ties go to the earlier trial.

    fits: functions of a Matrix, with ranges in Annotated parameters; which one is a choice of the search. The first
    trial of each has its default parameters. plan_digest: says which rows train and valid are. progress: called with
    (trials done, trials in all, text) after each. code: how a function's code is read (see fit_model).
    time: the event time, None where rows have none.
    task: by default as target and score ask for: binary, multiclass (text or whole numbers) or regression.
    score: several give a Pareto front (see `study_of`), of which the best by the first comes back.
    pruner: "median", "halving" or "hyperband" give up trials that report poor scores (parameter `report` of a fit).
    constraints: such as "log_loss <= 0.5" or "fit_s <= 10", which the best must keep to.
    start_from: ids of earlier tunings, whose best parameters are tried after the defaults.
    time_s, cost and price_per_hour: see Budget. engine: where trials are done, `parallel` at once (default: one a
    core), each with `needs` and at most trial_timeout_s; a trial whose worker died is done again, `retries` times.
    Without an engine they are done here, one after the other, and the search is repeatable to the bit.

    Recorded: a run "train.tune"; inside it one "train.trial" each (parameters and all scores on valid), a
    "train.baseline" (what knows only the training targets) and the best one's "train.fit". The same call again, also
    after kill -9, goes on with the study and ends with the same model.
    Raises BadInput for an unknown score, sampler, pruner or constraint, NotFound where no trial keeps to the
    constraints, Busy where another process does the same tuning, and the user function's own error if it fails with its
    defaults; later trials that fail are recorded as failed and passed over.
    """
    names = [score] if isinstance(score, str) else list(score)
    named = _look_over(
        fits,
        names,
        valid,
        trials=trials,
        sampler=sampler,
        pruner=pruner,
        columns=[name for name in (target, key, time) if name],
    )
    task = task or (task_of(train, target, names) if target in train.columns else "binary")
    directions = tuple((full, direction) for full, _, direction in (score_of(name, task) for name in names))
    budget = Budget(time_s, cost, price_per_hour)
    prepared = prepare(
        train, recipe, target=target, key=key, time=time, inputs=inputs, plan_digest=plan_digest, task=task
    )
    held_out = matrix(valid, prepared.recipe, target=target, key=key, time=time, classes=prepared.classes)
    _check_scores(prepared, held_out, [name for name, _ in directions], target)
    limits = tuple(limit_of(text, [*_known(prepared, held_out), "fit_s"]) for text in constraints)
    asked = _Asked(named, directions, sampler, pruner, limits, seed, tuple(start_from), prepared, held_out, code)
    at_once = _at_once(engine, parallel, needs)
    from tidemill.train.tuning.search import Where

    where = Where(engine, at_once, needs, trial_timeout_s, retries)
    with _alone(ws, asked) as study, _recorded(ws, asked, study, trials, budget) as tuning:
        return _tuned(ws, asked, study, tuning, trials=trials, budget=budget, where=where, progress=progress)


@contextmanager
def _alone(ws: Workspace, asked: _Asked) -> Iterator[str]:
    """The study's name, which no other process searches meanwhile."""
    name = _study_name(ws, asked)
    alone = locks.lease(ws, f"tuning/{name}")
    if alone is None:
        raise Busy("the same tuning goes on in another process; wait for it, or give another seed")
    with alone:
        yield name


def _recorded(
    ws: Workspace, asked: _Asked, study: str, trials: int, budget: Budget
) -> AbstractContextManager[Recorder]:
    names = [name for name, _ in asked.scores]
    return recorded(
        ws,
        "train.tune",
        "+".join(asked.fits),
        inputs=[(version.name, version) for version in asked.prepared.inputs],
        params={
            "score": names[0] if len(names) == 1 else names,
            "trials": trials,
            "seed": asked.seed,
            "sampler": asked.sampler,
            "fits": list(asked.fits),
            **_more(asked, budget),
        },
        tags={"study": study},
    )


def _look_over(
    fits: Sequence[Fit] | Fit,
    scores: Sequence[str],
    valid: pl.DataFrame,
    *,
    trials: int,
    sampler: str,
    pruner: str,
    columns: Sequence[str],
) -> dict[str, Fit]:
    """The fits by name. Raises for what can be seen to be wrong before anything is fitted."""
    named = _named(fits)
    if trials < len(named):
        raise BadInput(f"trials is {trials} for {len(named)} fits; give at least one each, for example {20}")
    if not scores:
        raise BadInput("score is empty; name one, such as score='auc'")
    require_columns(columns, valid.columns, where="the validation rows")
    extend.load("sampler", sampler)
    pruner_named(pruner)
    if len(scores) > 1 and pruner != "none":
        raise BadInput(f"pruner {pruner!r} needs one score, not {len(scores)}; leave the pruner out")
    for fit in named.values():
        check_params(fit, defaults_of(fit))
        conditions_of(fit)
    return named


def _tuned(
    ws: Workspace,
    asked: _Asked,
    study_name: str,
    tuning: Recorder,
    *,
    trials: int,
    budget: Budget,
    where: Where,
    progress: Progress | None,
) -> Fitted:
    from tidemill.train.tuning.search import RUN, Search, search

    with quiet():
        study = _study(ws, asked, study_name)
        what = Search(
            asked.fits,
            asked.scores,
            extend.load("sampler", asked.sampler),
            asked.seed,
            trials,
            asked.limits,
            budget,
            _job_of(ws, asked, tuning.run.id),
            Rows(asked.prepared.matrix, asked.valid),
            progress,
        )
        baseline = _baseline(ws, asked, tuning.run.id)
        best, estimator = search(ws, study, what, where)
    if best is None:
        limits = " and ".join(limit.text for limit in asked.limits)
        raise NotFound(f"no trial of {trials} keeps to {limits or 'a finite score'}; allow more trials, or relax it")
    run = run_of(ws, best.user_attrs[RUN])
    fit = asked.fits[best.params["fit"]]
    fitted = fit_prepared(
        ws,
        fit,
        asked.prepared,
        {name: value for name, value in run.params.items() if name in ranges_of(fit)},
        seed=asked.seed,
        code=asked.code,
        estimator=estimator,
        parent=tuning.run.id,
        metrics=run.metrics,
    )
    for slot, artifact in (("recipe", fitted.recipe_artifact), ("profile", fitted.profile), ("rows", fitted.rows)):
        tuning.link_output(artifact, slot)
    tuning.result({**run.metrics, "trials": trials})
    return replace(fitted, baseline=baseline)


def _study(ws: Workspace, asked: _Asked, name: str) -> Study:
    """The study, begun with the defaults and the best of earlier studies."""
    import optuna

    from tidemill.train.tuning.search import defaults_as_params
    from tidemill.train.tuning.storage import GraphStorage
    from tidemill.train.tuning.studies import best_params

    study = optuna.create_study(
        study_name=name,
        storage=GraphStorage(ws, requeue=False, runs=False),  # we take over what a killed search left, with its numbers
        sampler=optuna.samplers.RandomSampler(seed=asked.seed),
        pruner=pruner_named(asked.pruner),
        directions=["maximize" if direction == "max" else "minimize" for _, direction in asked.scores],
        load_if_exists=True,
    )
    if not study.user_attrs.get("begun"):
        for fit in asked.fits.values():
            study.enqueue_trial(defaults_as_params(fit), skip_if_exists=True)
        for earlier in asked.start_from:
            for params in best_params(ws, earlier, BEST_OF_EARLIER):
                if params.get("fit") in asked.fits:
                    study.enqueue_trial(params, skip_if_exists=True)
        study.set_user_attr("scores", [list(pair) for pair in asked.scores])
        study.set_user_attr("begun", True)
    return study


def _study_name(ws: Workspace, asked: _Asked) -> str:
    """Says what is searched: two calls that differ in trials, budget and engine alone go on with one study."""
    params = {
        "ranges": {
            name: [asked.code(fit)[0], {each: repr(values) for each, values in ranges_of(fit).items()}]
            for name, fit in asked.fits.items()
        },
        "scores": asked.scores,
        "sampler": asked.sampler,
        "pruner": asked.pruner,
        "limits": [limit.text for limit in asked.limits],
        "start_from": list(asked.start_from),
        "valid": len(asked.valid),
    }
    return "tune/" + fit_key(ws, "train.study", "", asked.prepared, params=params, seed=asked.seed)


def _job_of(ws: Workspace, asked: _Asked, parent: str) -> Callable[[Fit, Mapping[str, Any]], Job]:
    prepared = asked.prepared
    inputs = tuple((version.name, _bare(version.artifact)) for version in prepared.inputs)
    codes = {name: asked.code(fit) for name, fit in asked.fits.items()}
    texts = {name: ws.store.put(text.encode()) for name, (_, text) in codes.items()}

    def job_of(fit: Fit, params: Mapping[str, Any]) -> Job:
        name = fit_name(fit)
        # What a pruner did not stop counts in every study of the same rows, so it is not in the key.
        key = fit_key(ws, "train.trial", codes[name][0], prepared, params=params, seed=asked.seed)
        score = asked.scores[0][0]
        pruner = asked.pruner if "report" in parameters_of(fit) else "none"
        return Job(
            fit, params, asked.seed, key, texts[name], parent, inputs, prepared.task, prepared.classes, score,
            pruner, "", 0, 0,
        )  # fmt: skip

    return job_of


def _bare(artifact: Artifact) -> Artifact:
    """Without its graph, which cannot leave the process."""
    return replace(artifact, graph=None)


def _baseline(ws: Workspace, asked: _Asked, parent: str) -> Mapping[str, float]:
    prepared = asked.prepared
    said, params = constant(prepared.task, prepared.matrix.y, len(asked.valid), prepared.classes)
    key = fit_key(ws, "train.baseline", "constant", prepared, params={}, seed=0)
    before = done_before(ws, key)
    if before is not None:
        return before.metrics
    with recorded(
        ws,
        "train.baseline",
        "constant",
        inputs=[(version.name, version) for version in prepared.inputs],
        params=params,
        key=key,
        parent=parent,
    ) as run:
        run.result(all_scores(prepared.task, asked.valid.y, said))
    return dict(run.metrics)


def _check_scores(prepared: Prepared, valid: Matrix, names: Sequence[str], target: str) -> None:
    said, _ = constant(prepared.task, prepared.matrix.y, len(valid), prepared.classes)
    for name in names:
        if not np.isfinite(score_of(name, prepared.task)[1](valid.y, said)):
            raise NotEnoughRows(
                f"target {target!r} is {valid.y[0]:g} in all {len(valid)} validation rows, so {name} is undefined; "
                "validate on more rows"
            )


def _known(prepared: Prepared, valid: Matrix) -> list[str]:
    said, _ = constant(prepared.task, prepared.matrix.y, len(valid), prepared.classes)
    return list(all_scores(prepared.task, valid.y, said))


def _more(asked: _Asked, budget: Budget) -> dict[str, Any]:
    """The options that were given, for the run's parameters."""
    given = {
        "task": "" if asked.prepared.task == "binary" else asked.prepared.task,
        "pruner": "" if asked.pruner == "none" else asked.pruner,
        "constraints": [limit.text for limit in asked.limits],
        "start_from": list(asked.start_from),
        "time_s": budget.time_s,
        "cost": budget.cost,
        "price_per_hour": budget.price_per_hour,
    }
    return {name: value for name, value in given.items() if value}


def _at_once(engine: Engine | None, parallel: int | None, needs: Resources | None) -> int:
    if parallel is not None and parallel < 1:
        raise BadInput(f"parallel is {parallel}; it must be 1 or more")
    if engine is None:
        if parallel not in (None, 1):
            raise BadInput(f"parallel is {parallel} without an engine; hand one in, such as the process pool")
        return 1
    return parallel or max(1, int(engine.resources().cpu // (needs.cpu if needs and needs.cpu else 1)))


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
