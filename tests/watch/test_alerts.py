"""Alerts: raised once, acknowledged once, found by deployment and time."""

from __future__ import annotations

import pytest
from logged import DAY, START

from tidemill.core.errors import NotFound
from tidemill.core.types import Alert
from tidemill.core.workspace import Workspace
from tidemill.watch.alerts import acknowledge, alerts, raise_alert


def drifted(column: str, day: int = 0, deployment: str = "d") -> Alert:
    return Alert(
        deployment, "input drift", START + day * DAY, f"input {column} drifted", {"column": column, "q": 0.001}
    )


def test_the_same_finding_of_a_day_is_one_alert(ws: Workspace) -> None:
    first = raise_alert(ws, drifted("x"))
    assert raise_alert(ws, drifted("x")) == first
    raise_alert(ws, drifted("y"))
    raise_alert(ws, drifted("x", day=1))
    assert [(one.evidence["column"], one.at) for one in alerts(ws, "d")] == [
        ("x", START),
        ("y", START),
        ("x", START + DAY),
    ]


def test_alerts_are_found_by_deployment_and_time(ws: Workspace) -> None:
    raise_alert(ws, drifted("x"))
    raise_alert(ws, drifted("x", deployment="other"))
    raise_alert(ws, drifted("x", day=5))
    assert [one.deployment for one in alerts(ws)] == ["d", "other", "d"]
    assert [one.at for one in alerts(ws, "d", since=START + DAY)] == [START + 5 * DAY]
    assert [one.at for one in alerts(ws, "d", until=START + DAY)] == [START]


def test_a_person_acknowledges_once_and_the_first_note_stays(ws: Workspace) -> None:
    raised = raise_alert(ws, drifted("x"))
    assert raised.acknowledged is None
    seen = acknowledge(ws, raised.id, who="ann", note="the sensor was moved")
    assert (seen.acknowledged, seen.note) == ("ann", "the sensor was moved")
    again = acknowledge(ws, raised.id, who="bob", note="no")
    assert again.acknowledged == "ann"
    assert alerts(ws, "d") == [seen]


def test_an_unknown_alert_is_named(ws: Workspace) -> None:
    with pytest.raises(NotFound, match=r"no alert 'nope'; `tidemill alerts list` shows them"):
        acknowledge(ws, "nope")
