"""Schedules: when a pipeline runs by itself, as data, and which pipelines are deployed with one.

A schedule is a frozen record that goes through JSON. Its `catch_up` says what happens to slots that nobody was there
for (no scheduler ran, or the machine slept):
    "latest"  the newest missed slot runs, the earlier ones are passed over, and an event says which (the default)
    "all"     every missed slot runs, oldest first
    "none"    a slot that is more than a minute late is passed over, and an event says so
Which instants a cron expression names on the days the clocks change is told in tidemill.flow.scheduling.cron.

What is deployed is an event log of subject "schedule/<name>": deployed, paused, resumed, undeployed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.ids import canonical_json, iso, parse_time
from tidemill.core.types import Event, Json, Query
from tidemill.core.workspace import Workspace
from tidemill.flow import durations
from tidemill.flow.scheduling import cron as crons

CatchUp = Literal["latest", "all", "none"]
SlotAs = Literal["time", "date"]
_NAME = re.compile(r"[\w.-]{1,200}")


@dataclass(frozen=True, slots=True)
class Cron:
    """At the times that a cron expression names in a time zone."""

    expression: str
    zone: str = "UTC"
    catch_up: CatchUp = "latest"


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds of real time, counted from `start` (ISO; the first slot is there)."""

    every_s: float
    start: str = "1970-01-01T00:00:00Z"
    catch_up: CatchUp = "latest"


@dataclass(frozen=True, slots=True)
class OnDataset:
    """When a dataset has a new version."""

    dataset: str
    catch_up: CatchUp = "latest"


@dataclass(frozen=True, slots=True)
class OnAlert:
    """When a deployed model raises an alert; `what`: only of these kinds ("input drift"), or of any."""

    deployment: str
    what: tuple[str, ...] = ()
    catch_up: CatchUp = "latest"


@dataclass(frozen=True, slots=True)
class OnWebhook:
    """When somebody calls the webhook of that name with its token."""

    webhook: str
    catch_up: CatchUp = "all"


Schedule = Cron | Every | OnDataset | OnAlert | OnWebhook
KINDS: Mapping[str, type[Any]] = {  # Any: a union's members have no common type
    "cron": Cron,
    "every": Every,
    "dataset": OnDataset,
    "alert": OnAlert,
    "webhook": OnWebhook,
}


def cron(expression: str, *, zone: str = "UTC", catch_up: CatchUp = "latest") -> Cron:
    """At the times of a cron expression, `zone` being a name such as "Europe/Berlin". BadInput where either is none.

    >>> cron("30 2 * * *", zone="Europe/Berlin").zone
    'Europe/Berlin'
    """
    made = Cron(expression, zone, catch_up)
    _check(made)
    return made


def every(length: str | float | timedelta, *, start: datetime | None = None, catch_up: CatchUp = "latest") -> Every:
    """Every "10m" of real time, counted from `start` (default: 1970 UTC, so that "1h" is on the hour).

    Raises BadInput for a length under a second.
    """
    made = Every(durations.seconds(length, what="the interval"), catch_up=catch_up)
    if start is not None:
        made = replace(made, start=iso(start))
    _check(made)
    return made


def on_dataset(name: str, *, catch_up: CatchUp = "latest") -> OnDataset:
    """When a dataset has a new version, on any branch; one that the pipeline itself made does not count."""
    made = OnDataset(name, catch_up)
    _check(made)
    return made


def on_alert(deployment: str, *what: str, catch_up: CatchUp = "latest") -> OnAlert:
    """When a deployed model raises an alert, of the kinds given or of any."""
    made = OnAlert(deployment, what, catch_up)
    _check(made)
    return made


def on_webhook(name: str, *, catch_up: CatchUp = "all") -> OnWebhook:
    """When somebody calls the webhook of that name; `webhooks.issue` makes its token."""
    made = OnWebhook(name, catch_up)
    _check(made)
    return made


def kind_of(schedule: Schedule) -> str:
    """The schedule's kind: "cron", "every", "dataset", "alert" or "webhook"."""
    return next(kind for kind, made in KINDS.items() if isinstance(schedule, made))


