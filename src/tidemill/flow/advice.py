"""What the recorded executions of a pipeline say about making it faster or cheaper.

The critical path is the longest chain of steps that wait for each other: no number of workers makes an execution
shorter. How long it takes on so many workers is found by list scheduling, the longest remaining path first (R. L.
Graham, Bounds on Multiprocessing Timing Anomalies, SIAM J. Appl. Math. 17, 1969): at most twice the best there is. A
node that was taken from the cache counts with the time that it took before, or with the median of its step's: as if
everything were computed.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tidemill.core.errors import BadInput, NotEnoughRows, TidemillError
from tidemill.core.types import Query, Run
from tidemill.core.workspace import Workspace
from tidemill.flow.states import KIND, FlowState, NodeState, read
from tidemill.flow.why import why

WORKERS = (1, 2, 4, 8, 16, 32)
ASKED_WHY = 5  # executions, the newest, whose misses are looked into
LONG_S = 0.5  # below it a step's CPU share is noise
RAN = ("done", "failed")


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work to place: seconds, what it waits for, how many workers' cores it takes."""

    name: str
    wall_s: float
    deps: tuple[str, ...] = ()
    cpu: float = 1.0


@dataclass(frozen=True, slots=True)
class StepAdvice:
    """One step over the executions looked at.

    calls: nodes of it. cached_share: of those, 0..1. wall_s: the seconds it ran, of all executions. share: of all
    steps' seconds, 0..1. median_s: of one call. cores: CPU seconds a second, None where it is too short to tell.
    peak_bytes: of the process that ran it, all it had run before included. misses: why it ran, most frequent first.
    """

    step: str
    calls: int
    cached_share: float
    wall_s: float
    share: float
    median_s: float
    cores: float | None
    cores_asked: float
    peak_bytes: int
    memory_asked: int | None
    misses: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class OnWorkers:
    """One execution, all computed, on that many workers: its seconds, and its price where one was given."""

    workers: int
    takes_s: float
    price: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """See the module. executions: ids, newest first. path: the critical path of the newest, (node, seconds).

    lines: what to do, for people, what saves most first.
    """

    pipeline: str
    executions: tuple[str, ...]
    path: tuple[tuple[str, float], ...]
    steps: tuple[StepAdvice, ...]
    workers: tuple[OnWorkers, ...]
    lines: tuple[str, ...]

    @property
    def path_s(self) -> float:
        """Seconds of the critical path: no execution that computes everything takes less."""
        return sum(wall_s for _, wall_s in self.path)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "path_s": self.path_s}


def advise(ws: Workspace, pipeline: str, *, runs: int = 20, prices: Mapping[int, float] | None = None) -> Advice:
    """Advice from the newest `runs` finished executions of a pipeline.

    prices: of an hour of a machine, by its number of workers ({4: 0.2, 16: 0.8}), in any currency. Raises
    NotEnoughRows where no execution has finished, BadInput for impossible numbers.
    """
    if runs < 1 or any(count < 1 or price < 0 for count, price in (prices or {}).items()):
        raise BadInput(f"runs is {runs}, prices are {dict(prices or {})}; both count from 1, and no price is below 0")
    found = ws.graph.find(Query("run", kind=KIND, name=pipeline, status="done", limit=runs))
    states = [read(ws, run.id) for run in found if isinstance(run, Run)]
    if not any(state.nodes for state in states):
        raise NotEnoughRows(f"no execution of {pipeline!r} has finished; `tidemill flow run` makes one")
    steps = _steps(ws, states)
    jobs = _jobs(states, {each.step: each.median_s for each in steps})
    path = critical_path(jobs)
    workers = tuple(
        OnWorkers(count, takes_s := makespan(jobs, count), _price(takes_s, count, prices))
        for count in sorted({*WORKERS, *(prices or {})})
    )
    lines = (*_of_path(path, jobs, steps), *_of_workers(workers), *(line for each in steps for line in _of_step(each)))
    return Advice(pipeline, tuple(state.run.id for state in states), path, steps, workers, lines)


