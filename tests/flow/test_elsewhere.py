"""The same executions with PostgreSQL and S3 under them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from tidemill.core.engine import Engine
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow import states
from tidemill.flow.executing import execution
from tidemill.flow.executing.execution import FlowRun

pytestmark = pytest.mark.parametrize("ws", ["remote"], indirect=True)
Notes = Callable[[], list[str]]


def test_steps_run_once_and_come_from_the_cache(
    ws: Workspace, engine: Engine, pieces: ModuleType, notes: Notes
) -> None:
    first = execution.run(ws, pieces.fan, {"n": 6}, engine=engine)
    ran = len(notes())
    assert (first.status, ran) == ("done", 8)
    again = execution.run(ws, pieces.fan, {"n": 6}, engine=engine)
    assert (again.result(), len(notes())) == (first.result(), ran)
    assert states.read(ws, again.id).counts == {"cached": 8}
    assert ws.graph.verify() == []


def test_what_was_done_is_not_done_again(ws: Workspace, engine: Engine, pieces: ModuleType, notes: Notes) -> None:
    failed = execution.run(ws, pieces.poisoned, {}, engine=engine)
    assert failed.status == "failed"
    assert states.read(ws, failed.id).counts["failed"] == 1
    done = [line for line in notes() if not line.startswith("poison")]
    execution.run(ws, pieces.poisoned, {}, engine=engine)
    assert [line for line in notes() if not line.startswith("poison")] == done


def test_two_at_once_compute_each_key_once(
    ws: Workspace, bucket: str, here: Engine, pieces: ModuleType, notes: Notes
) -> None:
    other = open_workspace(ws.url, store=f"s3://{bucket}/w")
    made: list[FlowRun] = []

    def run(place: Workspace) -> None:
        made.append(execution.run(place, pieces.wide, {"n": 40}, engine=here))

    threads = [
        threading.Thread(
            target=lambda place=place: made.append(execution.run(place, pieces.wide, {"n": 40}, engine=here))
        )
        for place in (ws, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.result() for each in made} == {40 * 39 // 2 + 40}
    assert len(made) == 2
    assert len(notes()) == len(set(notes())) == 42
    other.close()


def test_cancelling_from_elsewhere_ends_what_runs(ws: Workspace, pieces: ModuleType, notes: Notes) -> None:
    from tidemill.flow.engines.pool import PoolEngine

    engine = PoolEngine(2)
    ended: list[FlowRun] = []
    thread = threading.Thread(target=lambda: ended.append(execution.run(ws, pieces.sleepy, {}, engine=engine)))
    thread.start()
    while len(notes()) < 2:
        thread.join(0.05)
    states.cancel(ws, states.listed(ws)[0].run.id)
    thread.join(30)
    assert ended[0].status == "cancelled"
    engine.close()
