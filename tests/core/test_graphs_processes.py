"""Graphs under many processes: no gap in versions, one maker of the schema, nothing acknowledged lost to kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.core.errors import Busy
from tidemill.core.graph import Graph
from tidemill.core.graphs import postgres, sqlite
from tidemill.core.types import Artifact, Query
from tidemill.testing.graphs import a_run, an_artifact

OPEN = """
import sys
from tidemill.core.graphs import postgres, sqlite
url = sys.argv[1]
graph = (postgres if url.startswith("postgresql") else sqlite).open_graph(url)
"""
WRITE = """
from tidemill.testing.graphs import a_run, an_artifact, ended
name, count = sys.argv[2], int(sys.argv[3])
for place in range(count):
    run = graph.put_run(a_run())
    graph.put(an_artifact(f"{name} {place}", run=run))
    event = graph.record("count", "up", {"name": name})
    graph.put_run(ended(run))
    print(run.id, event.seq, flush=True)
"""


def process(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another Python process with that code."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outputs(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each printed; all must have ended well."""
    ended = [one.communicate(timeout=120) for one in processes]
    for one, (_, complaint) in zip(processes, ended, strict=True):
        assert one.returncode == 0, complaint
    return [said for said, _ in ended]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("new_database")
        return make()
    return str(tmp_path / "graph.db")


def open_graph(url: str) -> Graph:
    return postgres.open_graph(url) if url.startswith("postgresql") else sqlite.open_graph(url)


def versions(graph: Graph) -> list[int]:
    found = graph.find(Query("artifact", kind="dataset", name="flights", limit=10_000))
    return [artifact.version for artifact in found if isinstance(artifact, Artifact)][::-1]


def test_two_processes_get_versions_without_a_gap(url: str) -> None:
    outputs([process(OPEN + WRITE, url, name, 150) for name in "ab"])
    graph = open_graph(url)
    assert versions(graph) == list(range(1, 301))
    assert [event.seq for event in graph.events()] == list(range(1, 5 * 300 + 1))
    assert {event.body["name"] for event in graph.events("count", last=200)} == {"a", "b"}
    assert graph.verify() == []
    graph.close()


def test_many_processes_that_open_an_empty_graph_at_once_make_one_schema(url: str) -> None:
    outputs([process(OPEN + WRITE, url, name, 1) for name in range(6)])
    graph = open_graph(url)
    assert versions(graph) == list(range(1, 7))
    assert graph.verify() == []
    graph.close()


def test_what_was_acknowledged_survives_kill_9(url: str) -> None:
    acknowledged: list[str] = []
    for attempt in range(3):
        writer = process(OPEN + WRITE, url, attempt, 100_000)
        assert writer.stdout is not None
        acknowledged += [writer.stdout.readline() for _ in range(10)]
        time.sleep(0.05 * attempt)
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        acknowledged += [line for line in rest.splitlines() if len(line.split()) == 2 and line in rest.split("\n")[:-1]]
        graph = open_graph(url)
        seqs = {event.seq for event in graph.events("count")}
        for line in acknowledged:
            run_id, seq = line.split()
            run = graph.get(run_id)
            assert not isinstance(run, Artifact)
            assert run.status == "done"
            assert int(seq) in seqs
        assert versions(graph) == list(range(1, len(versions(graph)) + 1))
        assert graph.verify() == []
        graph.close()
    assert len(acknowledged) >= 30


def test_a_graph_is_usable_after_a_fork(url: str) -> None:
    graph = open_graph(url)
    graph.put_run(a_run())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            graph.put(an_artifact("from the child"))
            code = 0
        finally:
            os._exit(code)
    for place in range(20):
        graph.put(an_artifact(f"from the parent {place}"))
    assert os.waitpid(child, 0)[1] == 0
    assert versions(graph) == list(range(1, 22))
    assert graph.verify() == []
    graph.close()


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    graph = sqlite.open_graph(str(tmp_path / "graph.db"))
    run = graph.put_run(a_run())
    raw = sqlite3.connect(tmp_path / "graph.db", isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    other = sqlite.open_graph(str(tmp_path / "graph.db"))
    assert other.get(run.id) == run
    raw.close()
    other.close()
    graph.close()


def test_a_writer_waits_its_turn(tmp_path: Path) -> None:
    graph = sqlite.open_graph(str(tmp_path / "graph.db"))
    raw = sqlite3.connect(tmp_path / "graph.db", isolation_level=None, check_same_thread=False)
    raw.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: raw.execute("COMMIT"))
    timer.start()
    run = graph.put_run(a_run())
    assert graph.get(run.id) == run
    timer.join()
    raw.close()
    graph.close()


def test_a_writer_that_waited_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WAIT_S", 0.1)
    graph = sqlite.open_graph(str(tmp_path / "graph.db"))
    raw = sqlite3.connect(tmp_path / "graph.db", isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match=r"graph\.db was locked by another process for 0.1 s; see who holds it"):
        graph.put_run(a_run())
    raw.close()
    assert graph.find(Query("run")) == []
    graph.close()


def test_a_postgres_writer_that_waited_too_long_says_so(
    new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setattr(postgres, "WAIT_S", 0.1)
    url = new_database()
    graph = postgres.open_graph(url)
    with psycopg.connect(url) as raw:
        raw.execute(f"SELECT pg_advisory_lock({postgres.CHAIN_LOCK})")
        with pytest.raises(Busy, match=r"was locked by another process for 0.1 s"):
            graph.put_run(a_run())
    graph.close()
