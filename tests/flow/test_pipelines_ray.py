"""A pipeline on a Ray cluster of two nodes gives what it gives here, also when a worker and a node are killed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ray_clusters import fail, pids_of, two_nodes
from tidemill.core.engine import Engine
from tidemill.core.workspace import Workspace
from tidemill.flow import states
from tidemill.flow.engines import ray as rays
from tidemill.flow.executing import execution
from tidemill.testing.engines import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # the warnings are Ray's own
    pytest.mark.xdist_group("ray"),  # one cluster at a time
]

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes({"num_cpus": 1}, {"num_cpus": 1}) as made:
        yield made


@pytest.fixture(scope="module")
def on_ray(cluster: Any) -> Iterator[Engine]:
    made = rays.open_engine(f"ray://{cluster.address}")
    yield made
    made.close()


@pytest.fixture
def losing() -> ModuleType:
    folder = str(Path(__file__).parent / "programs")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import losing

    return losing


def test_a_pipeline_gives_what_it_gives_here(ws: Workspace, on_ray: Engine, losing: ModuleType, tmp_path: Path) -> None:
    params = {"n": 5, "marks": str(tmp_path)}
    run = execution.run(ws, losing.squares, params, engine=on_ray)
    assert (run.status, run.result()) == ("done", 30)
    # by other processes than this one
    assert str(os.getpid()) not in {mark.read_text() for mark in tmp_path.glob("[0-4]")}
    assert execution.run(ws, losing.squares, params, engine=on_ray).result() == 30


def test_a_killed_ray_worker_costs_one_try(ws: Workspace, on_ray: Engine, losing: ModuleType, tmp_path: Path) -> None:
    run = execution.run(ws, losing.squares, {"n": 5, "marks": str(tmp_path), "act": "die"}, engine=on_ray)
    assert (run.status, run.result()) == ("done", 30)
    attempts = {node.node: node.attempt for node in states.read(ws, run.id).nodes}
    assert attempts["slow[2]"] == 2


def test_a_killed_node_costs_tries_and_no_result(
    ws: Workspace, on_ray: Engine, cluster: Any, losing: ModuleType, tmp_path: Path
) -> None:
    (second,) = cluster.worker_nodes

    def lose_a_node() -> None:
        def busy() -> bool:
            family = {str(pid) for pid in pids_of(second)}
            return bool(family & {mark.read_text() for mark in tmp_path.glob("[0-9]")})

        assert wait_until(busy)
        fail(cluster, second)

    killer = threading.Thread(target=lose_a_node)
    killer.start()
    run = execution.run(ws, losing.squares, {"n": 6, "marks": str(tmp_path), "act": "linger"}, engine=on_ray)
    killer.join()
    assert (run.status, run.result()) == ("done", 55)
    assert max(node.attempt for node in states.read(ws, run.id).nodes) == 2
