"""Pipelines of steps that do next to nothing, beside Prefect, and beside bare SQLite with two statements a step.

    python benchmarks/flows.py

A chain of 100 steps, each durable; the same again in a new process, all from the cache (imports and starts not counted;
Prefect with its INPUTS cache policy and persisted results); a map over 5,000 beside one over 500; the memory
of the process, and of the server that Prefect starts for it, after a flow of 10 tasks. Wall seconds, median of 3
processes, since the waiting for a disk is what is asked; CPU seconds of the process beside it.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from peers import Row, in_own_process, peer

PREFECT = ("prefect",)
REPEATS = 3

SQLITE = """
import json, sqlite3, sys, time
link = sqlite3.connect(sys.argv[1], isolation_level=None)
link.execute("PRAGMA journal_mode=WAL")
link.execute("CREATE TABLE steps (key TEXT PRIMARY KEY, value TEXT)")
began = time.perf_counter()
for step in range(100):
    link.execute("SELECT value FROM steps WHERE key = ?", (str(step),)).fetchone()
    link.execute("INSERT INTO steps VALUES (?, ?)", (str(step), str(step)))
print(json.dumps(time.perf_counter() - began))
"""

STEPS = """
import tidemill as tm


@tm.step
def start(n: int) -> int:
    return n


@tm.step
def plus(x: int, y: int = 1) -> int:
    return x + y


@tm.step
def split(n: int) -> list[int]:
    return list(range(n))


@tm.step
def total(xs: list[int]) -> int:
    return sum(xs)


@tm.pipeline
def chain(n: int) -> int:
    x = start(0)
    for _ in range(n - 1):
        x = plus(x)
    return x


@tm.pipeline
def wide(n: int) -> int:
    return total(plus.map(split(n)))
"""

OURS = """
import json, resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import steps
from tidemill.core import extend
from tidemill.core.workspace import open_workspace
from tidemill.flow.executing import execution
ws = open_workspace(Path(sys.argv[1]) / "a.mill")
engine = extend.load("engine", sys.argv[2])()
execution.run(ws, steps.chain, {"n": 1}, engine=engine).result()  # starts workers, imports what runs
asked = getattr(steps, sys.argv[3])
began, cpu = time.perf_counter(), time.process_time()
execution.run(ws, asked, {"n": int(sys.argv[4])}, engine=engine).result()
took = time.perf_counter() - began, time.process_time() - cpu
engine.close()
print(json.dumps([*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""

THEIRS = """
import json, os, resource, sys, time
home = sys.argv[1]
os.environ |= {
    "PREFECT_HOME": home, "PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
from prefect import flow, task
from prefect.cache_policies import INPUTS

@task(cache_policy=INPUTS)
def start(n): return n
@task(cache_policy=INPUTS)
def plus(x, y=1): return x + y

@flow
def chain(n):
    x = start(0)
    for _ in range(n - 1):
        x = plus(x)
    return x

chain(1)  # starts its server
began, cpu = time.perf_counter(), time.process_time()
chain(int(sys.argv[2]))
took = time.perf_counter() - began, time.process_time() - cpu
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
me, servers = os.getpid(), 0.0
for entry in os.listdir("/proc"):
    if entry.isdigit():
        try:
            stat = open(f"/proc/{entry}/stat").read().rpartition(")")[2].split()
            if int(stat[1]) == me:
                status = open(f"/proc/{entry}/status").read()
                servers += int(status.split("VmHWM:")[1].split()[0]) / 1024
        except (OSError, IndexError):
            pass
print(json.dumps([*took, memory + servers]))
"""


def rows() -> list[Row]:
    """All figures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        floor = statistics.median(in_own_process(SQLITE, str(folder / f"{n}.db")) for n in range(REPEATS))
        first = [_ours(folder / f"first{n}", "here", "chain", 100) for n in range(REPEATS)]
        again = [_ours(folder / f"first{n}", "here", "chain", 100) for n in range(REPEATS)]
        pool = [_ours(folder / f"pool{n}", "pool", "chain", 100) for n in range(REPEATS)]
        few = [_ours(folder / f"few{n}", "here", "wide", 500) for n in range(REPEATS)]
        many = [_ours(folder / f"many{n}", "here", "wide", 5000) for n in range(REPEATS)]
        ten = [_ours(folder / f"ten{n}", "here", "chain", 10) for n in range(REPEATS)]
        theirs = [_theirs(folder / f"prefect{n}", 100) for n in range(REPEATS)]
        cached = [_theirs(folder / f"prefect{n}", 100) for n in range(REPEATS)]
        their_ten = [_theirs(folder / f"ten-prefect{n}", 10) for n in range(REPEATS)]
    ours, peer_wall, peer_cached = _median(first, 0), _median(theirs, 0), _median(cached, 0)
    return [
        _row("chain of 100 steps, durable", ours, peer_wall, "Prefect", "<= 0.05"),
        _row("the same, CPU", _median(first, 1), _median(theirs, 1), "Prefect", "-"),
        _row("the same, beside bare SQLite with two statements a step", ours, floor, "SQLite", "<= 10"),
        _row("the same on warm worker processes", _median(pool, 0), peer_wall, "Prefect", "<= 0.05"),
        _row("100 steps from the cache, new process", _median(again, 0), peer_cached, "Prefect", "<= 0.1"),
        _row("map over 5,000, beside one over 500", _median(many, 0), _median(few, 0), "500", "<= 11"),
        Row(
            "the same, largest resident set", f"{_median(many, 2):.0f} MB", f"{_median(few, 2):.0f} MB (500)", "-", "-"
        ),
        Row(
            "memory after a flow of 10 tasks",
            f"{_median(ten, 2):.0f} MB",
            f"{_median(their_ten, 2):.0f} MB (Prefect and its server)",
            f"{_median(ten, 2) / _median(their_ten, 2):.2f}",
            "<= 0.33",
        ),
    ]


def _ours(folder: Path, engine: str, pipeline: str, n: int) -> list[float]:
    folder.mkdir(exist_ok=True)
    (folder / "steps.py").write_text(STEPS)
    return list(in_own_process(OURS, str(folder), engine, pipeline, str(n)))


def _theirs(folder: Path, n: int) -> list[float]:
    folder.mkdir(exist_ok=True)
    return list(peer("prefect", PREFECT, THEIRS, str(folder), str(n)))


def _median(found: list[Any], place: int) -> float:
    return statistics.median(each[place] for each in found)


def _row(what: str, ours: float, theirs: float, name: str, target: str) -> Row:
    return Row(what, f"{ours * 1e3:.1f} ms", f"{theirs * 1e3:.1f} ms ({name})", f"{ours / theirs:.3f}", target)


if __name__ == "__main__":
    for row in rows():
        print(f"| {' | '.join(row)} |")
