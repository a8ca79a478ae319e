"""The scheduler: takes the slots that are due, starts a worker process for each execution, and takes up lost ones.

`tick` is one step at one moment: it records what it decides and returns what is to be started. `serve` is the loop
around it. Any number of schedulers may serve one workspace, on any number of machines: slots are taken by events that
can be written once, starts are decided one after the other under one lock, and an execution is held by the lease of its
worker. Nothing is kept in a scheduler that is lost with it, and its workers outlive it.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from tidemill.core.errors import Conflict, TidemillError
from tidemill.core.ids import new_id, utc_now
from tidemill.core.locks import Lease, exclusive, lease
from tidemill.core.types import Batch, NewEvent, Run
from tidemill.core.workspace import Workspace
from tidemill.flow.scheduling import queues, slots
from tidemill.flow.scheduling.queues import Queued

GRACE_S = 60.0
LOST_AT_MOST = 4  # workers in a row that end without a word, until the execution counts as failed
LOCK_WAIT_S = 10.0
_log = logging.getLogger("tidemill.flow.scheduling.scheduler")
_outliving: list[subprocess.Popen[bytes]] = []  # workers of schedulers that ended here: to be reaped, not forgotten


@dataclass(frozen=True, slots=True)
class Start:
    """A worker to start, as recorded. why: "new", "decided" (a person answered) or "lost"."""

    run: Run
    why: str


@dataclass(slots=True)
class Workers:
    """What one scheduler knows of itself: the workers that it started, and how far it has read."""

    id: str = field(default_factory=new_id)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    told: queues.Told = field(default_factory=queues.Told)
    watched: slots.Watched = field(default_factory=slots.Watched)
    seen: list[Queued] = field(default_factory=list)  # at the last look
    lease: Lease | None = None  # told to others: this scheduler lives

    def alive(self) -> dict[str, bool]:
        """For each worker that this scheduler started, by run, whether it lives."""
        return {run_id: process.poll() is None for run_id, process in self.processes.items()}

    def close(self) -> None:
        """Tell others that this scheduler has ended; its workers go on."""
        _outliving[:] = [process for process in (*_outliving, *self.processes.values()) if process.poll() is None]
        self.processes = {}
        if self.lease is not None:
            self.lease.release()


def tick(
    ws: Workspace,
    now: datetime,
    *,
    queues_served: Collection[str] | None = None,
    workers: Workers | None = None,
    grace_s: float = GRACE_S,
) -> list[Start]:
    """One step at `now`: take the slots that are due, end what was cancelled or lost too often, choose what to start.

    Each start is recorded (event "flow.started") before it is returned; whoever called starts a worker for each.
    queues_served: this machine's (default: all). workers: what this scheduler knows of its own. grace_s: how long
    another's worker may take to come up. Raises Busy where another scheduler decides for longer than 10 s.
    """
    workers = workers or Workers()
    slots.take(ws, now, workers.watched)
    with exclusive(ws, "flow/starts", what="the start of pipelines", wait_s=LOCK_WAIT_S):
        found = queues.listed(ws, now, told=workers.told, ours=workers.alive(), me=workers.id, grace_s=grace_s)
        going = [one for one in found if not _ended(ws, one)]
        workers.seen = going
        chosen = queues.startable(going, queues.limits(ws), queues=queues_served)
        starts = [Start(one.run, "new" if one.state == "waiting" else one.state) for one in chosen]
        if starts:
            ws.graph.write(Batch(events=[_started(ws, start, workers.id) for start in starts]))
    return starts


def serve(
    ws: Workspace,
    stop: threading.Event,
    *,
    queues_served: Collection[str] | None = None,
    every_s: float = 1.0,
    grace_s: float = GRACE_S,
) -> None:
    """Run the workspace's schedules and queues until `stop` is set; workers that run then go on by themselves.

    A database that is busy, full or away for a while is told in the log and asked again: slots of that time are caught
    up as each schedule's policy says. So is a machine that cannot start a process.
    """
    workers = Workers()
    with closing(workers):
        while not stop.is_set():
            try:
                step(ws, workers, queues_served=queues_served, grace_s=grace_s)
            except (TidemillError, OSError) as error:
                _log.warning("the scheduler could not look at %s: %s", ws.url, error)
            stop.wait(every_s - time.time() % every_s)


def step(
    ws: Workspace, workers: Workers, *, queues_served: Collection[str] | None = None, grace_s: float = GRACE_S
) -> list[Start]:
    """One tick at the real time, and a worker process for each start."""
    if workers.lease is None:
        workers.lease = lease(ws, f"scheduler/{workers.id}")
    starts = tick(ws, utc_now(), queues_served=queues_served, workers=workers, grace_s=grace_s)
    for start in starts:
        try:
            workers.processes[start.run.id] = spawn(ws, start.run)
            _log.info("started %s %s (%s)", start.run.name, start.run.id, start.why)
        except OSError as error:  # no process, no disk: it is lost after its grace, and started again
            _log.warning("could not start a worker for %s %s: %s", start.run.name, start.run.id, error)
    for run_id, alive in workers.alive().items():
        if not alive and run_id not in workers.told.events:  # ended, and read to be so
            del workers.processes[run_id]
    return starts


def wait(
    ws: Workspace, run_ids: Iterable[str], *, every_s: float = 0.2, queues_served: Collection[str] = ()
) -> list[Run]:
    """Run these executions until each has ended or waits for a person, as a scheduler of the queues that they are in.

    Returns them as they are then. Whatever else waits in those queues, or in `queues_served`, is run too, and slots of
    schedules are taken, as by any scheduler.
    """
    wanted = list(run_ids)
    with closing(Workers()) as workers:
        while True:
            runs = [run for run_id in wanted if isinstance(run := ws.graph.get(run_id), Run)]
            going = [run for run in runs if run.status == "running"]
            if not going:
                return runs
            served = {*queues_served, *(run.tags.get("queue", queues.DEFAULT) for run in going)}
            step(ws, workers, queues_served=served)
            states = {one.run.id: one.state for one in workers.seen}
            if all(states.get(run.id) == "parked" for run in going):
                return runs
            time.sleep(every_s)


def spawn(ws: Workspace, run: Run) -> subprocess.Popen[bytes]:
    """Start a worker process for an execution: a session of its own, the execution's folder and actor."""
    folder = Path(run.tags.get("folder", "."))
    url = ws.url if "://" in ws.url else str(ws.root)
    command = [sys.executable, "-m", "tidemill.flow.scheduling.worker", url, run.id]
    store = getattr(ws.store, "url", None) or getattr(ws.store, "root", None)
    if store is not None:
        command += ["--store", str(Path(store).resolve()) if "://" not in str(store) else str(store)]
    log_path = log_of(ws, run.id)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a worker outlives the scheduler, and Ctrl-C there
            cwd=folder if folder.is_dir() else ws.root,
            env={**os.environ, "TIDEMILL_ACTOR": run.actor},
        )


def log_of(ws: Workspace, run_id: str) -> Path:
    """The file in which an execution's workers write what nobody else takes down, such as why they did not come up."""
    return ws.root / "logs" / "flow" / f"{run_id}.log"


def _started(ws: Workspace, start: Start, by: str) -> NewEvent:
    body = {"why": start.why, "by": by, "host": socket.gethostname(), "pid": os.getpid()}
    return NewEvent(f"flow/{start.run.id}", queues.STARTED, body, actor=ws.settings.who)


def _ended(ws: Workspace, one: Queued) -> bool:
    """End an execution that was cancelled before a worker had it, or that loses each worker it is given."""
    if one.state == "cancelled":
        ended = replace(one.run, status="cancelled", ended_at=utc_now(), error="cancelled while it waited")
    elif one.state == "lost" and one.lost >= LOST_AT_MOST - 1:
        log = log_of(ws, one.run.id)
        text = f"{one.lost + 1} workers in a row ended without a word; what they wrote is in {log}"
        ended = replace(one.run, status="failed", ended_at=utc_now(), error=text)
    else:
        return False
    try:
        ws.graph.put_run(ended)
    except Conflict:
        _log.info("execution %s ended by itself", one.run.id)
    return True
