"""Questions that an execution puts to a person, parked in the database while they wait: no worker is held.

A question is known by its text and how often it was asked before in the execution ("promote?", "promote?#2").
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.core.ids import iso, parse_time, utc_now
from tidemill.core.types import Batch, Event, NewEvent, Run
from tidemill.core.workspace import Workspace


class Parked(BaseException):  # not an Exception: a build function that catches errors must not go on without an answer
    """The execution waits for a person."""

    def __init__(self, approval: str, text: str, timeout_s: float | None) -> None:
        super().__init__(text)
        self.approval = approval
        self.text = text
        self.timeout_s = timeout_s


@dataclass(frozen=True, slots=True)
class Approval:
    """A question. answer: "yes", "no", or None while nobody has answered; by: who did ("timeout": nobody in time)."""

    run_id: str
    approval: str
    text: str
    asked_at: datetime
    until: datetime | None
    answer: str | None = None
    by: str | None = None
    note: str = ""
    at: datetime | None = None

    def expired(self, now: datetime) -> bool:
        """Whether the time for an answer is over."""
        return self.answer is None and self.until is not None and now >= self.until


def park(ws: Workspace, run: Run, parked: Parked) -> None:
    """Record the question of that execution, durably, unless it stands already."""
    if parked.approval in of_run(ws, run.id):
        return
    until = None if parked.timeout_s is None else iso(utc_now() + timedelta(seconds=parked.timeout_s))
    body = {"approval": parked.approval, "text": parked.text, "until": until}
    ws.graph.write(Batch(events=[NewEvent(f"flow/{run.id}", "parked", body, actor=run.actor)]))


def read(events: list[Event]) -> dict[str, Approval]:
    """The questions of one execution, from its events."""
    found: dict[str, Approval] = {}
    for event in events:
        name = str(event.body.get("approval", ""))
        if event.kind == "parked" and name not in found:
            until = event.body.get("until")
            run_id = event.subject.partition("/")[2]
            found[name] = Approval(
                run_id, name, str(event.body["text"]), event.at, None if until is None else parse_time(str(until))
            )
        elif event.kind == "decided" and name in found and found[name].answer is None:
            asked = found[name]
            found[name] = Approval(
                asked.run_id,
                name,
                asked.text,
                asked.asked_at,
                asked.until,
                str(event.body["answer"]),
                str(event.body["by"]),
                str(event.body.get("note", "")),
                event.at,
            )
    return found


def of_run(ws: Workspace, run_id: str) -> dict[str, Approval]:
    """The questions of an execution, by name."""
    return read(ws.graph.events(f"flow/{run_id}"))


def decide(ws: Workspace, run_id: str, answer: bool, *, approval: str | None = None, note: str = "") -> Approval:
    """Answer a question (by default the one that is open); the scheduler, or `flow resume`, then runs the rest.

    Raises NotFound where nothing is asked, Conflict where somebody has answered already, BadInput past its time.
    """
    run = ws.graph.get(run_id)
    if not isinstance(run, Run) or run.kind != "flow.pipeline":
        raise NotFound(f"{run_id} is no execution of a pipeline; `tidemill flow runs` lists them")
    asked = of_run(ws, run.id)
    still = [each for each in asked.values() if each.answer is None]
    if approval is None:
        if len(still) != 1:
            names = ", ".join(each.approval for each in still) or "nothing"
            raise NotFound(f"execution {run.id} asks {names}; name the question that you answer")
        approval = still[0].approval
    if approval not in asked:
        raise NotFound(f"execution {run.id} does not ask {approval!r}; it asks {', '.join(asked) or 'nothing'}")
    found = asked[approval]
    if found.answer is not None:
        raise Conflict(f"{found.by} answered {found.answer} to {approval!r} at {found.at}; an answer stays")
    now = utc_now()
    if found.expired(now):
        raise BadInput(f"the time to answer {approval!r} ended at {found.until}; run the pipeline again")
    if run.status != "running":
        raise BadInput(f"execution {run.id} ended as {run.status}; its question is open no more")
    body = {"approval": approval, "answer": "yes" if answer else "no", "by": ws.settings.who, "note": note}
    event = ws.graph.record(
        f"flow/{run.id}", "decided", body, actor=ws.settings.who, key=f"decided/{run.id}/{approval}"
    )
    if event.body != body or event.actor != ws.settings.who:
        raise Conflict(f"{event.body['by']} answered {event.body['answer']} to {approval!r} a moment ago")
    return of_run(ws, run.id)[approval]
