"""One candidate of a leaderboard: fitted, asked about the held-out rows and measured, as a run that is found again.

It is done where the engine says; a worker opens the workspace and records the run itself.
"""

from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from tidemill.core import locks
from tidemill.core.errors import BadInput
from tidemill.core.recording import Recorder, done_before, outputs_of, recorded
from tidemill.core.settings import Settings
from tidemill.core.types import Artifact, Matrix, Run
from tidemill.core.workspace import Workspace
from tidemill.train import states
from tidemill.train.fit import answers, call
from tidemill.train.ranges import Fit, fit_name
from tidemill.train.reporting import Report
from tidemill.train.resuming import Checkpoints
from tidemill.train.selecting.candidates import warm
from tidemill.train.selecting.judging import Judge
from tidemill.train.tuning.trial import Rows, read_rows, workspace_of

Floats = np.ndarray[Any, np.dtype[np.float64]]

ANSWERS = "answers"  # the kind of artifact, and its slot
WAIT_S = 3_600.0  # for another process that fits the same candidate
MEASURED = ("fit_s", "latency_us", "size_bytes")  # metrics of a run that are no scores
_LATENCY_CALLS = 50
_LATENCY_S = 0.5


@dataclass(frozen=True, slots=True)
class Job:
    """One candidate to fit. rows: the digest of both matrices in the store, where it is done elsewhere."""

    fit: Fit
    params: Mapping[str, Any]
    seed: int
    key: str
    code: str
    parent: str
    inputs: tuple[tuple[str, Artifact], ...]
    judge: Judge
    url: str = ""
    settings: Settings | None = None
    rows: str = ""
    clock: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate: its run and the artifact with its answers, or the text of its error."""

    name: str
    key: str
    run: str | None = None
    answers: Artifact | None = None
    metrics: Mapping[str, float] | None = None
    note: str = ""
    error: str = ""
    cached: bool = False


def perform(job: Job) -> Outcome:
    """Do it in a worker process. Raises the user function's error, after it is recorded."""
    assert job.settings is not None
    ws = replace(workspace_of(job.url, job.settings), clock=job.clock)
    made = attempt(ws, job, read_rows(ws, job.rows))
    return replace(made, answers=None)  # it is read from the graph: the graph in it cannot leave the process


def attempt(ws: Workspace, job: Job, rows: Rows) -> Outcome:
    """Do it, or take it from the run that did it; two processes that ask at once fit it once.

    Raises the user function's error, after it is recorded.
    """
    with locks.lease(ws, f"key/{job.key}", wait_s=WAIT_S) or nullcontext():
        return before(ws, job) or _fitted(ws, job, rows)


def before(ws: Workspace, job: Job) -> Outcome | None:
    """The run that did it before."""
    done = done_before(ws, job.key)
    return None if done is None else replace(outcome_of(ws, done), cached=True)


def outcome_of(ws: Workspace, run: Run) -> Outcome:
    """What a finished run came to."""
    (made,) = [artifact for slot, artifact in outputs_of(ws, run) if slot == ANSWERS]
    return Outcome(run.name, run.key or "", run.id, made, run.metrics, str(made.meta.get("note", "")))


def said(ws: Workspace, outcome: Outcome) -> Floats:
    """The candidate's answers for the held-out rows: as its score takes them, shape (n,) or (n, classes)."""
    assert outcome.answers is not None
    found: Floats = states.decode(ws.store.get(outcome.answers.digest))
    return found


def _fitted(ws: Workspace, job: Job, rows: Rows) -> Outcome:
    warm(job.fit)
    with recorded(
        ws,
        "train.candidate",
        fit_name(job.fit),
        inputs=job.inputs,
        params={**job.params, "seed": job.seed},
        key=job.key,
        code=job.code,
        parent=job.parent,
    ) as run:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            model, fit_s = _timed(job, run, rows.train)
        found = ask(model, job.judge, rows.valid)
        run.result({**job.judge.scores(rows.valid, found), "fit_s": fit_s})
        run.result({"latency_us": _latency_us(model, job.judge, rows.valid)})
        size = _size_bytes(model)
        run.result({} if size is None else {"size_bytes": size})
        note = str(heard[0].message).partition("\n")[0] if heard else ""
        data = states.encode(np.ascontiguousarray(found))
        run.emit_bytes(ANSWERS, fit_name(job.fit), data, meta={"rows": len(rows.valid), "note": note}, slot=ANSWERS)
    return outcome_of(ws, run.run)


def _timed(job: Job, run: Recorder, train: Matrix) -> tuple[object, float]:
    began = time.perf_counter()
    model = call(job.fit, train, job.params, job.seed, report=Report(run), checkpoints=Checkpoints(run, job.key))
    return model, time.perf_counter() - began


def ask(model: object, judge: Judge, rows: Matrix) -> Floats:
    """What a model says of each row. Raises BadInput for a model that cannot say it, or says it in another shape."""
    if judge.kind in ("classification", "regression"):
        return answers(model, rows.X, judge.task, judge.classes)
    named = "forecast" if judge.kind == "forecast" and hasattr(model, "forecast") else "predict"
    method: Callable[..., Any] | None = getattr(model, named, None)
    name = type(model).__name__
    if method is None:
        raise BadInput(f"{name} has no predict; return a fitted model with predict(X) from fit()")
    values = np.asarray(method(rows.times, rows.X) if named == "forecast" else method(rows.X), dtype=np.float64)
    if values.shape != (len(rows),) or not np.isfinite(values).all():
        raise BadInput(f"{name}.{named} gave shape {values.shape} for {len(rows)} rows; it must be one number each")
    return values


def _latency_us(model: object, judge: Judge, rows: Matrix) -> float:
    """The median time of asking about one row, in microseconds."""
    took: list[float] = []
    until = time.perf_counter() + _LATENCY_S
    for number in range(_LATENCY_CALLS + 1):
        place = number % len(rows)
        # Of a forecast always the next step: a later one means all steps up to it.
        one = slice(0, 1) if judge.kind == "forecast" else slice(place, place + 1)
        row = Matrix(rows.X[one], rows.y[one], rows.names, rows.keys[one], rows.times[one])
        began = time.perf_counter()
        ask(model, judge, row)
        ended = time.perf_counter()
        took.append(ended - began)
        if ended > until and number >= 3:
            break
    return float(np.median(took[1:])) * 1e6  # the first one warms up


def _size_bytes(model: object) -> float | None:
    """The size of the model as Python would send it to another process; None for one that cannot be sent."""
    try:
        return float(len(pickle.dumps(model, protocol=5)))
    except Exception:  # the user's model may raise anything here
        return None
