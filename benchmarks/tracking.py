"""MLflow's protocol: `tidemill up` beside `mlflow server`, each on SQLite, each in a process of its own, in one run.

    .venv/bin/python benchmarks/tracking.py

The client is one plain HTTP client for both, over keep-alive connections. CPU seconds are those of the server with all
of its processes, read from /proc before and after; wall seconds in brackets. Runs are written over HTTP before they
are searched.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from peers import Row, python_of

import tidemill

MLFLOW = ("mlflow==3.17.2",)
RUNS = 10_000
TICK = os.sysconf("SC_CLK_TCK")


WRITERS = "log-metric, 8 writers"
SEARCH = "search of the runs, filter, order by a parameter"
BY_METRIC = "search of the runs, order by a metric"
TARGETS = {
    "log-metric, one writer": "<= 0.1",
    WRITERS: "<= 0.1",
    "log-batch of 1,000": "<= 0.1",
    "get-history of 100,000 values": "<= 0.05",
    "a whole run: create, batch of 25, finish": "<= 0.1",
    SEARCH: "<= 0.1",
    BY_METRIC: "<= 0.01",
}


class Idle(NamedTuple):
    """A server that was not asked anything yet."""

    memory_mb: float
    processes: int
    cpu_s: float
    start_s: float


class Side:
    """A server that goes on, and clients of it."""

    def __init__(self, command: list[str], port: int, token: str, env: dict[str, str]) -> None:
        began = time.perf_counter()
        self.port, self.token = port, token
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while True:
            try:
                if self.client().call("GET", "/health")[0] == 200:
                    break
            except OSError:
                time.sleep(0.02)
        self.start_s = time.perf_counter() - began
        self.start_cpu_s = self.cpu_s()

    def client(self) -> Client:
        return Client(self.port, self.token)

    def cpu_s(self) -> float:
        """Of all processes of its session."""
        return sum(sum(map(int, fields[11:15])) for fields in self._processes()) / TICK

    def memory_mb(self) -> float:
        return sum(int(fields[21]) for fields in self._processes()) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def count(self) -> int:
        return len(self._processes())

    def _processes(self) -> list[list[str]]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid:
                found.append(fields)
        return found

    def end(self) -> None:
        os.killpg(self.process.pid, 9)
        self.process.wait()


class Client:
    """One connection."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._open()

    def _open(self) -> None:
        self.link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        self.link.connect()
        self.link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        content = None if body is None else json.dumps(body)
        try:
            self.link.request(method, path, content, self.headers)
            answer = self.link.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError):  # it was idle for too long
            self._open()
            self.link.request(method, path, content, self.headers)
            answer = self.link.getresponse()
        return answer.status, answer.read()

    def post(self, path: str, body: Any) -> Any:
        status, data = self.call("POST", f"/api/2.0/mlflow/{path}", body)
        assert status == 200, (path, status, data[:300])
        return json.loads(data)

    def get(self, path: str) -> bytes:
        status, data = self.call("GET", f"/api/2.0/mlflow/{path}")
        assert status == 200, (path, status, data[:300])
        return data


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ours(home: Path) -> Side:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(Path(tidemill.__file__).parent)], check=True)
    place = home / "w.mill"
    program = f"import tidemill as tm; tm.open({str(place)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, env=env)
    keys = place / "keys"
    keys.mkdir(exist_ok=True)
    token = "t" * 32
    (keys / "web-token").write_text(token)
    (keys / "web-token").chmod(0o600)
    port = free_port()
    command = [sys.executable, "-m", "tidemill.cli.main", "-w", str(place), "up", "--port", str(port), "--no-scheduler"]
    return Side(command, port, token, {})


def theirs(home: Path) -> Side:
    port = free_port()
    python = python_of("mlflow", *MLFLOW)
    command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--backend-store-uri",
               f"sqlite:///{home / 'mlflow.db'}", "--artifacts-destination", str(home / "files")]  # fmt: skip
    return Side(command, port, "none", {"MLFLOW_DISABLE_TELEMETRY": "true"})


def cost(side: Side, call: Callable[[], object], repeats: int = 1) -> tuple[float, float]:
    """CPU and wall seconds of the server: medians."""
    cpus, walls = [], []
    for _ in range(repeats):
        cpu, wall = side.cpu_s(), time.perf_counter()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(side.cpu_s() - cpu)
    return statistics.median(cpus), statistics.median(walls)


