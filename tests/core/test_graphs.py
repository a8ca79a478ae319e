"""Our graphs pass the public suite, and the three of them tell the same story."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidemill.core.graph import Graph
from tidemill.core.graphs import memory, postgres, sqlite
from tidemill.testing.graphs import GraphSuite


@pytest.fixture
def graph_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("new_database")
        return make()
    return str(tmp_path / "graph.db")


def open_graph(url: str) -> Graph:
    return postgres.open_graph(url) if url.startswith("postgresql") else sqlite.open_graph(url)


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
