"""Our graphs pass the public suite, and SQL tells the same story as the plain dicts of the memory graph."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as some

from tidemill.core.errors import TidemillError
from tidemill.core.graph import Graph
from tidemill.core.graphs import memory, postgres, sqlite
from tidemill.core.types import Batch, Direction, Edge, Event, NewEvent, Point, Query
from tidemill.testing.graphs import AT, GraphSuite, a_run, an_artifact, ended


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def graph(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Graph]:
    if request.param == "memory":
        made: Graph = memory.open_graph()
    elif request.param == "postgres":
        made = postgres.open_graph(request.getfixturevalue("new_database")())
    else:
        made = sqlite.open_graph(str(tmp_path / "graph.db"))
    yield made
    made.close()


class TestGraphs(GraphSuite):
    pass


# Each example opens a database: shrinking a long story took five minutes.
NO_SHRINKING = [phase for phase in Phase if phase is not Phase.shrink]

# What two graphs are told, and then asked: small numbers, so that ids, names and contents meet often.
SMALL = some.integers(0, 4)
RUN_IDS = SMALL.map(lambda number: f"{number}" * 32)
ARTIFACT_IDS = SMALL.map(lambda number: f"{number + 5}" * 32)
NAMES = some.sampled_from(["flights", "Flights", "fl_ghts", "flights%", "é"])
BOTH: tuple[Direction, ...] = ("down", "up")
ROLES = some.sampled_from(["in", "out"])
CALLS = some.one_of(
    some.tuples(some.just("put_run"), RUN_IDS, NAMES, some.booleans()),
    some.tuples(some.just("put"), ARTIFACT_IDS, NAMES, SMALL, some.none() | RUN_IDS),
    some.tuples(some.just("link"), some.lists(some.builds(Edge, RUN_IDS, ARTIFACT_IDS, ROLES, NAMES), max_size=3)),
    some.tuples(some.just("log"), RUN_IDS, some.lists(some.tuples(NAMES, some.floats(allow_nan=False), SMALL))),
    some.tuples(some.just("record"), NAMES, some.none() | NAMES, some.none() | SMALL),
    some.tuples(
        some.just("write"),
        some.lists(some.tuples(RUN_IDS, NAMES, some.booleans()), max_size=3),
        some.lists(some.tuples(ARTIFACT_IDS, NAMES, SMALL, some.none() | RUN_IDS), max_size=3),
        some.lists(some.builds(Edge, RUN_IDS, ARTIFACT_IDS, ROLES, NAMES), max_size=3),
        some.lists(some.tuples(NAMES, some.none() | NAMES), max_size=2),
    ),
)
QUERIES = some.builds(
    Query,
    some.sampled_from(["run", "artifact"]),
    kind=some.sampled_from([None, "data.*", "data.import", "dataset", "d.*"]),
    name=some.none() | NAMES,
    status=some.sampled_from([None, "done"]),
    version=some.none() | SMALL,
    run=some.none() | RUN_IDS,
    text=some.sampled_from([None, "", "l", "_", "%", "F"]),
    keys=some.sampled_from([None, None, ("flights", "é"), ()]),
    before=some.none() | RUN_IDS | ARTIFACT_IDS,
    limit=some.integers(1, 5),
)


def tell(graph: Graph, call: tuple[Any, ...]) -> object:
    """Make one call; what it gives, or its error's type."""
    given: object = None
    try:
        match call:
            case ("put_run", run_id, name, is_done):
                run = a_run(name, key=name, run_id=run_id)
                given = graph.put_run(ended(run) if is_done else run)
            case ("put", artifact_id, name, content, run_id):
                given = graph.put(replace(an_artifact(str(content), name), id=artifact_id, run_id=run_id))
            case ("link", edges):
                graph.link(edges)
            case ("log", run_id, points):
                graph.log(run_id, [Point(key, value, step, AT) for key, value, step in points])
            case ("write", runs, artifacts, edges, events):
                made = [
                    replace(an_artifact(str(content), name), id=one, run_id=run)
                    for one, name, content, run in artifacts
                ]
                begun = [(a_run(name, run_id=run_id), is_done) for run_id, name, is_done in runs]
                given = graph.write(
                    Batch(
                        [ended(run) if is_done else run for run, is_done in begun],
                        [("made", artifact) for artifact in made],
                        edges,
                        [NewEvent(f"deployment/{name}", "traffic", {"name": name}, key=key) for name, key in events],
                    )
                )
            case (_, name, key, expect):
                given = plain(graph.record(f"deployment/{name}", "traffic", {"name": name}, key=key, expect=expect))
    except TidemillError as error:
        given = type(error)
    return given


def plain(event: Event) -> Event:
    """The event without what no two graphs share: when it was written, and so its hashes."""
    body = {} if event.kind == "run.log" else event.body
    return replace(event, at=AT, prev="", hash="", body=body)


def told(graph: Graph, queries: list[Query]) -> list[object]:
    """All that a graph says when asked."""
    nodes = [f"{number}" * 32 for number in range(10)]
    found: list[object] = [graph.find(query) for query in queries]
    found += [graph.edges(nodes), [plain(event) for event in graph.events()], graph.verify()]
    found += [graph.series(node) for node in nodes[:5]]
    for node in nodes:
        for depth in (None, 0, 1, 2):
            for direction in BOTH:
                try:
                    found.append(graph.trail(node, direction, depth=depth))
                except TidemillError as error:
                    found.append(type(error))
    return found


@settings(max_examples=40, deadline=None, phases=NO_SHRINKING)
@given(some.lists(CALLS, max_size=25), some.lists(QUERIES, min_size=5, max_size=10))
def test_sql_and_plain_dicts_tell_the_same_story(calls: list[tuple[Any, ...]], queries: list[Query]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other = sqlite.open_graph(f"{folder}/graph.db"), memory.open_graph()
        for call in calls:
            assert tell(one, call) == tell(other, call)
        assert told(one, queries) == told(other, queries)
        one.close()
