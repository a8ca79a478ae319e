"""Queues: which executions wait for a worker, which of them go on now, and how many may at once.

An execution in a queue is its run, kind "flow.pipeline" and "running", with tags queue, entry, folder, priority and
where they apply schedule, slot, group, at_once. Where it stands is told by events of subject "flow/<run>" (one of kind
"flow.started" before each start of a worker) and by the lease of that name, which its worker holds while it lives.
Those with the highest priority go first, and of equal ones those that were going already, then the longest waiting.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Literal

from tidemill.core.errors import BadInput, Conflict
from tidemill.core.ids import canonical_json, new_id, parse_time, utc_now
from tidemill.core.locks import grace_s as lease_grace_s
from tidemill.core.locks import is_held
from tidemill.core.types import Batch, Edge, Event, Json, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.flow.scheduling.schedules import check_name

DEFAULT = "default"
AT_ONCE = 4  # of a queue for which no limit is set
STARTED = "flow.started"
_TOLD = (STARTED, "parked", "decided", "cancel")

State = Literal["waiting", "starting", "running", "parked", "decided", "lost", "cancelled"]


@dataclass(frozen=True, slots=True)
class Queued:
    """One execution that has not ended, and where it stands.

    state: "waiting" for its first worker; "starting" or "running"; "parked" for a person; "decided" by them, or past
    the time they had; "lost": its worker ended without a word; "cancelled" before a worker had it.
    starts: how many workers it was given. lost: how many of them, since it last came forward, ended without a word.
    """

    run: Run
    state: State
    starts: int = 0
    lost: int = 0
    started_at: datetime | None = None

    @property
    def queue(self) -> str:
        """The queue it is in."""
        return self.run.tags.get("queue", DEFAULT)

    @property
    def priority(self) -> int:
        """Higher goes first."""
        return int(self.run.tags.get("priority", "0"))

    @property
    def active(self) -> bool:
        """Whether it takes a place of its queue now."""
        return self.state in ("starting", "running")

    @property
    def ready(self) -> bool:
        """Whether a worker could take it up."""
        return self.state in ("waiting", "decided", "lost")

    def bounds(self) -> list[tuple[tuple[str, str], int]]:
        """The limits that it brings itself: of its schedule, and of the group (a backfill) that it belongs to."""
        tags = self.run.tags
        own = [(("schedule", tags["schedule"]), int(tags.get("at_once", "1")))] if "schedule" in tags else []
        group = [(("group", tags["group"]), int(tags.get("group_at_once", "1")))] if "group" in tags else []
        return own + group


@dataclass(slots=True)
class Told:
    """What the events have told so far of executions, so that the next look reads only the newer ones."""

    seq: int = 0
    events: dict[str, list[Event]] = field(default_factory=dict)
    free_since: dict[str, float] = field(default_factory=dict)  # whose lease was found free, since when (monotonic s)


def submit(
    ws: Workspace,
    pipeline: str,
    entry: str,
    *,
    params: Json | None = None,
    queue: str = DEFAULT,
    priority: int = 0,
    as_: str | None = None,
    trigger: str = "manual",
    engine: str = "",
    tags: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Run:
    """Put one execution of a pipeline into a queue; a scheduler that serves the queue starts it.

    pipeline: its name; entry: where it is; folder: from where the entry is loaded (default: here). as_: under whose
    name it runs (whether they may is for the caller to check). engine: its steps' (default: "pool"). Raises BadInput
    for a queue that cannot be one, and for params that are no JSON.
    """
    planning = planned(
        ws,
        pipeline,
        entry,
        params=params,
        queue=queue,
        priority=priority,
        as_=as_,
        trigger=trigger,
        engine=engine,
        tags=tags,
        folder=folder,
    )
    return enqueue(ws, planning)


def planned(
    ws: Workspace,
    pipeline: str,
    entry: str,
    *,
    params: Json | None,
    queue: str,
    priority: int,
    as_: str | None,
    trigger: str,
    engine: str,
    tags: Mapping[str, str] | None,
    folder: Path | None,
) -> Run:
    """What `submit` would record."""
    check_name(queue, "queue's")
    try:
        canonical_json(dict(params or {}))
    except (TypeError, ValueError) as error:
        raise BadInput(f"params of an execution of {pipeline!r} are no JSON: {error}") from error
    own = {"trigger": trigger, "queue": queue, "entry": entry, "priority": str(priority)}
    if engine:
        own["engine"] = engine
    own["folder"] = str((folder or Path.cwd()).resolve())
    return Run(
        id=new_id(),
        kind="flow.pipeline",
        name=pipeline,
        status="running",
        started_at=utc_now(),
        params=dict(params or {}),
        tags={**own, **(tags or {})},
        actor=as_ or ws.settings.who,
    )


def enqueue(ws: Workspace, run: Run, *, cause: str | None = None) -> Run:
    """Record an execution that waits, with the artifact that set it off as its input; an ended one stays."""
    edges = [] if cause is None else [Edge(run.id, cause, "in", "trigger")]
    try:
        ws.graph.write(Batch(runs=[run], edges=edges))
    except Conflict:  # another scheduler recorded it too, and it has ended since
        found = ws.graph.get(run.id)
        assert isinstance(found, Run)
        return found
    return run


def limit(ws: Workspace, queue: str, at_once: int) -> None:
    """Let at most so many executions of a queue run at a time, over all schedulers; 0 stops the queue."""
    check_name(queue, "queue's")
    if at_once < 0:
        raise BadInput(f"the limit of queue {queue!r} is {at_once}; it must be 0 (nothing starts) or more")
    ws.graph.record(f"queue/{queue}", "limit", {"at_once": at_once}, actor=ws.settings.who)


def limits(ws: Workspace) -> dict[str, int]:
    """The limits that were set, by queue; of any other queue 4 executions run at once."""
    return {
        event.subject.partition("/")[2]: event.body["at_once"] for event in ws.graph.events("queue/*", kind="limit")
    }


def listed(
    ws: Workspace,
    now: datetime,
    *,
    told: Told | None = None,
    ours: Mapping[str, bool] | None = None,
    me: str = "",
    grace_s: float = 60.0,
) -> list[Queued]:
    """All executions in queues that have not ended, the oldest first.

    ours: for workers that the caller started itself, whether they are alive. me: the caller, as it stands in the events
    of those starts. grace_s: how long another's worker may
    take from its start to holding its lease before it counts as lost (a quarter of that where the other is gone).
    """
    told = Told() if told is None else told
    head = max((event.seq for event in ws.graph.events(last=1)), default=0)  # before the runs: see _read
    runs = [run for run in _going(ws) if "entry" in run.tags]
    if not runs:
        return []
    _read(ws, told, runs, head)
    look = _Look(ws, now, told, ours or {}, me, grace_s)
    found = [look.at(run) for run in runs if "queue" in run.tags or run.id in told.events]
    # One that somebody runs by hand is theirs until it waits for a person: its process has ended then.
    own = ("parked", "decided", "cancelled")
    return [one for one in found if "queue" in one.run.tags or one.starts or one.state in own]


def startable(
    found: Iterable[Queued], limited: Mapping[str, int], *, queues: Collection[str] | None = None
) -> list[Queued]:
    """Those to start now, in order, so that no limit is passed.

    limited: how many at once, by queue. queues: only these (default: all).
    """
    everything = list(found)
    taken: Counter[tuple[str, str]] = Counter()
    for one in everything:
        if one.active:
            taken.update([("queue", one.queue), *(place for place, _ in one.bounds())])
    ready = [one for one in everything if one.ready and (queues is None or one.queue in queues)]
    chosen = []
    for one in sorted(ready, key=lambda one: (-one.priority, one.state == "waiting", one.run.id)):
        bounds = [(("queue", one.queue), limited.get(one.queue, AT_ONCE)), *one.bounds()]
        if all(taken[place] < at_once for place, at_once in bounds):
            taken.update(place for place, _ in bounds)
            chosen.append(one)
    return chosen


def _going(ws: Workspace) -> list[Run]:
    """Executions that have not ended, the oldest first."""
    found: list[Run] = []
    before = None
    while True:
        page = ws.graph.find(Query("run", kind="flow.pipeline", status="running", before=before, limit=1000))
        found += [run for run in page if isinstance(run, Run)]
        if len(page) < 1000:
            return found[::-1]
        before = page[-1].id


def _read(ws: Workspace, told: Told, runs: Sequence[Run], head: int) -> None:
    """Read on, up to event `head`, in what tells where executions stand, and forget those that have ended.

    The runs were read after `head` was: an event up to there speaks of one of them, or of one that has ended.
    """
    if not told.seq:  # before the oldest of them there is nothing to know
        told.seq = min([event.seq for event in ws.graph.events(f"run/{runs[0].id}")[:1]], default=1) - 1
    going = {run.id for run in runs}
    for kind in _TOLD:
        for event in ws.graph.events("flow/*", kind=kind, after=told.seq):
            run_id = event.subject.partition("/")[2]
            if event.seq <= head and run_id in going:
                told.events.setdefault(run_id, []).append(event)
    for run_id in list(told.events):
        if run_id not in going:
            del told.events[run_id]
    for run_id in told.free_since.keys() - going:
        del told.free_since[run_id]
    told.seq = max(told.seq, head)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at all executions, at one moment."""

    ws: Workspace
    now: datetime
    told: Told
    ours: Mapping[str, bool]
    me: str
    grace_s: float

    def at(self, run: Run) -> Queued:
        """Where an execution stands."""
        events = self.told.events.get(run.id, [])
        starts = [event for event in events if event.kind == STARTED]
        last = starts[-1] if starts else None
        lost = len(list(takewhile(lambda event: event.body["why"] == "lost", reversed(starts))))
        found = Queued(run, "waiting", len(starts), lost, None if last is None else last.at)
        if self.ours.get(run.id) or is_held(self.ws, f"flow/{run.id}"):
            self.told.free_since.pop(run.id, None)
            return replace(found, state="running")
        if any(event.kind == "cancel" for event in events):
            return replace(found, state="cancelled")
        asked = self._asked(events, last)
        if asked is not None:
            return replace(found, state=asked)
        return found if last is None else replace(found, state=self._without_lease(run, last))

    def _asked(self, events: Sequence[Event], last: Event | None) -> State | None:
        """Whether an execution waits for a person, or for a worker to take their answer; None where for neither."""
        answered = [event for event in events if event.kind == "decided"]
        if any(event.seq > (0 if last is None else last.seq) for event in answered):
            return "decided"
        waits = {event.body["approval"]: event for event in events if event.kind == "parked"}
        for event in answered:
            waits.pop(event.body["approval"], None)
        times = [parse_time(event.body["until"]) for event in waits.values() if event.body.get("until")]
        over = [at for at in times if at <= self.now]
        if any(last is None or at > last.at for at in over):  # no worker has looked since
            return "decided"
        return "parked" if waits else None

    def _without_lease(self, run: Run, last: Event) -> State:
        """Where one stands that was started and whose lease is free."""
        if last.body["by"] == self.me and run.id in self.ours:
            return "lost"  # our own worker, and it has ended
        # A scheduler that was killed may have been so before its worker was there: wait for that one less.
        grace_s = self.grace_s if is_held(self.ws, f"scheduler/{last.body['by']}") else self.grace_s / 4
        if abs((utc_now() - last.at).total_seconds()) < grace_s:
            return "starting"
        since_s = self.told.free_since.setdefault(run.id, time.monotonic())
        return "lost" if time.monotonic() - since_s >= lease_grace_s(self.ws) else "running"
