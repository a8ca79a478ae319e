"""A real Ray cluster of two nodes for tests, each with its own daemons, all on 127.0.0.1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray's name for it: servers on 127.0.0.1 only

TRIES = 3  # Ray gives a node 30 s to come up, which a machine busy with other tests may not keep


@contextmanager
def two_nodes(head: dict[str, Any], second: dict[str, Any]) -> Iterator[Any]:
    """The cluster (ray.cluster_utils.Cluster). head, second: what the nodes have, such as {"num_cpus": 2}."""
    from ray.cluster_utils import Cluster

    shared = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 * 2**20}
    for left in range(TRIES - 1, -1, -1):
        made = Cluster()
        try:
            made.add_node(**head, **shared)
            made.add_node(**second, **shared)
            break
        except Exception:  # Ray's own is a bare Exception
            made.shutdown()
            if not left:
                raise
    try:
        yield made
    finally:
        made.shutdown()


def pids_of(node: Any) -> set[int]:
    """The processes of a node: its raylet, and all that it started."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return {raylet.pid, *(each.pid for each in raylet.children(recursive=True))}


def fail(cluster: Any, node: Any) -> None:
    """End a node as a machine fails: all of its processes at once. (Ray's own workers would end their call first.)"""
    for pid in pids_of(node):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    cluster.remove_node(node, allow_graceful=False)