def to_json(schedule: Schedule) -> dict[str, Any]:
    """A schedule as JSON; `of_json` reads it back."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(schedule).items()}
    return {"kind": kind_of(schedule), **fields}


def of_json(body: Json) -> Schedule:
    """The schedule of a JSON object. Raises BadInput for one that is none."""
    schedule = _recorded(body)
    _check(schedule)
    return schedule


def _recorded(body: Json) -> Schedule:
    """As `of_json`, of what was checked when it was recorded: a zone that is gone since is told when it is used."""
    made = KINDS.get(str(body.get("kind")))
    if made is None:
        raise BadInput(f"no schedule of kind {body.get('kind')!r}; known are {', '.join(KINDS)}")
    fields = {
        name: tuple(value) if isinstance(value, list) else value for name, value in body.items() if name != "kind"
    }
    try:
        schedule: Schedule = made(**fields)
    except TypeError as error:
        raise BadInput(f"schedule {dict(body)!r} has other fields than {made.__name__} has ({error})") from error
    return schedule


def text_of(schedule: Schedule) -> str:
    """A schedule as people read it.

    >>> text_of(cron("30 2 * * *", zone="Europe/Berlin")), text_of(every("90m"))
    ('cron "30 2 * * *" Europe/Berlin', 'every 1h30m')
    """
    match schedule:
        case Cron():
            return f'cron "{schedule.expression}" {schedule.zone}'
        case Every():
            return f"every {durations.text(schedule.every_s)}"
        case OnDataset():
            return f"on a new version of dataset {schedule.dataset}"
        case OnAlert():
            kinds = f" ({', '.join(schedule.what)})" if schedule.what else ""
            return f"on an alert of {schedule.deployment}{kinds}"
        case OnWebhook():
            return f"on a call of webhook {schedule.webhook}"


def _check(schedule: Schedule) -> None:
    if schedule.catch_up not in get_args(CatchUp):
        raise BadInput(f"catch_up is {schedule.catch_up!r}; allowed: {', '.join(get_args(CatchUp))}")
    if isinstance(schedule, Cron):
        crons.check(schedule.expression, schedule.zone)
    elif isinstance(schedule, Every):
        parse_time(schedule.start)
        if not schedule.every_s >= 1:
            raise BadInput(f"an interval of {schedule.every_s!r} s is too short; the least is 1s")


# ------------------------------------------------------------------------------------------------ what is deployed


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A pipeline deployed with a schedule, as it stands now.

    since: slots after this time count. position: of a dataset's versions, an alert's or a webhook's events, those
    after this number count. seq: of the event that made it so.
    """

    name: str
    pipeline: str
    entry: str
    schedule: Schedule
    since: datetime
    position: int
    params: Json = field(default_factory=dict)
    queue: str = "default"
    priority: int = 0
    as_: str = ""
    at_once: int = 1
    slot_param: str | None = None
    slot_as: SlotAs = "time"
    folder: str = ""
    engine: str = ""
    paused: bool = False
    seq: int = 0


def deploy(
    ws: Workspace,
    pipeline: str,
    entry: str,
    schedule: Schedule,
    *,
    name: str | None = None,
    params: Json | None = None,
    queue: str = "default",
    priority: int = 0,
    as_: str | None = None,
    at_once: int = 1,
    slot_param: str | None = None,
    slot_as: SlotAs = "time",
    folder: Path | None = None,
    engine: str = "",
) -> Scheduled:
    """Let a pipeline run by its schedule from now on; deployed again under the same name, the new schedule replaces it.

    pipeline: its name. entry: where it is, "module:name" or "path/file.py:name", as `deploying.deploy` finds and checks
    it. folder: from where the entry is loaded (default: here). as_: under whose name it runs (default:
    who deploys it; whether they may is for the caller to check). at_once: of this schedule so many executions at a
    time, later ones wait. slot_param: the pipeline's parameter that is given what it runs for: the slot's time (ISO,
    UTC; with slot_as "date" its date in the schedule's zone), the dataset version's id, the alert's body, or the body
    of the webhook's call. engine: its steps' (default: "pool"). Raises BadInput for what cannot be kept.
    """
    named = name or pipeline
    for what, text in (("schedule's", named), ("queue's", queue)):
        check_name(text, what)
    if at_once < 1:
        raise BadInput(f"at_once is {at_once}; at least one execution must be allowed (pause stops a schedule)")
    if slot_as not in get_args(SlotAs):
        raise BadInput(f"slot_as is {slot_as!r}; allowed: {', '.join(get_args(SlotAs))}")
    if slot_param is not None and slot_param in (params or {}):
        raise BadInput(f"parameter {slot_param!r} is given a value and the slot; leave it out of params")
    _check(schedule)
    try:
        canonical_json(dict(params or {}))
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"params of schedule {named!r} are no JSON ({error}); give numbers, text, lists, mappings"
        ) from error
    body = {
        "pipeline": pipeline,
        "entry": entry,
        "schedule": to_json(schedule),
        "params": dict(params or {}),
        "queue": queue,
        "priority": priority,
        "as": as_ or ws.settings.who,
        "at_once": at_once,
        "slot_param": slot_param,
        "slot_as": slot_as,
        "folder": str((folder or Path.cwd()).resolve()),
        "engine": engine,
        "since": iso(ws.now),
        "position": newest(ws, schedule),
    }
    ws.graph.record(f"schedule/{named}", "deployed", body, actor=ws.settings.who)
    return get(ws, named)


