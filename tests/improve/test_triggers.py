"""When a rebuild is due: alerts of the asked kinds, a month's truth, and the cooldown between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidemill.core.ids import iso
from tidemill.core.types import Alert
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.improve.triggers import due
from tidemill.watch.alerts import raise_alert

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Spec:
    deployment: str = "d"
    on_alerts: tuple[str, ...] = ("performance",)
    monthly: bool = True
    truth_days: int = 2
    cooldown_days: int = 10


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = open_workspace(tmp_path / "w.mill")
    body = {"champion": 1, "why": "deployed", "at": iso(datetime(2026, 3, 1, tzinfo=UTC))}
    opened.graph.record("deployment/d", "traffic", body)
    yield opened
    opened.close()


def at(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def test_an_alert_of_an_asked_kind_is_a_reason_others_are_not(ws: Workspace) -> None:
    raise_alert(ws, Alert("d", "input drift", at(3, 5), "input x drifted", {"column": "x"}))
    assert due(ws, Spec(), None, at(3, 6)) is None
    raise_alert(ws, Alert("d", "performance", at(3, 6), "AUC fell", {}))
    assert due(ws, Spec(), None, at(3, 5)) is None  # not raised yet at that moment
    assert due(ws, Spec(), None, at(3, 6)) == "alert: AUC fell"


def test_an_alert_from_before_the_last_rebuild_is_no_reason_again(ws: Workspace) -> None:
    raise_alert(ws, Alert("d", "performance", at(3, 6), "AUC fell", {}))
    assert due(ws, Spec(monthly=False), at(3, 7), at(3, 25)) is None


def test_no_rebuild_within_the_cooldown(ws: Workspace) -> None:
    raise_alert(ws, Alert("d", "performance", at(3, 20), "AUC fell", {}))
    assert due(ws, Spec(), at(3, 15), at(3, 24)) is None
    assert due(ws, Spec(), at(3, 15), at(3, 25)) == "alert: AUC fell"


def test_a_months_truth_is_a_reason_once_its_last_days_have_come_in(ws: Workspace) -> None:
    assert due(ws, Spec(), None, at(4, 2)) is None
    assert due(ws, Spec(), None, at(4, 3)) == "truth of March 2026 is in"
    assert due(ws, Spec(), at(4, 3), at(4, 20)) is None
    assert due(ws, Spec(), at(4, 3), at(5, 3)) == "truth of April 2026 is in"
    assert due(ws, Spec(monthly=False), None, at(4, 3)) is None


def test_the_first_days_of_a_deployment_are_no_month(ws: Workspace) -> None:
    assert due(ws, Spec(), None, at(3, 4)) is None
