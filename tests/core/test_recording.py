"""Recording: few transactions a run, and a run whose process died is found and ended, never one that lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tidemill.core import locks, recording
from tidemill.core.graphs.pgleases import Leases
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.ids import digest, new_id
from tidemill.core.recording import end_lost, lost, recorded
from tidemill.core.types import Artifact, Edge, Query, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.testing.records import AT, a_run, an_artifact

RUN = """
import sys, time
from tidemill.core.recording import recorded
from tidemill.core.workspace import open_workspace
ws = open_workspace(sys.argv[1])
with recorded(ws, "data.import", "outer") as outer, recorded(ws, "train.fit", "inner", parent=outer.run.id) as inner:
    inner.emit("model", "m", digest="0" * 64)
    print(outer.run.id, inner.run.id, flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "here"))
    monkeypatch.setattr(Leases, "grace_s", 0.3)
    if request.param == "sqlite":
        made = open_workspace(tmp_path / "a.mill")
    else:
        make: Callable[[], str] = request.getfixturevalue("new_database")
        made = open_workspace(make())
    yield made
    made.close()


def started(ws: Workspace, elsewhere: Path, seconds: float = 600) -> tuple[subprocess.Popen[str], list[str]]:
    """A process that records two runs, and the runs' ids; on another machine where the graph is on neither."""
    place = os.environ | {"TIDEMILL_STATE_FOLDER": str(elsewhere)}
    command = [sys.executable, "-c", RUN, ws.url, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=place)
    assert process.stdout is not None
    return process, process.stdout.readline().split()


def get(ws: Workspace, run_id: str) -> Run:
    found = ws.graph.get(run_id)
    assert isinstance(found, Run)
    return found


def transactions(ws: Workspace) -> list[str]:
    """A list to which each transaction that writes adds a line."""
    said: list[str] = []
    assert isinstance(ws.graph, SqlGraph)
    engine = ws.graph._engine
    sa.event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]) if _opens(given[2]) else None)
    return said


def _opens(statement: str) -> bool:
    return statement == "BEGIN IMMEDIATE" or "pg_advisory_xact_lock" in statement


def test_a_run_with_inputs_and_a_last_output_is_two_transactions(ws: Workspace) -> None:
    source = ws.graph.put(an_artifact("source"))
    with recorded(ws, "warm.up", "first"):  # the environment goes to the store
        pass
    said = transactions(ws)
    with recorded(ws, "data.import", "flights", inputs=[("a", source), ("b", source)]) as run:
        assert len(said) == 1
        run.result({"rows": 3})
        made = run.emit("dataset", "weather", digest=digest(b"x"), last=True)
    assert len(said) == 2
    assert run.outputs == [made]
    kept = get(ws, run.run.id)
    assert (kept, kept.status, kept.metrics, kept.tags) == (run.run, "done", {"rows": 3.0}, {})
    assert kept.ended_at is not None
    assert kept.cpu_s is not None
    assert ws.graph.edges([kept.id]) == [
        *(Edge(kept.id, source.id, "in", slot) for slot in "ab"),
        Edge(kept.id, made.id, "out"),
    ]
    assert ws.graph.verify() == []


def test_an_output_that_is_not_the_last_is_durable_at_once(ws: Workspace) -> None:
    with recorded(ws, "data.import", "flights") as run:
        made = run.emit("dataset", "weather", digest=digest(b"x"))
        other = open_workspace(ws.url)
        assert isinstance(other.graph.get(made.id), Artifact)
        assert get(other, run.run.id).status == "running"
        other.close()
    assert get(ws, run.run.id).status == "done"


def test_an_error_after_the_last_output_leaves_the_run_done(ws: Workspace) -> None:
    runs: list[Run] = []

    def late() -> None:
        with recorded(ws, "data.import", "flights") as run:
            run.emit("dataset", "weather", digest=digest(b"x"), last=True)
            runs.append(run.run)
            raise RuntimeError("late")

    with pytest.raises(RuntimeError, match="late"):
        late()
    assert get(ws, runs[0].id) == runs[0]
    assert runs[0].status == "done"