def undeploy(ws: Workspace, name: str) -> None:
    """Take a schedule away; what it has started or queued goes on. Raises NotFound for an unknown one."""
    get(ws, name)
    ws.graph.record(f"schedule/{name}", "undeployed", {}, actor=ws.settings.who)


def pause(ws: Workspace, name: str) -> Scheduled:
    """Let no slot of a schedule run until `resume`. Raises NotFound for an unknown one."""
    if not get(ws, name).paused:
        ws.graph.record(f"schedule/{name}", "paused", {}, actor=ws.settings.who)
    return get(ws, name)


def resume(ws: Workspace, name: str) -> Scheduled:
    """Let a paused schedule run again, from now: slots of the pause are not caught up. NotFound for an unknown one."""
    found = get(ws, name)
    if found.paused:
        body = {"since": iso(ws.now), "position": newest(ws, found.schedule)}
        ws.graph.record(f"schedule/{name}", "resumed", body, actor=ws.settings.who)
    return get(ws, name)


def listed(ws: Workspace) -> list[Scheduled]:
    """All schedules that are deployed, by name."""
    found: dict[str, Scheduled] = {}
    for event in ws.graph.events("schedule/*"):
        name = event.subject.partition("/")[2]
        if event.kind == "deployed":
            found[name] = _scheduled(name, event)
        elif event.kind == "undeployed":
            found.pop(name, None)
        elif name in found:
            found[name] = _moved(found[name], event)
    return sorted(found.values(), key=lambda one: one.name)


def get(ws: Workspace, name: str) -> Scheduled:
    """The schedule of that name; NotFound, naming the nearest, where there is none."""
    known = {one.name: one for one in listed(ws)}
    if name not in known:
        raise NotFound(f"no schedule {name!r}; deployed are {', '.join(known) or 'none'}.{nearest(name, known)}")
    return known[name]


def newest(ws: Workspace, schedule: Schedule) -> int:
    """The newest dataset version, or the last event, that a schedule waits on: later ones count. 0 for times."""
    if isinstance(schedule, OnDataset):
        versions = ws.graph.find(Query("artifact", kind="dataset", name=schedule.dataset, limit=1))
        return max((one.version for one in versions), default=0)  # type: ignore[union-attr]
    if isinstance(schedule, OnAlert | OnWebhook):
        return max((event.seq for event in ws.graph.events(subject_of(schedule), last=1)), default=0)
    return 0


def subject_of(schedule: OnAlert | OnWebhook) -> str:
    """The subject of the events that a schedule waits on."""
    return f"alert/{schedule.deployment}" if isinstance(schedule, OnAlert) else f"webhook/{schedule.webhook}"


def check_name(text: str, whose: str) -> None:
    """Raise BadInput for a name that could not stand in a subject, an address or a file's name."""
    if _NAME.fullmatch(text) is None:
        raise BadInput(f"the {whose} name is {text!r}; allowed are letters, digits, '_', '-' and '.', 1 to 200 of them")


def _scheduled(name: str, event: Event) -> Scheduled:
    body = event.body
    return Scheduled(
        name,
        body["pipeline"],
        body["entry"],
        _recorded(body["schedule"]),
        parse_time(body["since"]),
        body["position"],
        body["params"],
        body["queue"],
        body["priority"],
        body["as"],
        body["at_once"],
        body["slot_param"],
        body.get("slot_as", "time"),
        body["folder"],
        body.get("engine", ""),
        seq=event.seq,
    )


def _moved(before: Scheduled, event: Event) -> Scheduled:
    if event.kind == "paused":
        return replace(before, paused=True, seq=event.seq)
    since, position = parse_time(event.body["since"]), event.body["position"]
    return replace(before, paused=False, since=since, position=position, seq=event.seq)
