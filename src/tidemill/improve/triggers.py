"""When a rebuild is due: an alert of the asked kinds, or a month's truth that has come in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from tidemill.core.ids import iso
from tidemill.core.workspace import Workspace
from tidemill.watch.alerts import alerts


class Triggers(Protocol):
    """The part of a loop's specification that says when."""

    @property
    def deployment(self) -> str:
        """Whose alerts count."""
        ...

    @property
    def on_alerts(self) -> tuple[str, ...]:
        """Kinds of alert that trigger."""
        ...

    @property
    def monthly(self) -> bool:
        """Whether a month's truth triggers."""
        ...

    @property
    def truth_days(self) -> int:
        """Days after the month's end by which its truth is in."""
        ...

    @property
    def cooldown_days(self) -> int:
        """No rebuild sooner after the last one."""
        ...


def due(ws: Workspace, spec: Triggers, rebuilt_at: datetime | None, now: datetime) -> str | None:
    """Why a rebuild is due at `now`, or None."""
    if rebuilt_at is not None and now - rebuilt_at < timedelta(days=spec.cooldown_days):
        return None
    since = rebuilt_at or datetime.min.replace(tzinfo=now.tzinfo)
    raised = [one for one in alerts(ws, spec.deployment, until=now) if one.at > since and one.what in spec.on_alerts]
    if raised:
        return f"alert: {raised[-1].text}"
    month_in = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=spec.truth_days)
    if spec.monthly and now >= month_in and since < month_in and _answered_before(ws, spec.deployment, month_in):
        last = month_in - timedelta(days=spec.truth_days + 1)
        return f"truth of {last:%B %Y} is in"
    return None


def _answered_before(ws: Workspace, deployment: str, moment: datetime) -> bool:
    """Whether the deployment existed a fortnight before: a month's first days are no month."""
    events = ws.graph.events(f"deployment/{deployment}", kind="traffic")
    return bool(events) and str(events[0].body["at"]) <= iso(moment - timedelta(days=14))
