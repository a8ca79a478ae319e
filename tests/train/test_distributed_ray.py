"""Data-parallel training on a Ray cluster of two nodes: the bits of one process, with workers and a node killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from parallel_steps import START, newton, rows, settled, slopes

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # servers on 127.0.0.1 only

from tidemill.core.engine import Engine
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.data.partitions import partitions
from tidemill.flow.engines import here
from tidemill.flow.engines import ray as rays
from tidemill.testing.engines import wait_until
from tidemill.train import states
from tidemill.train.distributed import Merged, over_partitions

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # the warnings are Ray's own

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster()
    shared = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 * 2**20}
    made.add_node(num_cpus=1, **shared)
    made.add_node(num_cpus=1, **shared)
    yield made
    made.shutdown()


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
        raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)

        def busy() -> bool:
            family = {str(each.pid) for each in raylet.children(recursive=True)}
            return bool(family & {mark.read_text() for mark in tmp_path.glob("*-2")})

        assert wait_until(busy)
        # a machine that fails takes all of its processes with it, and Ray's own workers would end their call first
        for each in [raylet, *raylet.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=lose_a_node)
    killer.start()
    made = fit(tmp_path / "ray.mill", engine, params={"marks": str(tmp_path), "act": "linger"})
    killer.join()
    assert made.run.metrics["lost_workers"] >= 1
    assert states.encode(made.state) == alone
