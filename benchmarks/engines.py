"""Trivial calls in worker processes: our pool beside concurrent.futures and loky, our Ray engine beside bare Ray tasks.

    python benchmarks/engines.py

All on two warm workers that were started before the clock: 1,000 calls one after the other, then 5,000 at once (Ray:
300 and 1,000). Wall time a call, and CPU time a call of the calling process and all workers together. Median of 3. What
ours does in that time and the others do not: a call that runs can be ended with all that it started, and the worker
looks whether the project's source files changed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psutil
from peers import Row

SIDES = ("ours", "futures", "loky", "ours on ray", "ray")


def double(number: int) -> int:
    return 2 * number


def cpu_s() -> float:
    """Of this process and all below it that are alive."""
    total = 0.0
    for each in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        used = each.cpu_times()
        total += used.user + used.system
    return total


def measured(one: Callable[[int], int], many: Callable[[range], Iterable[int]], first: int, then: int) -> list[float]:
    """Microseconds a call: wall and CPU of calls one by one, wall and CPU of calls at once."""
    found: list[list[float]] = []
    for _ in range(4):
        line: list[float] = []
        began, used = time.perf_counter(), cpu_s()
        assert [one(number) for number in range(first)] == [2 * number for number in range(first)]
        line += [(time.perf_counter() - began) / first * 1e6, (cpu_s() - used) / first * 1e6]
        began, used = time.perf_counter(), cpu_s()
        assert sum(many(range(then))) == then * (then - 1)
        line += [(time.perf_counter() - began) / then * 1e6, (cpu_s() - used) / then * 1e6]
        found.append(line)
    return [statistics.median(column) for column in zip(*found[1:], strict=True)]


def ours(url: str, first: int, then: int) -> list[float]:
    from tidemill.core import extend
    from tidemill.testing.engines import double as known

    engine = extend.load("engine", url.partition("://")[0])(url)
    assert sum(engine.map(known, range(100))) == 9900
    found = measured(lambda n: engine.submit(known, n).result(), lambda ns: engine.map(known, ns), first, then)
    engine.close()
    return found


def futures(executor: Any) -> list[float]:
    from tidemill.testing.engines import double as known

    assert sum(executor.map(known, range(100))) == 9900
    found = measured(lambda n: executor.submit(known, n).result(), lambda ns: executor.map(known, ns), 1000, 5000)
    executor.shutdown()
    return found


def bare_ray(address: str) -> list[float]:
    import ray

    from tidemill.testing.engines import double as known

    ray.init(address=address, log_to_driver=False, configure_logging=False)
    remote = ray.remote(known)
    assert sum(ray.get([remote.remote(n) for n in range(100)])) == 9900
    return measured(lambda n: ray.get(remote.remote(n)), lambda ns: ray.get([remote.remote(n) for n in ns]), 300, 1000)


def side(name: str) -> list[float]:
    """One side, in this process."""
    if name == "ours":
        return ours("pool://2", 1000, 5000)
    if name == "futures":
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        return futures(ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")))
    if name == "loky":
        from joblib.externals.loky import get_reusable_executor

        return futures(get_reusable_executor(2))
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=2, node_ip_address="127.0.0.1", include_dashboard=False)
    found = ours(f"ray://{cluster.address}", 300, 1000) if name == "ours on ray" else bare_ray(cluster.address)
    import ray

    ray.shutdown()
    cluster.shutdown()
    return found


def rows(names: Sequence[str] = SIDES) -> list[Row]:
    """Each side in an interpreter of its own."""
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    found: dict[str, list[float]] = {}
    for name in names:
        run = subprocess.run(
            [sys.executable, __file__, name], check=True, stdout=subprocess.PIPE, text=True, env=environment
        )
        found[name] = json.loads(run.stdout.strip().splitlines()[-1])
    table: list[Row] = []
    for peer, own in (("futures", "ours"), ("loky", "ours"), ("ray", "ours on ray")):
        if peer not in found or own not in found:
            continue
        for at, what in ((0, "a call, one by one"), (2, "a call of many at once")):
            mine, other = found[own], found[peer]
            table.append(
                Row(
                    f"{what}: {'our Ray engine' if 'ray' in own else 'our pool'} beside {peer}",
                    f"{mine[at] / 1000:.3f} ms, {mine[at + 1] / 1000:.3f} CPU ms",
                    f"{other[at] / 1000:.3f} ms, {other[at + 1] / 1000:.3f} CPU ms",
                    f"{mine[at] / other[at]:.2f}",
                    "< 0.5 ms" if own == "ours" and at == 0 else "",
                )
            )
    return table


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(side(sys.argv[1])))
    else:
        for row in rows():
            print(" | ".join(row))
