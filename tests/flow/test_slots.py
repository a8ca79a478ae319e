"""Which slots run: neither skipped nor doubled, whatever the clock does and whoever else schedules."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidemill.core.ids import iso, new_id
from tidemill.core.recording import recorded
from tidemill.core.types import Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow.scheduling import schedules, slots
from tidemill.flow.scheduling.schedules import Schedule, Scheduled, cron, every, on_alert, on_dataset

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


def deployed(ws: Workspace, schedule: Schedule, since: datetime = NOON, **options: object) -> Scheduled:
    return schedules.deploy(ws.at(since), "build", "flows.py:build", schedule, **options)  # type: ignore[arg-type]


Ran = Callable[..., list[str]]


@pytest.fixture(params=["each alone", "as a scheduler remembers"])
def ran(request: pytest.FixtureRequest) -> Ran:
    """The slots that ticks at these moments took, as minutes and seconds after noon."""
    remembered: dict[int, slots.Watched] = {}

    def ticks(ws: Workspace, one: Scheduled, *moments: datetime) -> list[str]:
        if request.param == "each alone":
            runs = [run for moment in moments for run in slots.claim(ws, schedules.get(ws, one.name), moment)]
        else:
            watched = remembered.setdefault(id(ws), slots.Watched())
            runs = [run for moment in moments for run in slots.take(ws, moment, watched)]
        return [short(run.tags["slot"]) for run in runs if run.tags["schedule"] == one.name]

    return ticks


def short(slot: str) -> str:
    past = int((datetime.fromisoformat(slot) - NOON).total_seconds())
    return f"{past // 60}:{past % 60:02}"


def test_each_slot_is_taken_once_at_or_after_its_time(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, cron("* * * * *"))
    assert ran(ws, one, NOON + 59 * SECOND) == []
    assert ran(ws, one, NOON + 60 * SECOND) == ["1:00"]
    assert ran(ws, one, NOON + 61 * SECOND, NOON + 119 * SECOND) == []
    assert ran(ws, one, NOON + 120 * SECOND) == ["2:00"]


def test_after_an_outage_of_ten_minutes_the_newest_slot_runs_and_the_log_says_what_did_not(
    ws: Workspace, ran: Ran
) -> None:
    one = deployed(ws, cron("* * * * *"))
    ran(ws, one, NOON + MINUTE)
    assert ran(ws, one, NOON + 11 * MINUTE + SECOND) == ["11:00"]
    (passed,) = ws.graph.events("slot/build", kind="passed")
    assert passed.body == {
        "from": iso(NOON + 2 * MINUTE),
        "until": iso(NOON + 10 * MINUTE),
        "position": 0,
        "missed": 9,
        "catch_up": "latest",
    }
    assert ran(ws, one, NOON + 12 * MINUTE) == ["12:00"]


def test_after_an_outage_each_slot_runs_where_all_are_caught_up(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, cron("* * * * *", catch_up="all"))
    ran(ws, one, NOON + MINUTE)
    assert ran(ws, one, NOON + 11 * MINUTE) == [f"{minute}:00" for minute in range(2, 12)]


def test_after_an_outage_only_what_is_not_late_runs_where_none_is_caught_up(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, cron("* * * * *", catch_up="none"))
    assert ran(ws, one, NOON + 10 * MINUTE + 30 * SECOND) == ["10:00"]
    daily = deployed(ws, cron("5 12 * * *", catch_up="none"), name="daily")
    assert ran(ws, daily, NOON + 10 * MINUTE) == []
    assert [event.body["missed"] for event in ws.graph.events("slot/daily")] == [1]


def test_slots_closer_than_ticks_are_no_outage(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, every("1s"))
    assert ran(ws, one, NOON + 3 * SECOND) == ["0:01", "0:02", "0:03"]


def test_years_of_missed_seconds_are_passed_over_at_once(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, every("1s"), since=NOON - timedelta(days=700))
    assert ran(ws, one, NOON)[-1] == "0:00"
    (passed,) = ws.graph.events("slot/build", kind="passed")
    assert passed.body["missed"] is None


def test_many_missed_slots_are_caught_up_over_several_ticks(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, every("1m", catch_up="all"), since=NOON - 250 * MINUTE)
    taken = [ran(ws, one, NOON + n * SECOND) for n in range(4)]
    assert [len(each) for each in taken] == [100, 100, 50, 0]
    assert taken[2][-1] == "0:00"


def test_a_clock_put_back_doubles_nothing(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, cron("* * * * *"))
    moments = [NOON + n * MINUTE for n in range(1, 9)]
    assert len(ran(ws, one, *moments)) == 8
    assert ran(ws, one, *moments[3:]) == []
    assert ran(ws, one, NOON + 9 * MINUTE) == ["9:00"]


def test_a_clock_put_forward_and_back_skips_nothing(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, cron("* * * * *"))
    ran(ws, one, NOON + MINUTE)
    assert len(ran(ws, one, NOON + timedelta(days=365))) == 1
    assert ran(ws, one, *(NOON + n * MINUTE for n in range(2, 6))) == ["2:00", "3:00", "4:00", "5:00"]
    assert ran(ws, one, NOON + timedelta(days=365) + SECOND) == []  # that one has run


def test_a_clock_put_back_further_than_the_recent_slots_doubles_nothing(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, every("1m", catch_up="all"))
    assert len(ran(ws, one, NOON + 90 * MINUTE)) == 90
    assert ran(ws, one, *(NOON + n * MINUTE for n in (5, 20, 60, 90))) == []
    assert ran(ws, one, NOON + 91 * MINUTE) == ["91:00"]


def test_both_changes_of_the_clock_skip_and_double_nothing(ws: Workspace) -> None:
    one = deployed(ws, cron("30 2 * * *", zone="Europe/Berlin"), since=datetime(2026, 3, 1, tzinfo=UTC))
    moment, days = datetime(2026, 3, 1, tzinfo=UTC), []
    while moment < datetime(2026, 11, 1, tzinfo=UTC):
        days += [run.tags["slot"][:10] for run in slots.claim(ws, one, moment)]
        moment += timedelta(hours=1)
    first = datetime(2026, 3, 1, tzinfo=UTC)
    assert days == [f"{first + timedelta(days=n):%Y-%m-%d}" for n in range(245)]


def test_nothing_runs_while_a_schedule_is_paused_nor_is_it_caught_up(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, every("1m", catch_up="all"))
    schedules.pause(ws, one.name)
    assert ran(ws, one, NOON + 5 * MINUTE) == []
    schedules.resume(ws.at(NOON + 5 * MINUTE), one.name)
    assert ran(ws, one, NOON + 6 * MINUTE) == ["6:00"]


def test_of_two_schedulers_one_takes_each_slot(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, every("1m", catch_up="all"))
    other = open_workspace(ws.root)
    here, there = [], []
    for minute in range(1, 20):
        now = NOON + minute * MINUTE
        here += ran(ws if minute % 2 else other, one, now)
        there += ran(other if minute % 2 else ws, one, now)
    assert (here, there) == ([f"{minute}:00" for minute in range(1, 20)], [])


def test_an_execution_is_recorded_with_what_it_runs_for(ws: Workspace) -> None:
    one = deployed(ws, cron("0 13 * * *"), params={"rows": 3}, slot_param="hour", as_="ada", queue="gpu", priority=2)
    (run,) = slots.claim(ws, one, NOON + timedelta(hours=1))
    assert ws.graph.get(run.id) == run
    assert (run.kind, run.name, run.status, run.actor) == ("flow.pipeline", "build", "running", "ada")
    assert run.params == {"rows": 3, "hour": "2026-05-01T13:00:00.000000Z"}
    assert run.tags == {
        "trigger": "schedule",
        "queue": "gpu",
        "entry": "flows.py:build",
        "folder": str(Path.cwd()),
        "priority": "2",
        "at_once": "1",
        "schedule": "build",
        "slot": "2026-05-01T13:00:00.000000Z",
    }


def test_an_execution_that_a_killed_scheduler_did_not_record_is_recorded_by_the_next(ws: Workspace, ran: Ran) -> None:
    one = deployed(ws, every("1m"))
    body = {"slot": "x", "until": iso(NOON + MINUTE), "position": 0, "run": new_id(), "pipeline": "build"}
    body |= {"params": {"a": 1}, "tags": {"queue": "default", "schedule": "x"}, "as": "ada", "cause": None}
    ws.graph.record("slot/build", "claimed", body, key="slot/build/x")  # and here it was killed
    assert ran(ws, one, NOON + MINUTE) == []
    found = ws.graph.get(body["run"])
    assert isinstance(found, Run)
    assert (found.params, found.actor, found.status) == ({"a": 1}, "ada", "running")


def test_a_schedule_that_cannot_be_read_any_more_is_told_and_keeps_no_other_back(
    ws: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    one = deployed(ws, every("1m"))
    body = dict(ws.graph.events("schedule/build")[0].body)
    body["schedule"] = {"kind": "cron", "expression": "* * * * *", "zone": "Mars/Olympus", "catch_up": "latest"}
    ws.graph.record("schedule/a", "deployed", body)  # as if its zone had been taken out of the tz database
    logger = logging.getLogger("tidemill.flow.scheduling.slots")  # heard though it may not propagate
    logger.addHandler(caplog.handler)
    taken = slots.take(ws, NOON + MINUTE, slots.Watched())
    logger.removeHandler(caplog.handler)
    assert [run.tags["schedule"] for run in taken] == [one.name]
    assert "schedule a could not be looked at: no time zone 'Mars/Olympus'" in caplog.text


# ------------------------------------------------------------------------------------- datasets, alerts


def version(ws: Workspace, number: int, parent: str | None = None) -> str:
    with recorded(ws, "data.import", "rows", parent=parent) as run:
        return run.emit("dataset", "rows", digest=f"{number:032x}").id


def test_each_new_version_of_a_dataset_runs_with_it_as_input(ws: Workspace) -> None:
    version(ws, 1)
    one = deployed(ws, on_dataset("rows"), slot_param="version")
    now = datetime.now(UTC) + MINUTE / 2
    assert slots.claim(ws, one, now) == []
    made = version(ws, 2)
    (run,) = slots.claim(ws, one, now)
    assert (run.params, run.tags["trigger"]) == ({"version": made}, "dataset")
    assert [(edge.artifact_id, edge.role) for edge in ws.graph.edges([run.id])] == [(made, "in")]
    assert slots.claim(ws, one, now) == []


def test_of_versions_that_were_missed_the_newest_runs_or_all_do(ws: Workspace) -> None:
    latest = deployed(ws, on_dataset("rows"), name="latest")
    each = deployed(ws, on_dataset("rows", catch_up="all"), name="each")
    made = [version(ws, number) for number in range(3)]
    now = datetime.now(UTC) + timedelta(hours=1)
    assert [run.tags["slot"] for run in slots.claim(ws, latest, now)] == [f"dataset/{made[-1]}"]
    assert [run.tags["slot"] for run in slots.claim(ws, each, now)] == [f"dataset/{one}" for one in made]


def test_a_version_that_the_schedule_itself_made_does_not_run_it_again(ws: Workspace) -> None:
    one = deployed(ws, on_dataset("rows"))
    now = datetime.now(UTC) + MINUTE / 2
    version(ws, 1)
    (run,) = slots.claim(ws, one, now)
    version(ws, 2, parent=run.id)
    assert slots.claim(ws, one, now) == []
    version(ws, 3)
    assert len(slots.claim(ws, one, now)) == 1


def test_an_alert_of_the_kinds_asked_for_runs(ws: Workspace) -> None:
    told = {"what": "latency", "at": iso(NOON), "text": "slow", "evidence": {}}
    ws.graph.record("alert/departures", "raised", told)
    one = deployed(ws, on_alert("departures", "input drift"), slot_param="alert")
    now = datetime.now(UTC) + MINUTE / 2
    ws.graph.record("alert/departures", "raised", told)
    ws.graph.record("alert/arrivals", "raised", told | {"what": "input drift"})
    assert slots.claim(ws, one, now) == []
    drift = told | {"what": "input drift", "text": "x moved"}
    ws.graph.record("alert/departures", "raised", drift)
    ws.graph.record("alert/departures", "acknowledged", {"alert": "x", "note": ""})
    (run,) = slots.claim(ws, one, now)
    assert (run.params, run.tags["trigger"]) == ({"alert": drift}, "alert")
    assert slots.claim(ws, one, now) == []


def test_what_other_phases_record_sets_schedules_off(ws: Workspace) -> None:
    import polars as pl

    from tidemill.core.types import Alert
    from tidemill.data import datasets
    from tidemill.watch.alerts import raise_alert

    on_rows = deployed(ws, on_dataset("flights"), name="on-rows", slot_param="version")
    on_drift = deployed(ws, on_alert("departures", "input drift"), name="on-drift", slot_param="alert")
    made = datasets.add(ws, "flights", pl.DataFrame({"id": [1, 2], "delay": [3.0, 4.0]}), key="id")
    raise_alert(ws, Alert("departures", "input drift", NOON, "delay moved", {"column": "delay"}))
    now = datetime.now(UTC) + MINUTE / 2
    assert [run.params for run in slots.claim(ws, on_rows, now)] == [{"version": made.id}]
    (run,) = slots.claim(ws, on_drift, now)
    assert run.params["alert"]["text"] == "delay moved"
    assert run.params["alert"]["evidence"] == {"column": "delay"}
