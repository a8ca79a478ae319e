"""Schedules as data, and which are deployed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow.scheduling import schedules
from tidemill.flow.scheduling.schedules import Schedule, cron, every, on_alert, on_dataset, on_webhook

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (cron("30 2 * * *", zone="Europe/Berlin", catch_up="all"), 'cron "30 2 * * *" Europe/Berlin'),
        (every("90m", start=NOON), "every 1h30m"),
        (on_dataset("flights", catch_up="none"), "on a new version of dataset flights"),
        (on_alert("departures", "input drift", "errors"), "on an alert of departures (input drift, errors)"),
        (on_alert("departures"), "on an alert of departures"),
        (on_webhook("push"), "on a call of webhook push"),
    ],
)
def test_a_schedule_goes_through_json_and_reads_as_text(schedule: Schedule, text: str) -> None:
    assert schedules.of_json(json.loads(json.dumps(schedules.to_json(schedule)))) == schedule
    assert schedules.text_of(schedule) == text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "moon"}, "no schedule of kind 'moon'; known are cron, every, dataset, alert, webhook"),
        ({"kind": "every", "every_s": 0.5}, "an interval of 0.5 s is too short; the least is 1s"),
        ({"kind": "every", "seconds": 5}, "has other fields than Every has"),
        ({"kind": "cron", "expression": "0 0 * * *", "catch_up": "some"}, "catch_up is 'some'; allowed: latest, all"),
    ],
)
def test_what_is_no_schedule_is_refused(body: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        schedules.of_json(body)


def test_an_interval_is_a_number_with_a_unit() -> None:
    assert every(timedelta(minutes=5)).every_s == every("5m").every_s == every(300).every_s == 300
    with pytest.raises(BadInput, match="the interval is '5 fortnights'; write a number and a unit"):
        every("5 fortnights")


def test_a_deployed_schedule_is_kept_with_all_it_was_given(ws: Workspace, tmp_path: Path) -> None:
    made = schedules.deploy(
        ws.at(NOON),
        "build",
        "flows.py:build",
        cron("0 5 * * *"),
        name="nightly",
        params={"rows": 10},
        queue="gpu",
        priority=3,
        as_="ada",
        at_once=2,
        slot_param="day",
        folder=tmp_path,
    )
    (found,) = schedules.listed(open_workspace(ws.root))
    assert found == made
    assert (found.name, found.pipeline, found.entry) == ("nightly", "build", "flows.py:build")
    assert (found.queue, found.priority, found.as_, found.at_once) == ("gpu", 3, "ada", 2)
    assert (found.params, found.slot_param, found.folder) == ({"rows": 10}, "day", str(tmp_path))
    assert (found.since, found.schedule, found.paused) == (NOON, cron("0 5 * * *"), False)


def test_the_name_is_the_pipelines_and_who_deploys_it_is_who_it_runs_as(ws: Workspace) -> None:
    made = schedules.deploy(ws, "build", "flows.py:build", every("1h"))
    assert (made.name, made.as_) == ("build", ws.settings.who)


def test_deployed_again_under_the_same_name_the_new_schedule_replaces_the_old(ws: Workspace) -> None:
    schedules.deploy(ws.at(NOON), "build", "flows.py:build", every("1h"))
    schedules.deploy(ws.at(NOON + timedelta(days=1)), "build", "flows.py:build", every("2h"))
    (found,) = schedules.listed(ws)
    assert (found.schedule, found.since) == (every("2h"), NOON + timedelta(days=1))


def test_a_pause_holds_until_it_is_resumed_and_counts_from_then(ws: Workspace) -> None:
    schedules.deploy(ws.at(NOON), "build", "flows.py:build", every("1h"))
    assert schedules.pause(ws, "build").paused
    later = NOON + timedelta(days=1)
    resumed = schedules.resume(ws.at(later), "build")
    assert (resumed.paused, resumed.since) == (False, later)


def test_an_undeployed_schedule_is_gone_and_the_log_tells_of_it(ws: Workspace) -> None:
    schedules.deploy(ws, "build", "flows.py:build", every("1h"))
    schedules.undeploy(ws, "build")
    assert schedules.listed(ws) == []
    assert [event.kind for event in ws.graph.events("schedule/build")] == ["deployed", "undeployed"]
    with pytest.raises(NotFound, match="no schedule 'build'; deployed are none"):
        schedules.pause(ws, "build")


def test_an_unknown_schedule_names_the_nearest(ws: Workspace) -> None:
    schedules.deploy(ws, "build", "flows.py:build", every("1h"))
    with pytest.raises(NotFound, match=r"no schedule 'biuld'; deployed are build. Did you mean 'build'\?"):
        schedules.get(ws, "biuld")


def test_what_cannot_be_deployed_is_refused(ws: Workspace) -> None:
    with pytest.raises(BadInput, match="the schedule's name is 'a/b'; allowed are letters, digits"):
        schedules.deploy(ws, "a/b", "flows.py:build", every("1h"))
    with pytest.raises(BadInput, match="at_once is 0; at least one execution must be allowed"):
        schedules.deploy(ws, "a", "flows.py:build", every("1h"), at_once=0)
    with pytest.raises(BadInput, match="parameter 'day' is given a value and the slot"):
        schedules.deploy(ws, "a", "flows.py:build", every("1h"), params={"day": 1}, slot_param="day")
    with pytest.raises(BadInput, match="params of schedule 'a' are no JSON"):
        schedules.deploy(ws, "a", "flows.py:build", every("1h"), params={"day": object()})
    assert schedules.listed(ws) == []
