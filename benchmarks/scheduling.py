"""The scheduler: an idle step, a due slot, many queued executions; beside APScheduler over its own SQLite store.

    .venv/bin/python benchmarks/scheduling.py

Ours: `scheduler.tick` over a workspace in SQLite, each commit fsynced; a slot taken is an event, a recorded run, their
hash-chained log and the recorded start. APScheduler 3.11: `_process_jobs` of a paused BackgroundScheduler with
SQLAlchemyJobStore over a SQLite file, its executor replaced by one that only takes the job: per due job it updates the
job's next time. It keeps no record of what ran, claims nothing against a second scheduler, and pickles jobs. Medians,
wall milliseconds, CPU in brackets.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from peers import Row, python_of

SCHEDULES, QUEUED, STEPS = 200, 1000, 5

PEER = """
import json, sys, tempfile, time
from datetime import datetime, timezone
from apscheduler.executors.base import BaseExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

class Takes(BaseExecutor):
    def submit_job(self, job, run_times):
        pass
    def _do_submit_job(self, job, run_times):
        pass

def work():
    pass

def timed(call):
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall_s) * 1e3, (time.process_time() - cpu_s) * 1e3

count, steps = int(sys.argv[1]), int(sys.argv[2])
with tempfile.TemporaryDirectory() as folder:
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_jobstore(SQLAlchemyJobStore(url=f"sqlite:///{folder}/jobs.db"))
    scheduler.add_executor(Takes())
    scheduler.start(paused=True)
    for n in range(count):
        scheduler.add_job("__main__:work", "interval", hours=1, id=f"job{n}", misfire_grace_time=3600, coalesce=True)
    scheduler.state = 1
    idle, due = [], []
    for _ in range(steps):
        idle.append(timed(scheduler._process_jobs))
        now = datetime.now(timezone.utc)
        scheduler.state = 2  # paused: its own thread, woken by each change, must not take them
        for job in scheduler.get_jobs():
            job.modify(next_run_time=now)
        time.sleep(0.5)
        scheduler.state = 1
        due.append(timed(scheduler._process_jobs))
    scheduler.state = 2
    scheduler.shutdown(wait=False)
print(json.dumps({"idle": idle, "due": due}))
"""


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU milliseconds."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall_s) * 1e3, (time.process_time() - cpu_s) * 1e3


def ours() -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of steps: idle, with all slots due, with executions queued."""
    from tidemill.core.ids import utc_now
    from tidemill.core.types import Query, Run
    from tidemill.core.workspace import open_workspace
    from tidemill.flow.scheduling import queues, scheduler, schedules

    with tempfile.TemporaryDirectory() as folder:
        ws = open_workspace(Path(folder) / "a.mill")
        workers = scheduler.Workers()
        now = utc_now()
        for n in range(SCHEDULES):
            schedules.deploy(ws.at(now), f"p{n}", "flows.py:p", schedules.every("1h"), at_once=1000)
        queues.limit(ws, "default", 100_000)
        found: dict[str, list[tuple[float, float]]] = {"idle": [], "due": [], "queued": []}
        scheduler.tick(ws, now, workers=workers, grace_s=1e6)
        for step in range(1, STEPS + 1):
            at = now + timedelta(hours=step)
            found["due"].append(timed(lambda at=at: scheduler.tick(ws, at, workers=workers, grace_s=1e6)))
            for run in ws.graph.find(Query("run", kind="flow.pipeline", status="running", limit=10_000)):
                assert isinstance(run, Run)
                ws.graph.put_run(replace(run, status="done", ended_at=utc_now()))
            scheduler.tick(ws, at, workers=workers, grace_s=1e6)
            found["idle"].append(timed(lambda at=at: scheduler.tick(ws, at, workers=workers, grace_s=1e6)))
        queues.limit(ws, "default", 0)
        for n in range(QUEUED):
            queues.submit(ws, "p", "flows.py:p", params={"n": n})
        for _ in range(STEPS):
            found["queued"].append(timed(lambda at=at: scheduler.tick(ws, at, workers=workers, grace_s=1e6)))
        ws.close()
    return found


def shown(figures: list[tuple[float, float]], per: int = 1) -> str:
    """The medians, for each of `per`."""
    wall, cpu = (statistics.median(side) / per for side in zip(*figures, strict=True))
    return f"{wall:.2f} ms ({cpu:.2f})"


def rows() -> list[Row]:
    """Both sides, in one run."""
    own = ours()
    python = python_of("apscheduler", "APScheduler==3.11.0", "SQLAlchemy==2.0.44")
    printed = subprocess.run(
        [str(python), "-c", PEER, str(SCHEDULES), str(STEPS)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    peer = json.loads(printed)

    def ratio(kind: str) -> str:
        mine, other = (statistics.median(wall for wall, _ in side[kind]) for side in (own, peer))
        return f"{mine / other:.2f}"

    return [
        Row(f"idle step, {SCHEDULES} schedules", shown(own["idle"]), shown(peer["idle"]), ratio("idle"), ""),
        Row("a due slot, durable", shown(own["due"], SCHEDULES), shown(peer["due"], SCHEDULES), ratio("due"), ""),
        Row(f"step with {QUEUED} queued executions", shown(own["queued"]), "", "", ""),
    ]


if __name__ == "__main__":
    for row in rows():
        sys.stdout.write(" | ".join(row) + "\n")
