"""Alerts: raised once for what was seen on a day, acknowledged by a person; all of it events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemill.core.errors import NotFound
from tidemill.core.ids import iso, parse_time
from tidemill.core.recording import key_of
from tidemill.core.types import Alert, Event, Json
from tidemill.core.workspace import Workspace

SHORT = 12


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert as it stands: `id` names it, `acknowledged` says who has seen it, if anybody, `note` what they said."""

    id: str
    seq: int
    alert: Alert
    acknowledged: str | None = None
    acknowledged_at: datetime | None = None
    note: str = ""

    @property
    def deployment(self) -> str:
        """Of which deployment."""
        return self.alert.deployment

    @property
    def what(self) -> str:
        """What was seen, for example "input drift"."""
        return self.alert.what

    @property
    def at(self) -> datetime:
        """When it was seen, by the workspace's clock."""
        return self.alert.at

    @property
    def text(self) -> str:
        """The finding in one sentence."""
        return self.alert.text

    @property
    def evidence(self) -> Json:
        """The statistic, p-value, threshold, column ..."""
        return self.alert.evidence


def raise_alert(ws: Workspace, alert: Alert) -> Raised:
    """Record the alert; the same thing (what, day, column) seen again is the same alert."""
    key = _key(alert)
    body = {"what": alert.what, "at": iso(alert.at), "text": alert.text, "evidence": dict(alert.evidence)}
    event = ws.graph.record(_subject(alert.deployment), "raised", body, actor=ws.settings.who, key=key)
    return _raised(event)


def alerts(
    ws: Workspace,
    deployment: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    after_seq: int = 0,
) -> list[Raised]:
    """The alerts of one deployment, or of all, in the order in which they were raised; since <= at <= until."""
    events = ws.graph.events("alert/*" if deployment is None else _subject(deployment), after=after_seq)
    seen: dict[str, Event] = {event.body["alert"]: event for event in events if event.kind == "acknowledged"}
    found = []
    for event in events:
        if event.kind != "raised":
            continue
        raised = _raised(event, seen.get(_name(event)))
        if (since is None or raised.at >= since) and (until is None or raised.at <= until):
            found.append(raised)
    return found


def acknowledge(ws: Workspace, alert_id: str, *, who: str = "", note: str = "") -> Raised:
    """Record that a person has seen the alert; NotFound for an unknown id. Done twice, the first one counts."""
    for raised in alerts(ws):
        if raised.id.startswith(alert_id) and len(alert_id) >= SHORT // 2:
            body = {"alert": raised.id, "note": note}
            actor = who or ws.settings.who
            ws.graph.record(
                _subject(raised.deployment), "acknowledged", body, actor=actor, key=f"acknowledged/{raised.id}"
            )
            return next(one for one in alerts(ws, raised.deployment) if one.id == raised.id)
    raise NotFound(f"no alert {alert_id!r}; `tidemill alerts list` shows them")


def _subject(deployment: str) -> str:
    return f"alert/{deployment}"


def _key(alert: Alert) -> str:
    return key_of("alert", alert.deployment, alert.what, iso(alert.at), alert.evidence.get("column"))


def _name(event: Event) -> str:
    return (event.key or event.hash)[:SHORT]


def _raised(event: Event, seen: Event | None = None) -> Raised:
    body: Mapping[str, Any] = event.body
    alert = Alert(event.subject.partition("/")[2], body["what"], parse_time(body["at"]), body["text"], body["evidence"])
    return Raised(
        _name(event),
        event.seq,
        alert,
        None if seen is None else seen.actor,
        None if seen is None else seen.at,
        "" if seen is None else str(seen.body.get("note", "")),
    )