def critical_path(jobs: Sequence[Job]) -> tuple[tuple[str, float], ...]:
    """The longest chain of jobs that wait for each other, first to last, with their seconds."""
    rest = _rest(jobs)
    by_name = {job.name: job for job in jobs}
    then = _then(jobs)
    ready = [job.name for job in jobs if not any(dep in by_name for dep in job.deps)]
    path: list[tuple[str, float]] = []
    while ready:
        name = max(ready, key=lambda each: rest[each])
        path.append((name, by_name[name].wall_s))
        ready = then[name]
    return tuple(path)


def makespan(jobs: Sequence[Job], workers: int) -> float:
    """Seconds until all jobs are done on that many workers, the longest remaining path first.

    A job that asks for more cores than there are takes all of them, and as long.
    """
    rest, then = _rest(jobs), _then(jobs)
    by_name = {job.name: job for job in jobs}
    waits = {job.name: sum(dep in by_name for dep in job.deps) for job in jobs}
    ready = [(-rest[each], each) for each, count in waits.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    free, now_s = float(workers), 0.0
    while ready or running:
        held: list[tuple[float, str]] = []
        while ready and free > 0:
            urgent = heapq.heappop(ready)
            needs = min(by_name[urgent[1]].cpu, workers)
            if needs > free:
                held.append(urgent)
                continue
            free -= needs
            heapq.heappush(running, (now_s + by_name[urgent[1]].wall_s, urgent[1]))
        for one in held:
            heapq.heappush(ready, one)
        now_s, name = heapq.heappop(running)
        free += min(by_name[name].cpu, workers)
        for each in then[name]:
            waits[each] -= 1
            if not waits[each]:
                heapq.heappush(ready, (-rest[each], each))
    return now_s


# ------------------------------------------------------------------------------------------------ from the records


def _jobs(states: Sequence[FlowState], usual_s: Mapping[str, float]) -> list[Job]:
    """The newest execution's nodes, with the time that each took when it ran last."""
    took_s: dict[str, float] = {}
    for state in states:
        for each in state.nodes:
            if each.state in RAN:
                took_s.setdefault(each.node, each.wall_s)
    return [
        Job(each.node, took_s.get(each.node, usual_s.get(each.step, 0.0)), each.deps, each.needs[0])
        for each in states[0].nodes
    ]


def _then(jobs: Sequence[Job]) -> dict[str, list[str]]:
    then: dict[str, list[str]] = {job.name: [] for job in jobs}
    for job in jobs:
        for dep in job.deps:
            if dep in then:
                then[dep].append(job.name)
    return then


def _rest(jobs: Sequence[Job]) -> dict[str, float]:
    """Seconds from the start of each job to the end of all that waits for it."""
    then = _then(jobs)
    waits = {job.name: len(then[job.name]) for job in jobs}
    by_name = {job.name: job for job in jobs}
    ends = [name for name, count in waits.items() if not count]
    rest: dict[str, float] = {}
    while ends:
        name = ends.pop()
        rest[name] = by_name[name].wall_s + max((rest[each] for each in then[name]), default=0.0)
        for dep in by_name[name].deps:
            if dep in waits:
                waits[dep] -= 1
                if not waits[dep]:
                    ends.append(dep)
    return rest


def _steps(ws: Workspace, states: Sequence[FlowState]) -> tuple[StepAdvice, ...]:
    nodes: dict[str, list[NodeState]] = {}
    for state in states:
        for each in state.nodes:
            nodes.setdefault(each.step, []).append(each)
    all_s = sum(each.wall_s for some in nodes.values() for each in some)
    misses = _misses(ws, states[:ASKED_WHY])
    made = []
    for step, some in nodes.items():
        ran = [each for each in some if each.state in RAN]
        wall_s, cpu_s = sum(each.wall_s for each in ran), sum(each.cpu_s for each in ran)
        long_enough = [each for each in ran if each.wall_s >= LONG_S]
        made.append(
            StepAdvice(
                step=step,
                calls=len(some),
                cached_share=sum(each.state == "cached" for each in some) / len(some),
                wall_s=wall_s,
                share=wall_s / all_s if all_s else 0.0,
                median_s=statistics.median(each.wall_s for each in ran) if ran else 0.0,
                cores=cpu_s / wall_s if long_enough else None,
                cores_asked=some[0].needs[0],
                peak_bytes=max((each.peak_bytes for each in ran), default=0),
                memory_asked=some[0].needs[2],
                misses=tuple(misses.get(step, Counter()).most_common(3)),
            )
        )
    return tuple(sorted(made, key=lambda each: (-each.wall_s, each.step)))


def _misses(ws: Workspace, states: Sequence[FlowState]) -> dict[str, Counter[str]]:
    """Why each step ran in the newest executions: one of its nodes each."""
    found: dict[str, Counter[str]] = {}
    for state in states:
        looked: set[str] = set()
        for each in state.nodes:
            if each.state not in RAN or each.step in looked:
                continue
            looked.add(each.step)
            try:
                told = why(ws, each.node, execution=state.run.id)
            except TidemillError:
                continue  # its records were swept
            said = told.reason or ", ".join(difference.part for difference in told.differences)
            found.setdefault(each.step, Counter())[said] += 1
    return found


def _price(takes_s: float, count: int, prices: Mapping[int, float] | None) -> float | None:
    return None if prices is None or count not in prices else takes_s / 3600 * prices[count]


# ------------------------------------------------------------------------------------------------ for people


def _of_path(path: Sequence[tuple[str, float]], jobs: Sequence[Job], steps: Sequence[StepAdvice]) -> list[str]:
    path_s, all_s = sum(wall_s for _, wall_s in path), sum(job.wall_s for job in jobs)
    if not all_s:
        return []
    longest = max(path, key=lambda each: each[1])
    lines = [
        f"The critical path takes {path_s:.2f} s of {all_s:.2f} s of work: {' -> '.join(name for name, _ in path[:8])}"
        f"{' ...' if len(path) > 8 else ''}. {longest[0]} is {longest[1] / path_s:.0%} of it."
    ]
    if steps[0].share >= 0.5 and len(steps) > 1:
        lines.append(f"{steps[0].step} takes {steps[0].share:.0%} of all steps' time; begin there.")
    return lines


def _of_workers(workers: Sequence[OnWorkers]) -> list[str]:
    one = workers[0].takes_s
    if not one:
        return []
    best = min(each.takes_s for each in workers)
    enough = next(each for each in workers if each.takes_s <= best * 1.05)
    lines = [
        f"All computed by one worker: {one:.2f} s; by {enough.workers}: {enough.takes_s:.2f} s; more do not help."
        if enough.workers > 1
        else f"All computed by one worker: {one:.2f} s; more do not help: each step waits for the one before."
    ]
    priced = [each for each in workers if each.price is not None]
    if priced:
        cheap = min(priced, key=lambda each: each.price or 0.0)
        quick = min(priced, key=lambda each: (each.takes_s, each.price or 0.0))
        lines.append(
            f"Cheapest: {cheap.workers} workers, {cheap.price:.4f} an execution of {cheap.takes_s:.0f} s; quickest: "
            f"{quick.workers}, {quick.price:.4f} for {quick.takes_s:.0f} s."
        )
    return lines


def _of_step(each: StepAdvice) -> list[str]:
    lines = []
    if each.misses and each.cached_share < 1.0 and each.share >= 0.05:
        said, count = each.misses[0]
        lines.append(
            f"{each.step}: {each.cached_share:.0%} of {each.calls} calls came from the cache; it ran for: {said}"
            f" ({count} of the newest executions)."
        )
    if each.cores is not None and each.cores_asked > 1 and each.cores < each.cores_asked / 2:
        better = max(1, math.ceil(each.cores))
        lines.append(f"{each.step} asks for cpu={each.cores_asked:g} and uses {each.cores:.1f}: cpu={better} would do.")
    elif each.cores is not None and each.cores > each.cores_asked * 1.3:
        lines.append(
            f"{each.step} asks for cpu={each.cores_asked:g} and uses {each.cores:.1f}: ask for cpu="
            f"{math.ceil(each.cores)}, or others share its cores."
        )
    if each.memory_asked and 0 < each.peak_bytes < each.memory_asked / 2:
        lines.append(f"{each.step} asks for {_size(each.memory_asked)} and its process had {_size(each.peak_bytes)}.")
    elif each.memory_asked and each.peak_bytes > each.memory_asked * 0.9:
        lines.append(
            f"{each.step} asks for {_size(each.memory_asked)}, its process had {_size(each.peak_bytes)}: ask for more."
        )
    return lines


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
