"""Slots: the single times, dataset versions, alerts and calls for which a schedule runs, and who takes each.

A slot is taken by an event of subject "slot/<schedule>", kind "claimed", whose key `slot/<schedule>/<slot>` can be
written once; its body holds the id of the execution and all that it needs, so that another scheduler can go on where
one was killed. Slots that are passed over are told by an event "passed". Both are written only where nobody else has
written since (`expect`), so that two schedulers decide one after the other.

The clock may jump: what counts is the newest slot decided that is not later than now. Put back, the clock comes by
slots that are taken already, and they stay so; put forward by mistake and then back, the slots between are still free.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from tidemill.core.errors import Conflict, NotFound, TidemillError
from tidemill.core.ids import iso, new_id, parse_time
from tidemill.core.types import Artifact, Event, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.flow.scheduling import cron
from tidemill.flow.scheduling.schedules import (
    Cron,
    Every,
    OnAlert,
    OnDataset,
    OnWebhook,
    Scheduled,
    kind_of,
    listed,
    subject_of,
)

LATE = timedelta(seconds=60)  # a slot later than this was missed
AT_MOST = 100  # slots that one tick takes of one schedule
COUNTED = 10_000  # missed slots are counted up to here
WINDOWS = tuple(timedelta(seconds=length_s) for length_s in (60, 3600, 86_400, 35 * 86_400, 10 * 366 * 86_400))
RECENT = 50
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_log = logging.getLogger("tidemill.flow.scheduling.slots")


@dataclass(frozen=True, slots=True)
class Slot:
    """One time or thing for which a schedule runs.

    name: unique within the schedule. at: when it was due. position: of a version or an event, its number. value: what
    the parameter `slot_param` is given. cause: the id of the artifact that set it off.
    """

    name: str
    at: datetime
    position: int = 0
    value: Any = None  # Any: a JSON value
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """What is due of a schedule at a moment.

    run: the slots to run, in order. passed: those passed over, first and last. missed: how many those are, None for
    more than 10,000. seq: of the schedule's last decision, 0 for none.
    """

    run: tuple[Slot, ...]
    passed: tuple[Slot, ...]
    missed: int | None
    seq: int


def instants(schedule: Cron | Every, after: datetime, until: datetime) -> Iterator[datetime]:
    """The instants of a schedule with after < instant <= until, in UTC, in order, each once."""
    if isinstance(schedule, Cron):
        yield from cron.instants(schedule.expression, schedule.zone, after, until)
        return
    start, step = parse_time(schedule.start), timedelta(seconds=schedule.every_s)
    instant = start + max(0, (after - start) // step + 1) * step
    while instant <= until:
        yield instant
        instant += step


def following(schedule: Cron | Every, after: datetime) -> datetime | None:
    """The first instant after a moment; None where there is none within ten years."""
    return next(instants(schedule, after, after + WINDOWS[-1]), None)


def due(ws: Workspace, one: Scheduled, now: datetime) -> Due:
    """What of a schedule is due at `now` and not decided yet, by its catch-up policy; changes nothing."""
    decided = ws.graph.events(f"slot/{one.name}", last=RECENT)
    seq = decided[-1].seq if decided else 0
    if one.paused:
        return Due((), (), 0, seq)
    schedule, more = one.schedule, False
    if isinstance(schedule, Cron | Every):
        after = _decided_until(ws, one, decided, now)
        times = list(islice(instants(schedule, after, now), COUNTED + 1))
        more = len(times) > COUNTED and schedule.catch_up != "all"
        if more:  # years of seconds: the first, and the newest
            times = [times[0], *_newest(schedule, times[0], now)]
        open_slots = [Slot(iso(at), at, value=iso(at)) for at in times]
    else:
        position = max([one.position, *(event.body["position"] for event in decided)])
        open_slots = _found(ws, one, schedule, position)
    run, passed = _caught_up(open_slots, schedule.catch_up, now)
    if more:  # all up to the first that runs
        last = run[0].at - MICROSECOND if run else now
        passed = [passed[0], Slot("", last)]
    return Due(tuple(run[:AT_MOST]), tuple(passed[:1] + passed[1:][-1:]), None if more else len(passed), seq)


@dataclass(slots=True)
class Watched:
    """What a scheduler remembers from one step to the next, so that an idle one asks the graph three questions.

    head: the newest event that it has seen. told: the newest of the schedules. next_at: for each that waits for a
    time, when to look again. Forgotten as a whole when the clock is put back.
    """

    head: int = -1
    told: int = -1
    schedules: list[Scheduled] = field(default_factory=list)
    next_at: dict[str, datetime] = field(default_factory=dict)
    looked_at: datetime = EPOCH


def take(ws: Workspace, now: datetime, watched: Watched) -> list[Run]:
    """Take what is due of all schedules at `now`."""
    head = _last(ws, None)
    told = _last(ws, "schedule/*")
    if told != watched.told:
        watched.told, watched.schedules = told, listed(ws)
        watched.next_at.clear()
    if now < watched.looked_at:
        watched.next_at.clear()
    if watched.head < 0:
        for one in watched.schedules:
            restore(ws, one.name)
    elif head != watched.head:
        for event in ws.graph.events("slot/*", kind="claimed", after=watched.head):
            _restored(ws, event)
    made, all_well = [], True
    for one in watched.schedules:
        timed = isinstance(one.schedule, Cron | Every)
        if one.paused or (now < watched.next_at.get(one.name, EPOCH) if timed else head == watched.head):
            continue
        try:
            found = due(ws, one, now)
            if found.run or found.passed:
                made += claim(ws, one, now)
            elif isinstance(one.schedule, Cron | Every):
                watched.next_at[one.name] = following(one.schedule, now) or datetime.max.replace(tzinfo=UTC)
        except TidemillError as error:  # one schedule's trouble keeps no other back
            _log.warning("schedule %s could not be looked at: %s", one.name, error)
            all_well = False
    watched.looked_at = now
    if all_well:  # else what is new must be looked at again
        watched.head = head
    return made


def claim(ws: Workspace, one: Scheduled, now: datetime) -> list[Run]:
    """Take what is due of a schedule, and record each slot's execution, still to be started.

    Where another scheduler decides at the same time, it goes on and this one leaves the rest to it.
    """
    restore(ws, one.name)
    found = due(ws, one, now)
    seq, made = found.seq, []
    try:
        if found.passed:
            seq = _pass(ws, one, found)
        for slot in found.run:
            planned = _planned(one, slot)
            event = ws.graph.record(
                f"slot/{one.name}",
                "claimed",
                {"slot": slot.name, "until": iso(slot.at), "position": slot.position, **planned},
                actor=ws.settings.who,
                key=f"slot/{one.name}/{slot.name}",
                expect=seq,
            )
            if event.body["run"] == planned["run"]:  # else it was taken when the clock stood otherwise
                seq = event.seq
                made.append(_recorded(ws, event))
    except Conflict:
        pass
    return made


def restore(ws: Workspace, name: str) -> None:
    """Record the execution of a schedule's last claim, where a scheduler was killed between the two.

    Only the last claim can lack it: nobody claims a slot before having called this.
    """
    for event in ws.graph.events(f"slot/{name}", last=1):
        if event.kind == "claimed":
            _restored(ws, event)


def _restored(ws: Workspace, claimed: Event) -> None:
    try:
        ws.graph.get(claimed.body["run"])
    except NotFound:
        _recorded(ws, claimed)


def _last(ws: Workspace, subject: str | None) -> int:
    return max((event.seq for event in ws.graph.events(subject, last=1)), default=0)


def _decided_until(ws: Workspace, one: Scheduled, decided: Sequence[Event], now: datetime) -> datetime:
    """Up to when the slots of a schedule are decided, as the clock stands."""
    times = [at for event in decided if (at := parse_time(event.body["until"])) <= now]
    if not times and len(decided) == RECENT:  # the clock was put back by more than the recent slots
        times = [at for event in ws.graph.events(f"slot/{one.name}") if (at := parse_time(event.body["until"])) <= now]
    return max([one.since, *times])


def _newest(schedule: Cron | Every, after: datetime, now: datetime) -> list[datetime]:
    """The slots of the last minute, or, where it has none, the newest one."""
    for window in WINDOWS:
        times = list(instants(schedule, max(after, now - window), now))
        if times:
            return times if window == LATE else times[-1:]
    return []


def _caught_up(slots: list[Slot], policy: str, now: datetime) -> tuple[list[Slot], list[Slot]]:
    """Which slots run and which are passed over."""
    late = [slot for slot in slots if now - slot.at > LATE]
    fresh = slots[len(late) :]
    if policy == "all" or not late:
        return slots, []
    if policy == "latest":
        return slots[-1:], slots[:-1]
    return fresh, late


def _found(ws: Workspace, one: Scheduled, schedule: OnDataset | OnAlert | OnWebhook, position: int) -> list[Slot]:
    if isinstance(schedule, OnDataset):
        versions = [made for made in _versions(ws, schedule.dataset, position) if not _own(ws, one, made)]
        return [Slot(f"dataset/{made.id}", made.created_at, made.version, made.id, cause=made.id) for made in versions]
    kind = "raised" if isinstance(schedule, OnAlert) else "called"
    wanted = schedule.what if isinstance(schedule, OnAlert) else ()
    events = ws.graph.events(subject_of(schedule), kind=kind, after=position)
    return [
        Slot(f"{kind_of(schedule)}/{event.seq}", event.at, event.seq, dict(event.body))
        if kind == "raised"
        else Slot(f"{kind_of(schedule)}/{event.seq}", event.at, event.seq, event.body["body"])
        for event in events
        if not wanted or event.body.get("what") in wanted
    ]


def _versions(ws: Workspace, dataset: str, after: int) -> list[Artifact]:
    """The versions of a dataset later than version `after`, oldest first."""
    found: list[Artifact] = []
    before = None
    while True:
        page = ws.graph.find(Query("artifact", kind="dataset", name=dataset, before=before, limit=AT_MOST))
        later = [made for made in page if isinstance(made, Artifact) and made.version > after]
        found += later
        if len(later) < AT_MOST:
            return found[::-1]
        before = later[-1].id


def _own(ws: Workspace, one: Scheduled, made: Artifact) -> bool:
    """Whether an execution of the schedule made the artifact: running again for it would never end."""
    run_id = made.run_id
    while run_id is not None:
        try:
            run = ws.graph.get(run_id)
        except NotFound:
            return False
        if not isinstance(run, Run):
            return False
        if run.tags.get("schedule") == one.name:
            return True
        run_id = run.parent
    return False


def _pass(ws: Workspace, one: Scheduled, found: Due) -> int:
    first, last = found.passed[0], found.passed[-1]
    body = {
        "from": iso(first.at),
        "until": iso(last.at),
        "position": last.position,
        "missed": found.missed,
        "catch_up": one.schedule.catch_up,
    }
    event = ws.graph.record(f"slot/{one.name}", "passed", body, actor=ws.settings.who, expect=found.seq)
    return event.seq


def _planned(one: Scheduled, slot: Slot) -> dict[str, Any]:
    """All that an execution needs, as part of the claim."""
    params = dict(one.params)
    if one.slot_param is not None:
        params[one.slot_param] = _value(one, slot)
    tags = {
        "trigger": "schedule" if isinstance(one.schedule, Cron | Every) else kind_of(one.schedule),
        "queue": one.queue,
        "entry": one.entry,
        "folder": one.folder,
        "priority": str(one.priority),
        "at_once": str(one.at_once),
        "schedule": one.name,
        "slot": slot.name,
    }
    if one.engine:
        tags["engine"] = one.engine
    return {
        "run": new_id(),
        "pipeline": one.pipeline,
        "params": params,
        "tags": tags,
        "as": one.as_,
        "cause": slot.cause,
    }


def _value(one: Scheduled, slot: Slot) -> Any:  # Any: a JSON value
    if one.slot_as == "date" and isinstance(one.schedule, Cron | Every):
        zone = one.schedule.zone if isinstance(one.schedule, Cron) else "UTC"
        return slot.at.astimezone(cron.zone_of(zone)).date().isoformat()
    return slot.value


def _recorded(ws: Workspace, claimed: Event) -> Run:
    """The execution of a claim, as recorded: the same whoever records it."""
    from tidemill.flow.scheduling.queues import enqueue

    body = claimed.body
    run = Run(
        id=body["run"],
        kind="flow.pipeline",
        name=body["pipeline"],
        status="running",
        started_at=claimed.at,
        params=body["params"],
        tags=body["tags"],
        actor=body["as"],
    )
    return enqueue(ws, run, cause=body["cause"])
