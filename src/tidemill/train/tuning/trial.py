"""One trial: a fit, scored on the validation rows, as a recorded run that is found again by its cache key.

A trial is done where the engine says. A worker opens the workspace by its URL and settings, reads the two matrices once
a process, and records the run itself, so its lease is the worker's: it is free when the worker dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np

from tidemill.core.recording import Recorder, done_before, recorded
from tidemill.core.settings import Settings
from tidemill.core.types import Artifact, Matrix, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.train import states
from tidemill.train.fit import answers, call
from tidemill.train.ranges import Fit, fit_name
from tidemill.train.reporting import Pruned, Report
from tidemill.train.resuming import Checkpoints
from tidemill.train.targets import Task, all_scores, score_of
from tidemill.train.tuning.pruners import pruner_named

Ended = Literal["done", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class Rows:
    """What all trials of a tuning share: training and validation rows as numbers."""

    train: Matrix
    valid: Matrix


@dataclass(frozen=True, slots=True)
class Job:
    """One trial to do. rows: the digest of both matrices in the store, where it is done elsewhere.

    key: the cache key. study, trial: Optuna's ids, for reports. score: the first one, by which reports are pruned.
    """

    fit: Fit
    params: Mapping[str, Any]
    seed: int
    key: str
    code: str
    parent: str
    inputs: tuple[tuple[str, Artifact], ...]
    task: Task
    classes: tuple[str | int, ...]
    score: str
    pruner: str
    study: str
    trial: int
    number: int
    url: str = ""
    settings: Settings | None = None
    rows: str = ""
    clock: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial came to; the estimator is there when it was fitted in this process."""

    ended: Ended
    run: str | None
    metrics: Mapping[str, float]
    text: str = ""
    wall_s: float = 0.0
    estimator: object | None = None


def perform(job: Job) -> Outcome:
    """Do the trial in a worker process. Raises the user function's error, after it is recorded."""
    assert job.settings is not None
    ws = replace(workspace_of(job.url, job.settings), clock=job.clock)
    with _judged(ws, job) as poor:
        return replace(attempt(ws, job, read_rows(ws, job.rows), poor), estimator=None)


def attempt(ws: Workspace, job: Job, rows: Rows, poor: Callable[[int, float], bool] | None) -> Outcome:
    """Do the trial, or take it from the run that did it. poor: whether a report means that it is given up.

    Raises the user function's error, after it is recorded.
    """
    before = done_before(ws, job.key)
    if before is not None:
        return Outcome("done", before.id, before.metrics, wall_s=before.duration_s or 0.0)
    with recorded(
        ws,
        "train.trial",
        fit_name(job.fit),
        inputs=job.inputs,
        params={**job.params, "seed": job.seed},
        tags={"trial": str(job.number)},
        key=job.key,
        code=job.code,
        parent=job.parent,
    ) as run:
        report = Report(run, score=lambda model: _score(job, rows, model), name=job.score, poor=poor)
        try:
            estimator = call(
                job.fit, rows.train, job.params, job.seed, report=report, checkpoints=Checkpoints(run, job.key)
            )
        except Pruned as given_up:
            return _pruned(ws, run, str(given_up))
        run.result(all_scores(job.task, rows.valid.y, answers(estimator, rows.valid.X, job.task, job.classes)))
    return Outcome("done", run.run.id, dict(run.metrics), wall_s=run.run.duration_s or 0.0, estimator=estimator)


def stored(ws: Workspace, rows: Rows) -> str:
    """Put both matrices into the store for workers; returns their digest."""
    return ws.store.put(states.encode([_plain(rows.train), _plain(rows.valid)]))


def _pruned(ws: Workspace, run: Recorder, text: str) -> Outcome:
    run.run = ws.graph.put_run(run.ended("cancelled", text))
    return Outcome("pruned", run.run.id, dict(run.metrics), text, run.run.duration_s or 0.0)


def _score(job: Job, rows: Rows, model: object) -> float:
    _, function, _ = score_of(job.score, job.task)
    return function(rows.valid.y, answers(model, rows.valid.X, job.task, job.classes))


@contextmanager
def _judged(ws: Workspace, job: Job) -> Iterator[Callable[[int, float], bool] | None]:
    """The pruner's verdict on a report, over the study in the graph, where other workers report too.

    At the end all reports are durable: what a trial reports after its end counts no more.
    """
    if job.pruner == "none":
        yield None
        return
    import optuna

    from tidemill.train.tuning.quiet import quiet
    from tidemill.train.tuning.storage import GraphStorage

    storage = GraphStorage(ws, requeue=False, runs=False)
    with closing(storage):
        with quiet():
            study = optuna.load_study(
                study_name=job.study,
                storage=storage,
                sampler=optuna.samplers.RandomSampler(seed=0),
                pruner=pruner_named(job.pruner),
            )
            trial = optuna.trial.Trial(study, job.trial)
        yield judge(trial)


def judge(trial: Any) -> Callable[[int, float], bool]:  # Any: Optuna's Trial, which is imported when it is used
    """Report to Optuna's trial and ask its pruner."""

    def poor(step: int, value: float) -> bool:
        if not np.isfinite(value):
            return False
        trial.report(value, step)
        return bool(trial.should_prune())

    return poor


def workspace_of(url: str, settings: Settings) -> Workspace:
    """The worker's own workspace, opened once."""
    if url not in _opened:
        _opened[url] = open_workspace(url, settings=settings, create=False)
    return _opened[url]


def read_rows(ws: Workspace, digest: str) -> Rows:
    """Both matrices; the last ones are kept, for a worker does many trials of one tuning."""
    if digest not in _kept:
        _kept.clear()
        train, valid = states.decode(ws.store.get(digest))
        _kept[digest] = Rows(_matrix(train), _matrix(valid))
    return _kept[digest]


_opened: dict[str, Workspace] = {}
_kept: dict[str, Rows] = {}


def _plain(rows: Matrix) -> dict[str, Any]:
    return {
        "X": rows.X,
        "y": rows.y,
        "names": list(rows.names),
        "keys": [str(key) for key in rows.keys],
        "times": rows.times,
    }


def _matrix(plain: Mapping[str, Any]) -> Matrix:
    keys = np.empty(len(plain["keys"]), dtype=object)
    keys[:] = plain["keys"]
    return Matrix(
        np.ascontiguousarray(plain["X"]),
        np.asarray(plain["y"]),
        tuple(plain["names"]),
        keys,
        np.asarray(plain["times"]),
    )


def run_of(ws: Workspace, run_id: str) -> Run:
    """The run of that id."""
    found = ws.graph.get(run_id)
    assert isinstance(found, Run)
    return found