def measured(side: Side, runs: int) -> dict[str, tuple[float, float]]:
    """All figures of one side, by name, per request where there are many."""
    found: dict[str, tuple[float, float]] = {}
    one = side.client()

    def new_run() -> str:
        return str(one.post("runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"])

    def per(name: str, count: int, call: Callable[[], object], repeats: int = 3) -> None:
        cpu, wall = cost(side, call, repeats)
        found[name] = cpu / count, wall / count

    run_id = new_run()

    def metrics(client: Client, key: str, count: int) -> None:
        for step in range(count):
            client.post(
                "runs/log-metric", {"run_id": run_id, "key": key, "value": step, "timestamp": step, "step": step}
            )

    keys = iter(range(1_000_000))

    def writers() -> None:
        threads = [threading.Thread(target=metrics, args=(side.client(), f"w{next(keys)}", 50)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def batch(key: str, first: int) -> None:
        points = [{"key": key, "value": n / 7, "timestamp": n, "step": n} for n in range(first, first + 1000)]
        one.post("runs/log-batch", {"run_id": run_id, "metrics": points})

    def whole() -> None:
        made = new_run()
        values = [(f"m{n}", hash((made, n)) % 1000 / 7) for n in range(10)]
        body = {
            "metrics": [{"key": key, "value": value, "timestamp": 1, "step": 0} for key, value in values],
            "params": [{"key": f"p{n}", "value": str(n)} for n in range(10)],
            "tags": [{"key": f"t{n}", "value": str(n)} for n in range(5)],
        }
        one.post("runs/log-batch", {"run_id": made, **body})
        one.post("runs/update", {"run_id": made, "status": "FINISHED", "end_time": 2})

    def search(**asked: Any) -> None:
        one.post("runs/search", {"experiment_ids": ["0"], "max_results": 1000, **asked})

    per("log-metric, one writer", 200, lambda: metrics(one, f"k{next(keys)}", 200))
    per(WRITERS, 400, writers)
    per("log-batch of 1,000", 20, lambda: [batch(f"b{next(keys)}", 0) for _ in range(20)])
    for first in range(0, 100_000, 1000):
        batch("long", first)
    per("get-history of 100,000 values", 1, lambda: one.get(f"metrics/get-history?run_id={run_id}&metric_key=long"))
    per("a whole run: create, batch of 25, finish", 200, lambda: [whole() for _ in range(200)], 1)
    for _ in range(runs - 200):
        whole()
    some = {"filter": "metrics.m1 > 70 AND params.p1 = '1'", "order_by": ["params.p2 DESC"]}
    per(SEARCH, 1, lambda: search(**some))
    per(BY_METRIC, 1, lambda: search(order_by=["metrics.m1 DESC"]))
    return found


def rows(runs: int = RUNS) -> list[Row]:
    """All figures."""
    sides = []
    with tempfile.TemporaryDirectory() as place:
        for start in (ours, theirs):
            side = start(Path(place))
            time.sleep(3)
            idle = Idle(side.memory_mb(), side.count(), side.start_cpu_s, side.start_s)
            sides.append((measured(side, runs), idle))
            side.end()
    (mine, my), (peer, their) = sides
    made = [
        Row(f"{name}, CPU (wall)", shown(mine[name]), shown(peer[name]), f"{mine[name][0] / peer[name][0]:.3f}", target)
        for name, target in TARGETS.items()
    ]
    ratio = peer[WRITERS][1] / mine[WRITERS][1]
    each = [f"{1 / side[WRITERS][1]:.0f} a second" for side in (mine, peer)]
    made.append(Row(f"{WRITERS}, requests", *each, f"{ratio:.1f} x", ">= 20 x"))
    each = [f"{side.cpu_s:.2f} s ({side.start_s:.2f} s)" for side in (my, their)]
    made.append(Row("start to /health, CPU (wall)", *each, f"{my.cpu_s / their.cpu_s:.3f}", "<= 1.5 s"))
    each = [f"{side.memory_mb:.0f} MB in {side.processes}" for side in (my, their)]
    made.append(Row("idle: memory, processes", *each, f"{my.memory_mb / their.memory_mb:.3f}", "<= 150 MB in 1"))
    return made


def shown(figure: tuple[float, float]) -> str:
    cpu, wall = (f"{each * 1000:.3g} ms" for each in figure)
    return f"{cpu} ({wall})"


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS):
        print("|", " | ".join(re.sub(r"\s+", " ", each) for each in row), "|")