def test_a_failed_run_says_why_and_is_not_lost(ws: Workspace) -> None:
    with pytest.raises(RuntimeError, match="no"), recorded(ws, "data.import", "flights", tags={"a": "b"}) as run:
        raise RuntimeError("no")
    kept = get(ws, run.run.id)
    assert (kept.status, kept.error, kept.tags) == ("failed", "RuntimeError: no", {"a": "b"})
    assert lost(ws, wait=True) == []


def test_runs_of_a_killed_process_are_found_and_ended_once(ws: Workspace, tmp_path: Path) -> None:
    process, ids = started(ws, tmp_path / "there")
    assert lost(ws, wait=True) == []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while locks.is_held(ws, f"run/{ids[0]}"):  # a database frees the name a moment after the process has gone
        time.sleep(0.01)
    assert [run.id for run in lost(ws, wait=True)] == ids
    ended = end_lost(ws, wait=True)
    assert [run.id for run in ended] == ids
    for run in ended:
        assert get(ws, run.id) == run
        assert (run.status, run.tags) == ("failed", {})
        assert run.error is not None
        assert run.error.startswith("its process ")
        assert run.error.endswith(f"/{process.pid} ended without a word")
        assert [event.kind for event in ws.graph.events(f"lost/{run.id}")] == ["ended"]
    assert end_lost(ws, wait=True) == []
    assert ws.graph.verify() == []


def test_a_run_that_goes_on_is_never_lost(ws: Workspace, tmp_path: Path) -> None:
    process, ids = started(ws, tmp_path / "there", seconds=1.0)
    while process.poll() is None:
        assert lost(ws) == []
        assert end_lost(ws) == []
        time.sleep(0.02)
    process.communicate()
    assert [get(ws, one).status for one in ids] == ["done", "done"]
    with recorded(ws, "data.import", "mine"):
        assert end_lost(ws, wait=True) == []


def test_a_number_of_a_process_that_another_has_now_proves_nothing(ws: Workspace) -> None:
    with recorded(ws, "data.import", "flights") as run:
        alive = run.run
    again = Run(new_id(), "data.import", "flights", "running", AT, tags=alive.tags)  # this process's own number
    ws.graph.put_run(again)
    assert [found.id for found in lost(ws, wait=True)] == [again.id]


def test_runs_that_nobody_holds_by_design_are_let_be(ws: Workspace) -> None:
    ws.graph.put_run(a_run("p", kind="flow.pipeline"))
    assert lost(ws, wait=True) == []


def test_a_cut_connection_is_not_a_dead_process(
    new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "here"))
    monkeypatch.setattr("tidemill.core.graphs.pgleases.PING_S", 0.1)
    monkeypatch.setattr(Leases, "grace_s", 2.0)
    ws = open_workspace(new_database())
    other = open_workspace(ws.url)
    with recorded(ws, "data.import", "flights") as run:
        with other.graph._engine.connect() as link:  # type: ignore[attr-defined]  # a graph in PostgreSQL
            link.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )
        assert end_lost(other, wait=True) == []
        assert locks.is_held(other, f"run/{run.run.id}")
    assert get(ws, run.run.id).status == "done"
    other.close()
    ws.close()


def test_many_running_runs_are_looked_at_by_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "PAGE", 3)
    ws = open_workspace(tmp_path / "a.mill")
    for _ in range(7):
        ws.graph.put_run(Run(new_id(), "data.import", "x", "running", AT, tags={recording.PROCESS: "gone/1"}))
    assert len(lost(ws)) == 7
    assert len(end_lost(ws)) == 7
    assert ws.graph.find(Query("run", status="running")) == []
    ws.close()


def test_the_memory_of_a_process_is_its_own_and_not_that_of_the_one_that_started_it() -> None:
    large = bytearray(400 << 20)
    large[:: 1 << 12] = b"a" * len(large[:: 1 << 12])
    assert recording.peak_bytes() > 400 << 20
    program = "from tidemill.core.recording import peak_bytes; print(peak_bytes())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 10 << 20 < int(told.stdout) < 200 << 20
    del large
