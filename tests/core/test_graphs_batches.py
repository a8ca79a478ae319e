"""Batches in SQL: as many statements for a thousand records as for one, and whole or not there after kill -9."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tidemill.core.graphs import postgres, sqlite
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.ids import new_id
from tidemill.core.types import Batch, Edge, NewEvent, Query
from tidemill.testing.graphs import a_run, an_artifact, ended

WRITE = """
import sys
from tidemill.core.graphs import postgres, sqlite
from tidemill.core.types import Batch, NewEvent
from tidemill.testing.graphs import a_run, an_artifact, ended
url = sys.argv[1]
graph = (postgres if url.startswith("postgresql") else sqlite).open_graph(url)
for number in range(10_000):
    runs = [a_run(key=f"{number}") for _ in range(20)]
    given = [("result", an_artifact(f"{number} {run.id}", run=run)) for run in runs]
    graph.write(Batch([*runs, *map(ended, runs)], given, events=[NewEvent("count", "up", {"number": number})]))
    print(number, flush=True)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("new_database")
        return make()
    return str(tmp_path / "graph.db")


def open_graph(url: str) -> SqlGraph:
    return postgres.open_graph(url) if url.startswith("postgresql") else sqlite.open_graph(url)


def steps(count: int) -> Batch:
    """So many runs that begin and end, each with an artifact, an input and an event."""
    runs = [a_run(f"step{place}", key=f"key{place}") for place in range(count)]
    given = [("result", an_artifact(new_id(), f"thing{place}", run=run)) for place, run in enumerate(runs)]
    edges = [Edge(run.id, artifact.id, "in") for run, (_, artifact) in zip(runs, given[::-1], strict=True)]
    events = [NewEvent(f"flow/{run.id}", "nodes", {}, key=run.id) for run in runs]
    return Batch([*runs, *map(ended, runs)], given, edges, events)


def test_a_batch_of_a_thousand_takes_as_many_statements_as_one_of_one(url: str) -> None:
    graph = open_graph(url)
    said: list[str] = []
    sa.event.listen(graph._engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    counts = []
    for size in (1, 1000):
        batch = steps(size)
        said.clear()
        graph.write(batch)
        counts.append(len(said))
        more = [("result", replace(artifact, id=new_id())) for _, artifact in batch.artifacts]
        known = [Edge(edge.run_id, edge.artifact_id, "in", "again") for edge in batch.edges]
        said.clear()
        graph.write(Batch(artifacts=more, edges=[*batch.edges, *known]))
        counts.append(len(said))
    assert counts[:2] == counts[2:]
    assert max(counts) <= 12
    said.clear()
    assert len(graph.find(Query("run", keys=tuple(f"key{place}" for place in range(1000)), limit=2000))) == 1001
    assert len([one for one in said if one.startswith("SELECT")]) == 1
    graph.close()


def test_a_batch_is_whole_or_not_there_after_kill_9(url: str) -> None:
    acknowledged = 0
    for _ in range(2):
        command = [sys.executable, "-W", "error", "-c", WRITE, url]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(5):
            assert writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        acknowledged += 5 + rest.count("\n")
    graph = open_graph(url)
    batches = len(graph.events("count"))
    assert batches >= acknowledged >= 10
    assert len(graph.find(Query("run", status="done", limit=100_000))) == 20 * batches
    assert len(graph.find(Query("artifact", limit=100_000))) == 20 * batches
    assert graph.verify() == []
    graph.close()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query("run", key="key1", status="done", limit=1), "runs_by_key"),
        (Query("run", keys=("key1", "key2"), kind="flow.step", status="done"), "runs_by_key"),
        (Query("run", kind="flow.pipeline", status="running"), "runs_by_status"),
        (Query("run", kind="flow.pipeline", status="done"), "runs_by_kind"),
        (Query("run", name="nightly", status="done"), "runs_by_name"),
        (Query("run", parent="nightly", status="done"), "runs_by_parent"),
    ],
)
def test_runs_are_found_by_the_index_that_few_of_them_share(tmp_path: Path, query: Query, index: str) -> None:
    graph = sqlite.open_graph(str(tmp_path / "graph.db"))
    said: list[tuple[str, tuple[object, ...]]] = []
    sa.event.listen(graph._engine, "before_cursor_execute", lambda *given: said.append((given[2], given[3])))
    graph.find(query)
    with graph._engine.connect() as link:
        plan = link.exec_driver_sql(f"EXPLAIN QUERY PLAN {said[-1][0]}", said[-1][1]).all()
    assert f"USING INDEX {index} " in plan[0][3]
    graph.close()
