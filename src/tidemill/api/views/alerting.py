"""Alerts as they stand, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.api.views.shaping import Shown, plain
from tidemill.core.ids import iso
from tidemill.project import Project

if TYPE_CHECKING:
    from tidemill.watch.alerts import Raised


def alerts(project: Project, *, deployment: str | None = None, limit: int = 200) -> Shown:
    """The last `limit` alerts of one deployment or of all. `open`: how many nobody has acknowledged."""
    from tidemill.watch import alerts as watched

    found = watched.alerts(project.ws, deployment)
    return {
        "deployment": deployment,
        "total": len(found),
        "open": sum(each.acknowledged is None for each in found),
        "alerts": [alert_line(each) for each in reversed(found[-limit:] if limit > 0 else [])],
    }


def acknowledge(project: Project, alert_id: str, *, note: str = "") -> Shown:
    """Record that a person has seen the alert; NotFound for an unknown id."""
    from tidemill.watch import alerts as watched

    return alert_line(watched.acknowledge(project.ws, alert_id, note=note))


def alert_line(raised: Raised) -> Shown:
    """An alert as a line of a list."""
    return {
        "id": raised.id,
        "deployment": raised.deployment,
        "what": raised.what,
        "at": iso(raised.at),
        "text": raised.text,
        "evidence": plain(raised.evidence),
        "acknowledged": raised.acknowledged,
        "acknowledged_at": None if raised.acknowledged_at is None else iso(raised.acknowledged_at),
        "note": raised.note,
    }
