"""The scheduler's step: what it starts, what it ends, and that schedulers together start each execution once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidemill.core.ids import utc_now
from tidemill.core.types import Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow.scheduling import queues, schedules
from tidemill.flow.scheduling.queues import STARTED
from tidemill.flow.scheduling.scheduler import tick
from tidemill.flow.scheduling.schedules import every

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


def run_of(ws: Workspace, run_id: str) -> Run:
    found = ws.graph.get(run_id)
    assert isinstance(found, Run)
    return found


def test_a_slot_that_is_due_is_started_and_recorded_so_once(ws: Workspace) -> None:
    schedules.deploy(ws.at(NOON), "build", "flows.py:build", every("1h"))
    assert tick(ws, NOON + timedelta(minutes=59)) == []
    (start,) = tick(ws, NOON + timedelta(hours=1))
    assert (start.run.name, start.why) == ("build", "new")
    assert [event.body["why"] for event in ws.graph.events(f"flow/{start.run.id}")] == ["new"]
    assert tick(ws, NOON + timedelta(hours=1)) == []


def test_an_execution_that_takes_longer_than_its_interval_keeps_the_next_waiting(ws: Workspace) -> None:
    schedules.deploy(ws.at(NOON), "build", "flows.py:build", every("1h"))
    (first,) = tick(ws, NOON + timedelta(hours=1))
    assert tick(ws, NOON + timedelta(hours=2)) == []
    end(ws, first.run)
    (second,) = tick(ws, NOON + timedelta(hours=2))
    assert second.run.tags["slot"] == "2026-05-01T14:00:00.000000Z"


def end(ws: Workspace, run: Run) -> None:
    from dataclasses import replace

    ws.graph.put_run(replace(run_of(ws, run.id), status="done", ended_at=utc_now()))


def test_a_lost_execution_is_taken_up_again_and_fails_when_it_loses_four_workers_in_a_row(ws: Workspace) -> None:
    run = queues.submit(ws, "build", "flows.py:build")
    whys = [start.why for _ in range(6) for start in tick(ws, utc_now(), grace_s=0.0)]
    assert whys == ["new", "lost", "lost", "lost"]
    ended = run_of(ws, run.id)
    assert ended.status == "failed"
    assert ended.error == (
        f"4 workers in a row ended without a word; what they wrote is in {ws.root}/logs/flow/{run.id}.log"
    )


def test_one_that_was_cancelled_while_it_waited_ends_so(ws: Workspace) -> None:
    run = queues.submit(ws, "build", "flows.py:build")
    ws.graph.record(f"flow/{run.id}", "cancel", {"by": "ada"})
    assert tick(ws, utc_now()) == []
    assert (run_of(ws, run.id).status, run_of(ws, run.id).error) == ("cancelled", "cancelled while it waited")


def test_a_scheduler_of_one_queue_leaves_the_others(ws: Workspace) -> None:
    queues.submit(ws, "build", "flows.py:build", queue="gpu")
    plain = queues.submit(ws, "build", "flows.py:build")
    assert [start.run.id for start in tick(ws, utc_now(), queues_served=["default"])] == [plain.id]


# ------------------------------------------------------------------------------------------- real processes

TICKS = """
import sys, time
from tidemill.core.ids import utc_now
from tidemill.core.workspace import open_workspace
from tidemill.flow.scheduling.scheduler import Workers, tick

ws, workers = open_workspace(sys.argv[1]), Workers()
print("ready", flush=True)
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    for start in tick(ws, utc_now(), workers=workers, grace_s=3600):
        print(start.run.id, flush=True)
    time.sleep(0.02)
"""


def ticking(url: str | Path, for_s: float) -> subprocess.Popen[str]:
    """A process that ticks so long; it prints the executions that it would start."""
    process = subprocess.Popen([sys.executable, "-c", TICKS, str(url), str(for_s)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def seconds_taken(ws: Workspace, name: str) -> list[int]:
    claimed = ws.graph.events(f"slot/{name}", kind="claimed")
    return [int(datetime.fromisoformat(event.body["slot"]).timestamp()) for event in claimed]


@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_two_schedulers_at_once_start_each_slot_once(
    where: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url: str | Path = tmp_path / "a.mill"
    if where == "postgres":
        monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "state"))
        make: Callable[[], str] = request.getfixturevalue("new_database")
        url = make()
    ws = open_workspace(url)
    queues.limit(ws, "default", 1000)
    schedules.deploy(ws, "build", "flows.py:build", every("1s", catch_up="all"), at_once=1000)
    both = [ticking(url, 4.0), ticking(url, 4.0)]
    printed = [process.communicate(timeout=60)[0].split() for process in both]
    taken = seconds_taken(ws, "build")
    assert len(taken) >= 4
    assert taken == list(range(taken[0], taken[0] + len(taken)))  # none left out, none twice
    started = [*printed[0], *printed[1]]
    assert sorted(started) == sorted(set(started))
    assert set(started) == {event.body["run"] for event in ws.graph.events("slot/build", kind="claimed")}
    assert [process.returncode for process in both] == [0, 0]
    ws.close()


@pytest.mark.slow
def test_schedulers_killed_at_any_moment_leave_no_slot_out_and_start_none_twice(ws: Workspace) -> None:
    queues.limit(ws, "default", 1000)
    schedules.deploy(ws, "build", "flows.py:build", every("1s", catch_up="all"), at_once=1000)
    chance = random.Random(20260501)
    printed: list[str] = []
    for _ in range(6):
        process = ticking(ws.root, 60.0)
        time.sleep(1.0 - time.time() % 1.0 + chance.uniform(0.0, 0.12))  # about where a slot is being taken
        process.send_signal(signal.SIGKILL)
        printed += process.communicate(timeout=60)[0].split()
    printed += [start.run.id for start in tick(ws, utc_now(), grace_s=3600)]
    taken = seconds_taken(ws, "build")
    assert taken == list(range(taken[0], taken[0] + len(taken)))
    claimed = [event.body["run"] for event in ws.graph.events("slot/build", kind="claimed")]
    recorded = [event.subject.partition("/")[2] for event in ws.graph.events("flow/*", kind=STARTED)]
    assert sorted(recorded) == sorted(
        claimed
    )  # each started once; one whose start was not told is lost after its grace
    assert set(printed) <= set(recorded)
    assert ws.graph.verify() == []


KILLED = """
import os, signal, sys
from tidemill.core.ids import utc_now
from tidemill.core.workspace import open_workspace
from tidemill.flow.scheduling import schedules, slots

ws = open_workspace(sys.argv[1])
(run,) = slots.claim(ws, schedules.get(ws, "build"), utc_now())
print(run.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_slot_whose_scheduler_was_killed_before_it_started_it_is_taken_up_by_another(ws: Workspace) -> None:
    schedules.deploy(ws.at(utc_now() - timedelta(hours=1)), "build", "flows.py:build", every("30m"))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(ws.root)], stdout=subprocess.PIPE, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert [start.run.id for start in tick(ws, utc_now())] == killed.stdout.split()
    assert tick(ws, utc_now()) == []
