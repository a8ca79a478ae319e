"""A leaderboard: every candidate fitted on the same rows and judged on the same held-out ones, beside its baselines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tidemill.core.engine import Engine, Resources
from tidemill.core.errors import BadInput, NotFound, Refused, nearest
from tidemill.core.recording import Recorder, outputs_of, recorded
from tidemill.core.types import Artifact, DatasetVersion, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.train import leakage, looks
from tidemill.train.fit import CodeOf, fit_key, source_of
from tidemill.train.ranges import Fit, fit_name
from tidemill.train.selecting import boards
from tidemill.train.selecting.asking import Asked, look_over
from tidemill.train.selecting.baselines import is_baseline
from tidemill.train.selecting.boards import Leaderboard, Line
from tidemill.train.selecting.candidates import Kind
from tidemill.train.selecting.contest import MEASURED, Job, Outcome, attempt, before, outcome_of, perform, said
from tidemill.train.selecting.judging import standings
from tidemill.train.tuning.trial import Rows, run_of, stored

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.recipe import Recipe

Progress = Callable[[int, int, str], None]


def leaderboard(
    ws: Workspace,
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
    name: str | None = None,
    kind: Kind | None = None,
    score: str | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    groups: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    leaks: Literal["show", "refuse"] = "show",
    engine: Engine | None = None,
    needs: Resources | None = None,
    timeout_s: float | None = None,
    code: CodeOf = source_of,
    progress: Progress | None = None,
) -> Leaderboard:
    """Fit each candidate on `train`, score it on `held_out`, and say who is best and who may be as good.

    fits: functions of a Matrix (see `candidates`); where no baseline is among them, the task's baselines are added.
    params: values for parameters by the candidate's name; else their defaults. kind: by default as the fits and the
    target say. target: None only for a clustering. time: the event time, None where rows have none (which a forecast
    needs). score: by default AUC, log loss of classes, MAE, or the silhouette. groups: a column whose rows are not
    independent of each other; of a forecast 30 blocks of consecutive rows are that by default. leaks: "refuse" raises
    Refused where a finding of severity "error" is there, before anything is fitted. engine: where candidates are
    fitted, each with `needs` and at most timeout_s; without one here, one by one. Times are honest only where
    candidates do not share cores. plan_digest: says which rows these are.

    A clustering is fitted and scored on columns of mean 0 and variance 1, by at most 2,000 of the held-out rows.
    Recorded: a run "train.leaderboard" with the report; inside it one "train.candidate" each, which is found again when
    the same is asked, also after kill -9. A candidate that fails is told in the table. The look at the held-out rows is
    counted (`looks.of`). Raises BadInput for unknown kinds, scores, parameters and bad targets; what `matrix` raises.
    """
    asked = look_over(
        fits, train, held_out, recipe, target=target, key=key, time=time, inputs=inputs, plan_digest=plan_digest,
        kind=kind, score=score, params=params or {}, groups=groups, level=level, seed=seed, code=code,
    )  # fmt: skip
    findings = _findings(train, held_out, recipe, target=target, key=key, time=time, groups=groups)
    serious = [finding.text for finding in findings if finding.severity == "error"]
    if leaks == "refuse" and serious:
        raise Refused(f"{'; '.join(serious)}. Mend the split or the recipe, or give leaks='show'")
    name = name or (inputs[0].name if inputs else target or "rows")
    with recorded(
        ws,
        "train.leaderboard",
        name,
        inputs=[(version.name, version) for version in inputs],
        params={
            "kind": asked.judge.kind,
            "score": asked.judge.score,
            "fits": list(asked.fits),
            "target": target,
            "groups": groups,
            "level": level,
            "seed": seed,
        },
    ) as run:
        jobs = _jobs(ws, asked, run.run.id)
        outcomes = _contest(ws, jobs, asked.rows, engine, needs=needs, timeout_s=timeout_s, progress=progress)
        seen = looks.look(
            ws,
            looks.digest_of(held_out, key=key, target=target),
            rows=held_out.height,
            what="leaderboard",
            models=[outcome.key for outcome in outcomes if not outcome.error],
            run=run.run.id,
            score=asked.judge.score,
        )
        board = replace(_board(ws, asked, outcomes, name, target), findings=tuple(findings), run=run.run.id)
        board = replace(board, looks={**seen.as_json(), "text": seen.text})
        _record(run, board, outcomes)
    return board


def read(ws: Workspace, which: str) -> Leaderboard:
    """The leaderboard that `find` finds. Raises what it raises, WrongFormat for one of a newer tidemill."""
    return boards.from_json(json.loads(ws.store.get(find(ws, which).digest)))


def find(ws: Workspace, which: str) -> Artifact:
    """The newest report of the leaderboard of that name, or the one of that run or of that report's id.

    Raises NotFound, naming the nearest name.
    """
    named = ws.graph.find(Query("artifact", kind="report", name=f"leaderboard/{which}", limit=1))
    found: list[Any] = [*named]
    if not found:
        try:
            node = ws.graph.get(which)
        except (NotFound, BadInput):  # BadInput: some digits that begin several ids
            node = None
        found = [artifact for _, artifact in outputs_of(ws, node)] if isinstance(node, Run) else [node]
    for each in found:
        if isinstance(each, Artifact) and each.kind == "report" and each.meta.get("what") == "leaderboard":
            return each
    known = [each.name.removeprefix("leaderboard/") for each in listed(ws)]
    there = f"there are {', '.join(known)}" if known else "there is none yet: `tidemill leaderboard run` makes one"
    raise NotFound(f"no leaderboard {which!r}; {there}.{nearest(which, known)}")


def recorded_as(ws: Workspace, name: str, *, limit: int = 100) -> list[Artifact]:
    """All reports of the leaderboard of that name, newest first."""
    found = ws.graph.find(Query("artifact", kind="report", name=f"leaderboard/{name}", limit=limit))
    return [each for each in found if isinstance(each, Artifact)]


def listed(ws: Workspace) -> list[Artifact]:
    """The newest report of each leaderboard, newest first."""
    newest: dict[str, Artifact] = {}
    for each in ws.graph.find(Query("artifact", kind="report", text="leaderboard/", limit=10_000)):
        assert isinstance(each, Artifact)
        if each.name.startswith("leaderboard/"):
            newest.setdefault(each.name, each)
    return list(newest.values())


def _findings(
    train: pl.DataFrame,
    held_out: pl.DataFrame,
    recipe: Recipe,
    *,
    target: str | None,
    key: str,
    time: str | None,
    groups: str | None,
) -> list[leakage.Finding]:
    """Leaks; a group on both sides is no error here: `groups` says how much its rows count, not where they belong."""
    columns = list(dict.fromkeys(column for step in recipe.steps for column in step.columns))
    apart = [groups] if groups is not None and groups in train.columns else []
    found = leakage.check(train, held_out, key=key, target=target, columns=columns, time=time, groups=apart)
    return [replace(each, severity="warn") if each.kind == "same group" else each for each in found]


def _jobs(ws: Workspace, asked: Asked, parent: str) -> list[Job]:
    prepared, judge = asked.prepared, asked.judge
    inputs = tuple((version.name, replace(version.artifact, graph=None)) for version in prepared.inputs)
    jobs: list[Job] = []
    for name, fit in asked.fits.items():
        code_digest, text = asked.code(fit)
        given = dict(asked.params.get(name, {}))
        key = fit_key(
            ws,
            "train.candidate",
            code_digest,
            prepared,
            params={"kind": judge.kind, "given": given, "held_out": len(asked.rows.valid)},
            seed=asked.seed,
        )
        jobs.append(Job(fit, given, asked.seed, key, ws.store.put(text.encode()), parent, inputs, judge))
    return jobs


def _contest(
    ws: Workspace,
    jobs: Sequence[Job],
    rows: Rows,
    engine: Engine | None,
    *,
    needs: Resources | None,
    timeout_s: float | None,
    progress: Progress | None,
) -> list[Outcome]:
    """What became of each job, in their order; an error is told, not raised."""
    known = {job.key: before(ws, job) for job in jobs}
    todo = [job for job in jobs if known[job.key] is None]
    tasks: dict[str, Any] = {}  # Any: tasks of whichever engine
    if engine is not None and todo:
        matrices = stored(ws, rows)
        shared = {"url": ws.url, "settings": ws.settings, "rows": matrices, "clock": ws.clock}
        for job in todo:
            sent = replace(job, **shared)  # type: ignore[arg-type]  # each of its own type
            tasks[job.key] = engine.submit(perform, sent, needs=needs, timeout_s=timeout_s, name=fit_name(job.fit))
    outcomes: list[Outcome] = []
    try:
        for number, job in enumerate(jobs, start=1):
            made = known[job.key] or _done(ws, job, rows, tasks.get(job.key))
            outcomes.append(made)
            if progress is not None:
                word = "failed" if made.error else "known" if made.cached else "done"
                progress(number, len(jobs), f"{made.name} {word}")
    finally:
        for task in tasks.values():
            if engine is not None and not task.done():
                engine.cancel(task)
    return outcomes


def _done(ws: Workspace, job: Job, rows: Rows, task: Any) -> Outcome:  # Any: a task of whichever engine
    try:
        if task is None:
            return attempt(ws, job, rows)
        made: Outcome = task.result()
        assert made.run is not None
        return replace(outcome_of(ws, run_of(ws, made.run)), cached=made.cached)
    except (Exception, CancelledError) as error:  # the user's code, or its worker's end: one candidate less
        return Outcome(fit_name(job.fit), job.key, error=f"{type(error).__name__}: {error}".partition("\n")[0])


def _board(ws: Workspace, asked: Asked, outcomes: Sequence[Outcome], name: str, target: str | None) -> Leaderboard:
    done = {outcome.name: outcome for outcome in outcomes if not outcome.error}
    if not done:
        told = "; ".join(f"{outcome.name}: {outcome.error}" for outcome in outcomes)
        raise BadInput(f"no candidate could be fitted: {told}")
    answers = {each: said(ws, outcome) for each, outcome in done.items()}
    baselines = [each for each, fit in asked.fits.items() if is_baseline(fit)]
    found = standings(
        asked.judge,
        asked.rows.valid,
        answers,
        baselines=baselines,
        level=asked.level,
        seed=asked.seed,
        groups=asked.groups,
    )
    ranks = boards.ranked(list(found), found)
    lines: list[Line] = []
    for each in [*found, *(outcome.name for outcome in outcomes if outcome.error)]:
        outcome = next(one for one in outcomes if one.name == each)
        metrics = outcome.metrics or {}
        size = metrics.get("size_bytes")
        lines.append(
            Line(
                each,
                each in baselines,
                ranks.get(each),
                found.get(each),
                {score: value for score, value in metrics.items() if score not in MEASURED},
                metrics.get("fit_s"),
                None if size is None else int(size),
                metrics.get("latency_us"),
                outcome.run,
                dict(asked.params.get(each, {})),
                outcome.note,
                outcome.error,
                outcome.cached,
            )
        )
    rows = asked.rows
    units = len(rows.valid) if asked.groups is None else len(np.unique(asked.groups))
    judge = asked.judge
    return Leaderboard(
        name, judge.kind, judge.task, target, judge.score, judge.direction, asked.level, len(rows.train),
        len(rows.valid), units, tuple(lines), (), {},
    )  # fmt: skip


def _record(run: Recorder, board: Leaderboard, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.answers is not None:
            run.use(outcome.answers, outcome.name)
    run.emit_json(
        "report",
        f"leaderboard/{board.name}",
        board.as_json(),
        meta={"what": "leaderboard", "best": board.best.name, "score": board.score, "rows": board.rows},
        slot="report",
    )
    best = board.best.standing
    shown = {board.score: best.value} if best is not None and np.isfinite(best.value) else {}
    failed = sum(bool(line.error) for line in board.lines)
    run.result({**shown, "candidates": len(board.lines), "failed": failed, "looks": board.looks["times"]})
