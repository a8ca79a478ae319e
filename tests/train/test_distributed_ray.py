"""Data-parallel training on a Ray cluster of two nodes: the bits of one process, with workers and a node killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parallel_steps import START, newton, rows, settled, slopes

from ray_clusters import fail, pids_of, two_nodes
from tidemill.core.engine import Engine
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.data.partitions import partitions
from tidemill.flow.engines import here
from tidemill.flow.engines import ray as rays
from tidemill.testing.engines import wait_until
from tidemill.train import states
from tidemill.train.distributed import Merged, over_partitions

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
def engine(cluster: Any) -> Iterator[Engine]:
    made = rays.open_engine(f"ray://{cluster.address}")
    yield made
    made.close()


def fit(folder: Path, engine: Engine, **more: Any) -> Merged:
    ws = open_workspace(folder)
    parts = partitions(ws, datasets.add(ws, "cells", rows(), key="id"), 6)
    return over_partitions(ws, parts, slopes, newton, engine=engine, start=START, rounds=20, stop=settled, **more)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return states.encode(fit(tmp_path_factory.mktemp("alone") / "one.mill", here.open_engine()).state)


def test_two_nodes_give_the_bits_of_one_process(engine: Engine, alone: bytes, tmp_path: Path) -> None:
    assert states.encode(fit(tmp_path / "ray.mill", engine).state) == alone


def test_a_killed_worker_costs_its_share(engine: Engine, alone: bytes, tmp_path: Path) -> None:
    made = fit(tmp_path / "ray.mill", engine, params={"marks": str(tmp_path), "act": "die once"})
    assert made.run.metrics["lost_workers"] == 1
    assert states.encode(made.state) == alone


def test_a_killed_node_costs_its_shares(engine: Engine, cluster: Any, alone: bytes, tmp_path: Path) -> None:
    (second,) = cluster.worker_nodes

    def lose_a_node() -> None:
        def busy() -> bool:
            family = {str(pid) for pid in pids_of(second)}
            return bool(family & {mark.read_text() for mark in tmp_path.glob("*-2")})

        assert wait_until(busy)
        fail(cluster, second)

    killer = threading.Thread(target=lose_a_node)
    killer.start()
    made = fit(tmp_path / "ray.mill", engine, params={"marks": str(tmp_path), "act": "linger"})
    killer.join()
    assert made.run.metrics["lost_workers"] >= 1
    assert states.encode(made.state) == alone
