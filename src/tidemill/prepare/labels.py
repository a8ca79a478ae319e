"""The label-review queue: tasks that people lease and answer, each step an event of subject "labels/<queue>/<task>".

Nothing is overwritten: who answers a task again appends, and the last answer of each person counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tidemill.core.errors import BadInput, Conflict, NotFound, nearest
from tidemill.core.ids import iso, json_digest, parse_time
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, Event, Query, View
from tidemill.core.workspace import Workspace

Value = str | int | float | bool
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ATTEMPTS = 20  # each lost race means that another person got a task: more than 20 in a row is no race


@dataclass(frozen=True, slots=True)
class Task:
    """One question to people. key: the row's id; given: its label now; suggested: what a model thinks; show: the row.

    allowed: the answers that are taken; empty means any. until: when the lease ends, None without one.
    """

    id: str
    queue: str
    key: str
    given: Value | None
    suggested: Value | None
    show: Mapping[str, Any]
    allowed: tuple[Value, ...] = ()
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One person's answer to one task. seq: of its event."""

    task: str
    key: str
    given: Value | None
    value: Value
    who: str
    at: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a queue is: tasks in all, answered by anyone, leased now, open; answers by person."""

    queue: str
    tasks: int
    answered: int
    leased: int
    open: int
    by: Mapping[str, int]


@dataclass(slots=True)
class _State:
    """A task with what happened to it so far."""

    task: Task
    seq: int
    answers: dict[str, Answer] = field(default_factory=dict)
    holder: str | None = None
    until: datetime | None = None

    def held_by(self, now: datetime) -> str | None:
        """Who has the lease now."""
        return self.holder if self.until is not None and now < self.until else None


def ask(
    ws: Workspace, queue: str, tasks: Iterable[Mapping[str, Any]], *, source: Artifact | View | None = None
) -> list[Task]:
    """Put tasks into a queue (made at its first task); a row that was asked before with the same question is not again.

    tasks: mappings with key, given, suggested, show (and allowed: a list; by default given and suggested where both are
    there). source: the dataset version that the rows are of. Returns the tasks asked, new and old, in order. A new task
    makes a run "prepare.ask" with an artifact "tasks". Raises BadInput for a queue name or task that is not usable.
    """
    if not _NAME.fullmatch(queue):
        raise BadInput(f"queue {queue!r}; a name has letters, digits, '.', '_' and '-', for example 'late-review'")
    asked = [_task(queue, given) for given in tasks]
    known = _states(ws, queue)
    fresh = [task for task in asked if task.id not in known]
    if not fresh:
        return asked
    inputs = [] if source is None else [("rows", source)]
    with recorded(ws, "prepare.ask", queue, inputs=inputs, params={"tasks": len(fresh)}) as run:
        # The artifact first: killed in between, the same tasks are still fresh and find it there.
        run.emit_json("tasks", queue, {"format": 1, "tasks": [_body(task) for task in fresh]}, slot="tasks")
        for task in fresh:
            subject = f"labels/{queue}/{task.id}"
            ws.graph.record(subject, "asked", _body(task), actor=ws.settings.who, key=f"{subject}/asked")
        run.result({"asked": len(fresh)})
    return asked


def next_task(ws: Workspace, queue: str, who: str, lease_s: float = 600) -> Task | None:
    """Lease the next open task to a person, or the one that they hold already; None when nothing is open.

    Tasks come in the order they were asked. Two people asking at once never get the same one. Raises NotFound for an
    unknown queue.
    """
    if not who:
        raise BadInput("who is empty; give the name of the person who answers")
    for _ in range(_ATTEMPTS):
        states, now = _known(ws, queue), ws.now
        waiting = [state for state in states.values() if not state.answers]
        mine = [state for state in waiting if state.held_by(now) == who]
        free = [state for state in waiting if state.held_by(now) is None]
        if not mine and not free:
            return None
        state = (mine or free)[0]
        until = now + timedelta(seconds=lease_s)
        try:
            ws.graph.record(
                f"labels/{queue}/{state.task.id}",
                "leased",
                {"who": who, "until": iso(until)},
                actor=who,
                expect=state.seq,
            )
        except Conflict:
            continue
        return _leased(state.task, until)
    raise Conflict(f"queue {queue!r}: others took {_ATTEMPTS} tasks in a row; ask again")


def answer(ws: Workspace, queue: str, task_id: str, value: Value, who: str) -> Answer:
    """Append a person's answer; the same answer of the same person again changes nothing.

    task_id: or its first characters, where they name one task. value: one of the task's allowed answers, or its text
    ("1" for 1). Answering without a lease is allowed: leases only keep people from doing work twice. Recorded: a run
    "prepare.label" whose artifact "labels" is the label set up to this answer. Raises NotFound, BadInput.
    """
    if not who:
        raise BadInput("who is empty; give the name of the person who answers")
    for _ in range(_ATTEMPTS):
        state = _find(_known(ws, queue), queue, task_id)
        task, given = state.task, _allowed(state.task, value)
        before = state.answers.get(who)
        if before is not None and _same(before.value, given):
            return before
        body = {"who": who, "value": given, "at": iso(ws.now)}
        try:
            event = ws.graph.record(f"labels/{queue}/{task.id}", "answered", body, actor=who, expect=state.seq)
        except Conflict:
            continue
        _record_set(ws, queue, task, event, who)
        return _answer(task, event)
    raise Conflict(f"task {task_id}: others changed it {_ATTEMPTS} times in a row; answer again")


def answers(ws: Workspace, queue: str, *, through: int | None = None) -> list[Answer]:
    """The last answer of each person to each task, in the order of the answers. through: only events up to that seq.

    A label set's artifact says `through` in its meta, so an old version can be read again.
    """
    known = _known(ws, queue, through)
    return sorted((each for state in known.values() for each in state.answers.values()), key=lambda each: each.seq)


def progress(ws: Workspace, queue: str) -> Progress:
    """How far the queue is. Raises NotFound for an unknown one."""
    states, now = list(_known(ws, queue).values()), ws.now
    by: dict[str, int] = {}
    for state in states:
        for who in state.answers:
            by[who] = by.get(who, 0) + 1
    answered = sum(bool(state.answers) for state in states)
    leased = sum(not state.answers and state.held_by(now) is not None for state in states)
    return Progress(queue, len(states), answered, leased, len(states) - answered - leased, dict(sorted(by.items())))


def tasks(ws: Workspace, queue: str) -> list[Task]:
    """All tasks of a queue in the order they were asked."""
    return [state.task for state in _known(ws, queue).values()]


def queues(ws: Workspace) -> list[str]:
    """The names of all queues, sorted."""
    return sorted({event.subject.split("/")[1] for event in ws.graph.events("labels/*", kind="asked")})


def _task(queue: str, given: Mapping[str, Any]) -> Task:
    if "key" not in given:
        raise BadInput(f"a task {dict(given)!r} has no key; each needs key, given, suggested and show")
    label, hint = given.get("given"), given.get("suggested")
    pair = () if label is None or hint is None else (label, hint)
    allowed = tuple(given["allowed"]) if "allowed" in given else tuple(sorted(set(pair), key=str))
    key = str(given["key"])
    # The question, not only the row: asked again after a correction, a row is a new task.
    name = json_digest([queue, key, label, hint])[:16]
    return Task(name, queue, key, label, hint, dict(given.get("show", {})), allowed)


def _body(task: Task) -> dict[str, Any]:
    return {
        "key": task.key,
        "given": task.given,
        "suggested": task.suggested,
        "show": dict(task.show),
        "allowed": list(task.allowed),
    }


def _leased(task: Task, until: datetime) -> Task:
    return Task(task.id, task.queue, task.key, task.given, task.suggested, task.show, task.allowed, until)


def _states(ws: Workspace, queue: str, through: int | None = None) -> dict[str, _State]:
    found: dict[str, _State] = {}
    for event in ws.graph.events(f"labels/{queue}/*"):
        if through is not None and event.seq > through:
            break
        name = event.subject.rpartition("/")[2]
        if event.body.get("erased"):  # the row's person was erased: the task is no longer there
            continue
        if event.kind == "asked":
            found.setdefault(name, _State(_task_of(name, queue, event), event.seq))
        state = found[name]
        state.seq = event.seq
        if event.kind == "leased":
            state.holder, state.until = str(event.body["who"]), parse_time(event.body["until"])
        elif event.kind == "answered":
            made = _answer(state.task, event)
            state.answers[made.who] = made
            state.holder = state.until = None
    return found


def _task_of(name: str, queue: str, event: Event) -> Task:
    body = event.body
    return Task(name, queue, body["key"], body["given"], body["suggested"], body["show"], tuple(body["allowed"]))


def _answer(task: Task, event: Event) -> Answer:
    body = event.body
    return Answer(task.id, task.key, task.given, body["value"], body["who"], parse_time(body["at"]), event.seq)


def _known(ws: Workspace, queue: str, through: int | None = None) -> dict[str, _State]:
    states = _states(ws, queue, through)
    if not states and through is None:
        have = queues(ws)
        raise NotFound(f"no label queue {queue!r}; there are {', '.join(have) or 'none'}.{nearest(queue, have)}")
    return states


def _find(states: Mapping[str, _State], queue: str, task_id: str) -> _State:
    matching = [state for name, state in states.items() if task_id and name.startswith(task_id)]
    if len(matching) != 1:
        found = "no task" if not matching else f"{len(matching)} tasks"
        raise NotFound(f"{found} {task_id!r} in queue {queue!r}; see `tidemill label next {queue}`")
    return matching[0]


def _allowed(task: Task, value: Value) -> Value:
    if not task.allowed:
        return value
    for each in task.allowed:
        if _same(each, value) or (isinstance(value, str) and value.strip().lower() == str(each).lower()):
            return each
    shown = ", ".join(map(str, task.allowed))
    raise BadInput(f"answer {value!r} to task {task.id}; allowed: {shown}")


def _same(one: Value, other: Value) -> bool:
    return type(one) is type(other) and one == other


def _record_set(ws: Workspace, queue: str, task: Task, event: Event, who: str) -> None:
    """The label set up to this answer: its content is the event's hash, which commits to the whole log before it."""
    asked = ws.graph.find(Query("artifact", kind="tasks", name=queue, limit=1))
    inputs = [("tasks", each) for each in asked if isinstance(each, Artifact)]
    with recorded(ws, "prepare.label", queue, inputs=inputs, params={"task": task.id, "who": who}) as run:
        run.emit_json(
            "labels",
            queue,
            {"format": 1, "queue": queue, "through": event.seq, "event": event.hash},
            meta={"queue": queue, "through": event.seq, "by": who, "task": task.id},
            slot="labels",
        )
