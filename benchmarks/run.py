"""Measures what RESULTS.md shows; each figure is a median of repeats, CPU seconds where a machine may be shared.

make bench                          all of it, printed as the tables' rows
python benchmarks/run.py versions   only what was named: an area of AREAS, or "ours"

Peers install themselves below .bench/ at first use (see peers.py).
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib import import_module
from importlib.metadata import distributions, requires
from pathlib import Path

REPEATS = 7


AREAS = (  # each a module with rows()
    "versions", "files", "checks", "profiles", "features", "importing",
    "flows", "engines", "scheduling", "tuning", "scores", "tracking",
)  # fmt: skip


def main() -> int:
    asked = sys.argv[1:] or ["ours", *AREAS]
    unknown = [name for name in asked if name not in ("ours", *AREAS)]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are ours, {', '.join(AREAS)}", file=sys.stderr)
        return 2
    for row in [*light(), *installed(), *graph(), *join()] if "ours" in asked else []:
        print(f"| {date.today()} | {row[0]} | {row[1]} | {row[2]} |", flush=True)
    for name in AREAS:
        for measured in import_module(name).rows() if name in asked else []:
            print(f"| {date.today()} | {' | '.join(measured)} |", flush=True)
    return 0


def cpu_of(command: list[str]) -> float:
    """User and system seconds of a child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def median(measure: Callable[[], float], repeats: int = REPEATS) -> float:
    measure()
    return statistics.median(measure() for _ in range(repeats))


def light() -> list[tuple[str, str, str]]:
    """Importing and asking for the version."""
    tidemill = str(Path(sys.executable).with_name("tidemill"))
    bare = median(lambda: cpu_of([sys.executable, "-c", "pass"]))
    imported = median(lambda: cpu_of([sys.executable, "-c", "import tidemill"]))
    version = median(lambda: cpu_of([tidemill, "--version"]))
    count = subprocess.run(
        [sys.executable, "-c", "import sys, tidemill; print(len(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        ("`import tidemill`, CPU s (bare Python beside)", f"{imported:.3f} ({bare:.3f})", "<= 0.25"),
        ("`import tidemill`, modules loaded", count.stdout.strip(), "<= 150"),
        ("`tidemill --version`, CPU s", f"{version:.3f}", "<= 0.3"),
    ]


def installed() -> list[tuple[str, str, str]]:
    """Distributions and bytes that `pip install tidemill` brings, walked from its requirements."""
    have = {dist.metadata["Name"].lower().replace("_", "-"): dist for dist in distributions()}
    found, waiting = set(), ["tidemill"]
    while waiting:
        name = waiting.pop()
        if name in found or name not in have:
            continue
        found.add(name)
        for line in requires(name) or []:
            if "extra ==" not in line:
                waiting.append(_name(line))
    size = sum(
        Path(str(file.locate())).stat().st_size
        for name in found
        for file in have[name].files or []
        if Path(str(file.locate())).is_file() and not str(file).endswith(".pyc")
    )
    return [
        ("distributions of the base install", str(len(found)), "<= 60"),
        ("size of the base install, MB (10^6), without bytecode", f"{size / 1e6:.0f}", "<= 720"),
    ]


def _name(requirement: str) -> str:
    name = requirement.split(";", maxsplit=1)[0]
    for stop in "[(<>=!~ ":
        name = name.split(stop)[0]
    return name.strip().lower().replace("_", "-")


def graph() -> list[tuple[str, str, str]]:
    """Trace and impact over 20,000 edges: a chain of 4,000 runs with three inputs and two outputs each."""
    from dataclasses import replace

    from tidemill.core.graphs.sqlite import open_graph
    from tidemill.core.ids import digest, new_id, utc_now
    from tidemill.core.types import Artifact, Edge, Run

    with tempfile.TemporaryDirectory() as folder:
        graph = open_graph(str(Path(folder, "graph.db")))
        began = time.process_time()
        shared = [graph.put(Artifact(new_id(), "dataset", f"base{n}", 0, digest(b"%d" % n), utc_now())) for n in (1, 2)]
        before, first = shared[0], None
        for number in range(4000):
            run = graph.put_run(Run(new_id(), "bench.step", "chain", "running", utc_now()))
            read = {one.id: one for one in (before, *shared)}
            graph.link([Edge(run.id, one, "in", f"i{n}") for n, one in enumerate(read)])
            made = [
                graph.put(
                    Artifact(new_id(), "dataset", f"out{n}", 0, digest(f"{number}/{n}".encode()), utc_now(), run.id)
                )
                for n in (1, 2)
            ]
            graph.put_run(replace(run, status="done", ended_at=utc_now()))
            before, first = made[0], first or made[0]
        wrote = time.process_time() - began
        edges = len(graph.trail(before.id, "down").edges)
        down = median(lambda: _wall(lambda: graph.trail(before.id, "down")), 5)
        up = median(lambda: _wall(lambda: graph.trail(first.id, "up")), 5)
        near = median(lambda: _wall(lambda: graph.trail(before.id, "down", depth=10)), 5)
        graph.close()
    return [
        (f"trace over {edges:,} edges, whole chain with all records, ms", f"{down * 1000:.0f}", "milliseconds"),
        ("impact over the same chain, ms", f"{up * 1000:.0f}", "milliseconds"),
        ("trace of 10 levels in the same graph, ms", f"{near * 1000:.0f}", "milliseconds"),
        ("CPU ms a run recorded with 3 inputs and 2 outputs", f"{wrote / 4000 * 1000:.2f}", "-"),
    ]


def join() -> list[tuple[str, str, str]]:
    """The two-clock join against bare Polars join_asof (which sees values before they are known)."""
    from datetime import timedelta

    import numpy as np
    import polars as pl

    from tidemill.data.feature_store.asof import as_of

    draw = np.random.default_rng(0)
    count = 300_000
    start = np.datetime64("2026-01-01", "us")
    left = pl.DataFrame({"k": draw.integers(0, 500, count), "at": start + draw.integers(0, 10**12, count)}).sort("at")
    event = start + draw.integers(0, 10**12, count)
    right = pl.DataFrame(
        {
            "k": draw.integers(0, 500, count),
            "event": event,
            "known": event + draw.integers(0, 10**9, count),
            "x": draw.normal(size=count),
        }
    ).sort("event")
    options = {"left_time": "at", "right_event": "event", "right_known": "known", "by": ["k"], "columns": ["x"]}
    ours = median(lambda: _cpu(lambda: as_of(left, right, within=timedelta(days=1), **options)))
    bare = median(
        lambda: _cpu(
            lambda: left.join_asof(
                right, left_on="at", right_on="event", by="k", tolerance="1d", check_sortedness=False
            )
        )
    )
    return [
        ("two-clock join of 300k x 300k rows, CPU s, ratio to bare join_asof", f"{ours:.3f}, {ours / bare:.2f}x", "-")
    ]


def _wall(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _cpu(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


if __name__ == "__main__":
    raise SystemExit(main())
