"""Which executions start, and where each stands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidemill.core.errors import BadInput
from tidemill.core.ids import iso, new_id, utc_now
from tidemill.core.types import Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow.scheduling import queues
from tidemill.flow.scheduling.queues import STARTED, Queued, State, startable


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


def one(state: State = "waiting", **tags: str) -> Queued:
    run = Run(new_id(), "flow.pipeline", "build", "running", datetime(2026, 1, 1, tzinfo=UTC), tags=tags)
    return Queued(run, state)


def test_the_highest_priority_goes_first_then_what_was_going_then_the_longest_waiting() -> None:
    early, late, urgent, lost = one(), one(), one(priority="5"), one("lost")
    assert startable([late, urgent, lost, early], {"default": 9}) == [urgent, lost, early, late]


def test_a_queue_runs_no_more_than_its_limit_at_once() -> None:
    found = [one("running"), one("starting"), one("parked"), *(one() for _ in range(5))]
    assert startable(found, {}) == found[3:5]  # four at once unless told
    assert startable(found, {"default": 3}) == found[3:4]
    assert startable(found, {"default": 0}) == []


def test_a_full_queue_keeps_no_other_back() -> None:
    found = [one("running", queue="gpu"), one(queue="gpu"), one()]
    assert startable(found, {"gpu": 1}) == found[2:]


def test_only_queues_that_are_served_start() -> None:
    found = [one(queue="gpu"), one()]
    assert startable(found, {}, queues=["gpu"]) == found[:1]


def test_a_schedule_runs_no_more_than_its_own_limit_and_lets_others_by() -> None:
    found = [
        one("running", schedule="a"),
        one(schedule="a"),
        one(schedule="b", at_once="2"),
        one(schedule="b", at_once="2"),
    ]
    assert startable(found, {"default": 9}) == found[2:]


def test_a_group_runs_no_more_than_its_limit() -> None:
    found = [one(group="g", group_at_once="2") for _ in range(4)]
    assert startable(found, {"default": 9}) == found[:2]


def test_a_limit_is_kept_and_must_make_sense(ws: Workspace) -> None:
    queues.limit(ws, "gpu", 1)
    queues.limit(ws, "gpu", 2)
    assert queues.limits(ws) == {"gpu": 2}
    with pytest.raises(BadInput, match="the limit of queue 'gpu' is -1; it must be 0"):
        queues.limit(ws, "gpu", -1)
    with pytest.raises(BadInput, match="the queue's name is 'a b'"):
        queues.submit(ws, "build", "flows.py:build", queue="a b")


# --------------------------------------------------------------------------------------- where each stands


def states(ws: Workspace, now: datetime | None = None, told: queues.Told | None = None, **mine: object) -> list[State]:
    return [each.state for each in queues.listed(ws, now or utc_now(), told=told, **mine)]  # type: ignore[arg-type]


def submitted(ws: Workspace) -> Run:
    return queues.submit(ws, "build", "flows.py:build", params={"rows": 3}, as_="ada")


def started(ws: Workspace, run: Run, why: str = "new") -> None:
    ws.graph.record(f"flow/{run.id}", STARTED, {"why": why, "by": "another"})


def test_a_submitted_execution_waits(ws: Workspace) -> None:
    run = submitted(ws)
    assert ws.graph.get(run.id) == run
    assert (run.actor, run.tags["trigger"], run.tags["queue"]) == ("ada", "manual", "default")
    assert states(ws) == ["waiting"]


def test_one_that_was_started_counts_as_starting_for_a_while_and_is_lost_then(ws: Workspace) -> None:
    run = submitted(ws)
    started(ws, run)
    assert states(ws) == ["starting"]
    assert states(ws, grace_s=0.0) == ["lost"]


def test_ones_own_worker_that_has_ended_is_lost_at_once(ws: Workspace) -> None:
    run = submitted(ws)
    ws.graph.record(f"flow/{run.id}", STARTED, {"why": "new", "by": "me"})
    assert states(ws, ours={run.id: True}, me="me") == ["running"]
    assert states(ws, ours={run.id: False}, me="me") == ["lost"]
    started(ws, run)  # by another, since
    assert states(ws, ours={run.id: False}, me="me") == ["starting"]


def test_workers_lost_in_a_row_are_counted(ws: Workspace) -> None:
    run = submitted(ws)
    for why in ("new", "lost", "decided", "lost", "lost"):
        started(ws, run, why)
    (found,) = queues.listed(ws, utc_now())
    assert (found.starts, found.lost) == (5, 2)


@pytest.fixture
def holder(ws: Workspace) -> Iterator[tuple[Run, subprocess.Popen[str]]]:
    """An execution whose lease a real process holds."""
    run = submitted(ws)
    started(ws, run)
    script = (
        "import sys\nfrom tidemill.core.locks import lease\nfrom tidemill.core.workspace import open_workspace\n"
        "held = lease(open_workspace(sys.argv[1]), 'flow/' + sys.argv[2])\nprint(held is not None, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(ws.root), run.id]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    yield run, process
    process.kill()
    process.communicate()


def test_a_worker_that_holds_its_lease_runs_until_it_is_killed(
    ws: Workspace, holder: tuple[Run, subprocess.Popen[str]]
) -> None:
    assert states(ws, grace_s=0.0) == ["running"]
    holder[1].kill()
    holder[1].wait()
    assert states(ws, grace_s=0.0) == ["lost"]


def test_a_parked_one_waits_for_the_answer_or_its_time(ws: Workspace) -> None:
    run = submitted(ws)
    started(ws, run)
    until = utc_now() + timedelta(days=3)
    ws.graph.record(f"flow/{run.id}", "parked", {"approval": "a", "text": "go?", "until": iso(until)})
    assert states(ws) == ["parked"]
    assert states(ws, until + timedelta(seconds=1)) == ["decided"]
    ws.graph.record(f"flow/{run.id}", "decided", {"approval": "a", "answer": "yes", "by": "ada", "note": ""})
    assert states(ws) == ["decided"]
    started(ws, run, "decided")
    assert states(ws) == ["starting"]


def test_one_cancelled_before_it_started_is_cancelled(ws: Workspace) -> None:
    run = submitted(ws)
    ws.graph.record(f"flow/{run.id}", "cancel", {"by": "ada"})
    assert states(ws) == ["cancelled"]


def test_what_has_ended_and_what_is_in_no_queue_is_not_listed(ws: Workspace) -> None:
    run = submitted(ws)
    ws.graph.put_run(replace(run, status="done", ended_at=utc_now()))
    ws.graph.put_run(Run(new_id(), "flow.pipeline", "by hand", "running", utc_now()))
    assert states(ws) == []


def test_a_second_look_reads_only_what_is_new_and_sees_the_same(ws: Workspace) -> None:
    told = queues.Told()
    first, second = submitted(ws), submitted(ws)
    started(ws, first)
    assert states(ws, told=told) == ["starting", "waiting"]
    ws.graph.record(f"flow/{second.id}", "cancel", {"by": "ada"})
    assert states(ws, told=told) == states(ws) == ["starting", "cancelled"]
    ws.graph.put_run(replace(first, status="done", ended_at=utc_now()))
    third = submitted(ws)
    started(ws, third)
    assert states(ws, told=told) == states(ws) == ["cancelled", "starting"]
    assert first.id not in told.events
