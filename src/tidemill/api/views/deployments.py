"""Deployments: who answers, how well it went over time, and what was decided when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tidemill.api.views.alerting import alert_line
from tidemill.api.views.shaping import Shown, artifact_line, event_line, event_time, numbers, plain
from tidemill.core.errors import NotFound, nearest
from tidemill.core.ids import iso
from tidemill.core.types import Artifact, Deployment, Event, Traffic
from tidemill.core.workspace import Workspace
from tidemill.project import Project

if TYPE_CHECKING:
    from tidemill.watch.alerts import Raised

DAYS = 60  # days of the latency and drift table; the plot has all
REPORTS = 1_000

# The loop's decisions that the plot marks, in the plain words of its legend.
MARKS = {"shadow": "rebuilt", "promoted": "promoted", "rolled back": "rolled back", "rejected": "rejected"}


def deployments(project: Project) -> Shown:
    """All deployments by name with their traffic and whether their server runs."""
    from tidemill.serve import deploy

    return {"deployments": [_line(project.ws, found) for found in deploy.deployments(project.ws)]}


def deployment(project: Project, name: str) -> Shown:
    """One deployment: revisions, traffic and its history, performance over time with marks, days, alerts.

    Raises NotFound naming the nearest.
    """
    from tidemill.improve import loop
    from tidemill.serve import deploy
    from tidemill.watch import alerts, monitor

    ws = project.ws
    decided = loop.decisions(ws, name)
    revisions = deploy.revisions(ws, name)
    if not revisions:
        known = [each.name for each in deploy.deployments(ws)]
        raise NotFound(f"no deployment {name!r}; there are {', '.join(known) or 'none'}.{nearest(name, known)}")
    traffic = ws.graph.events(f"deployment/{name}", kind="traffic")
    reports = [
        {"id": each.run, **plain({slot: getattr(each, slot) for slot in _DAY}), "drifted": each.drifted}
        for each in monitor.reports(ws, name, limit=REPORTS)
    ]
    raised = alerts.alerts(ws, name)
    return {
        **_line(ws, revisions[0]),
        "revisions": [_revision(each) for each in revisions],
        "history": [{**event_line(event), "happened_at": event_time(event)} for event in reversed(traffic)],
        "performance": {
            "days": [
                {"day": line["day"], "revision": line["revision"], **line["performance"]}
                for line in reports
                if line["performance"]
            ],
            "months": _months(ws, name),
            "marks": _marks(ws, name, traffic, {each.revision: each for each in revisions}),
            "alert_days": _alert_days(raised),
        },
        "decisions": [{"at": iso(each.at), "kind": each.kind, "text": each.text} for each in decided],
        "days": list(reversed(reports[-DAYS:])),
        "checked_days": len(reports),
        "alerts": [alert_line(each) for each in reversed(raised[-10:])],
        "total_alerts": len(raised),
        "open_alerts": sum(each.acknowledged is None for each in raised),
    }


_DAY = ("day", "revision", "rows", "p50_ms", "p95_ms", "error_share", "performance", "missing_truth_share", "alerts")


def _line(ws: Workspace, newest: Deployment) -> Shown:
    from tidemill.serve.client import process_runs
    from tidemill.serve.server import read_state

    events = ws.graph.events(f"deployment/{newest.name}", kind="traffic", last=1)
    traffic = Traffic.of(events[0].body) if events else None
    state = read_state(ws.root, newest.name)
    runs = state is not None and process_runs(int(state["pid"]))
    champion = None if traffic is None else _of_revision(ws, newest, traffic.champion)
    return {
        "name": newest.name,
        "newest": artifact_line(newest),
        "traffic": None if traffic is None else traffic.body(),
        "champion": None if champion is None else _revision(champion),
        "server": {"state": "running" if runs else "stopped", "url": state["url"] if state and runs else None},
    }


def _of_revision(ws: Workspace, newest: Deployment, number: int) -> Deployment | None:
    from tidemill.serve.lineup import revision

    if newest.revision == number:
        return newest
    try:
        return revision(ws, newest.name, number)
    except NotFound:
        return None


def _revision(found: Deployment) -> Shown:
    meta = found.artifact.meta
    return {
        **artifact_line(found),
        "revision": found.revision,
        "model_id": found.model_id,
        "model_name": meta.get("model_name"),
        "model_version": meta.get("model_version"),
    }


_kept: dict[tuple[str, str, str, str], list[Shown]] = {}


def _months(ws: Workspace, name: str) -> list[Shown]:
    """Scores by calendar month (UTC) of all answers whose truth is known, whoever answered.

    Kept in this process by the digests of the two tables: a year of answers takes a second to score.
    """
    from tidemill.watch import log, performance, truth

    answers, truths = log.newest(ws, name), truth.newest(ws, name)
    if answers is None or truths is None:
        return []
    key = (ws.url, name, answers.digest, truths.digest)
    if key not in _kept:
        lines: list[Shown] = [{**numbers_of(line), "period": line["period"]} for line in performance.monthly(ws, name)]
        if len(_kept) > 32:
            _kept.pop(next(iter(_kept)))
        _kept[key] = lines
    return _kept[key]


def numbers_of(line: dict[str, Any]) -> dict[str, float | None]:
    """The numbers of a line of scores."""
    return numbers({key: value for key, value in line.items() if key != "period"})


def _marks(ws: Workspace, name: str, traffic: list[Event], revisions: dict[int, Deployment]) -> list[Shown]:
    """What happened when, in order of time: {at, what, text}.

    From the loop's decisions and from changes of the champion in the traffic (a person's, or the loop's own again); the
    same happening told by both (same day, same word) is one mark.
    """
    found: list[Shown] = []
    for event in ws.graph.events(f"loop/{name}"):
        if event.kind in MARKS:
            text = str(event.body.get("text") or event.kind)
            found.append({"at": event_time(event), "what": MARKS[event.kind], "text": text})
    champion: int | None = None
    seen: set[int] = set()
    for event in traffic:
        number = int(event.body["champion"])
        if number != champion:
            what = "deployed" if champion is None else "rolled back" if number in seen else "promoted"
            why = f": {event.body['why']}" if event.body.get("why") else ""
            text = f"revision {number} ({_model_label(revisions.get(number))}) became champion{why}"
            found.append({"at": event_time(event), "what": what, "text": text})
        champion = number
        seen.add(number)
    kept: dict[tuple[str, str], Shown] = {}
    for mark in sorted(found, key=lambda mark: str(mark["at"])):
        kept.setdefault((mark["at"][:10], mark["what"]), mark)
    return list(kept.values())


def _alert_days(raised: Sequence[Raised]) -> list[Shown]:
    """The days that have alerts, in order: {at, what, text}."""
    by_day: dict[str, list[str]] = {}
    for each in raised:
        by_day.setdefault(iso(each.at), []).append(each.text)
    return [
        {"at": at, "what": "alert" if len(texts) == 1 else f"{len(texts)} alerts", "text": "; ".join(texts[:4])}
        for at, texts in sorted(by_day.items())
    ]


def _model_label(found: Deployment | None) -> str:
    if found is None:
        return "unknown model"
    return f"{found.artifact.meta.get('model_name')}@{found.artifact.meta.get('model_version')}"


def find_artifact(ws: Workspace, node_id: str) -> Artifact | None:
    """The artifact of that id, None where there is none."""
    try:
        found = ws.graph.get(node_id)
    except NotFound:
        return None
    return found if isinstance(found, Artifact) else None
