"""Recording a run: what every phase wraps its work in, so that nothing happens outside the graph.

A run that goes on holds the lease "run/<id>": when its process dies, however, the lease is free, and `lost` finds it.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from tidemill.core import locks
from tidemill.core.errors import Conflict
from tidemill.core.ids import canonical_json, digest, json_digest, new_id, utc_now
from tidemill.core.store import Store
from tidemill.core.types import Artifact, Batch, Edge, NewEvent, Point, Query, Run, Status, View
from tidemill.core.workspace import Workspace

PROCESS = "process"  # a tag of a run that goes on: which process does it, "machine/number"
LOST = "ended without a word"  # how the error of a run ends whose process died; its own word counts more
PAGE = 1000  # runs read at a time
# The execution of a pipeline that the code here is a part of, by its run's id: what it records has it as its parent.
inside: ContextVar[str | None] = ContextVar("tidemill_inside", default=None)


class Recorder:
    """A run that is going on: use inputs, log metrics, emit artifacts."""

    def __init__(self, ws: Workspace, run: Run) -> None:
        self.ws = ws
        self.run = run
        self.metrics: dict[str, float] = {}
        self.outputs: list[Artifact] = []
        self._began_s = cpu_seconds()

    def use(self, artifact: Artifact | View, slot: str = "") -> None:
        """Record that this run read the artifact."""
        self.ws.graph.link([Edge(self.run.id, artifact.id, "in", slot)])

    def link_output(self, artifact: Artifact | View, slot: str = "") -> None:
        """Record that this run's result is an artifact which a run inside it made."""
        self.ws.graph.link([Edge(self.run.id, artifact.id, "out", slot)])

    def log(self, key: str, value: float, step: int | None = None) -> None:
        """Log one metric; without a step it is also the run's result under that key."""
        if step is None:
            self.metrics[key] = float(value)
        self.ws.graph.log(self.run.id, [Point(key, float(value), step or 0, utc_now())])

    def result(self, metrics: Mapping[str, float]) -> None:
        """Set results of the run, written with its end in one transaction."""
        self.metrics.update({key: float(value) for key, value in metrics.items()})

    def emit(
        self,
        kind: str,
        name: str,
        *,
        digest: str,
        meta: Mapping[str, Any] | None = None,
        slot: str = "",
        last: bool = False,
    ) -> Artifact:
        """Record an artifact that this run made; its bytes are stored already, or live where `meta` says.

        last: the run is done with it, which is recorded in the same transaction; nothing can be added to the run then.
        """
        given = Artifact(new_id(), kind, name, 0, digest, utc_now(), self.run.id, dict(meta or {}))
        ended = [self.ended("done")] if last else []
        (made,) = self.ws.graph.write(Batch(ended, [(slot, given)]))
        self.outputs.append(made)
        self.run = ended[0] if ended else self.run
        return made

    def ended(self, status: Status, error: str | None = None) -> Run:
        """The run as it is when it ends now; not recorded yet."""
        return replace(
            self.run,
            status=status,
            ended_at=utc_now(),
            metrics=dict(self.metrics),
            tags={name: value for name, value in self.run.tags.items() if name != PROCESS},
            error=error,
            cpu_s=round(cpu_seconds() - self._began_s, 4),
        )

    def emit_bytes(
        self, kind: str, name: str, data: bytes, *, meta: Mapping[str, Any] | None = None, slot: str = ""
    ) -> Artifact:
        """Store bytes and record them as an artifact that this run made."""
        return self.emit(kind, name, digest=self.ws.store.put(data), meta=meta, slot=slot)

    def emit_json(
        self, kind: str, name: str, value: Any, *, meta: Mapping[str, Any] | None = None, slot: str = ""
    ) -> Artifact:
        """Store a JSON value and record it as an artifact that this run made."""
        return self.emit_bytes(kind, name, canonical_json(value), meta=meta, slot=slot)


@contextmanager
def recorded(
    ws: Workspace,
    kind: str,
    name: str,
    *,
    inputs: Iterable[tuple[str, Artifact | View]] = (),
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    key: str | None = None,
    code: str | None = None,
    parent: str | None = None,
) -> Iterator[Recorder]:
    """Run the body as a recorded run; an exception ends it as "failed" with its text and is raised on.

    parent: the run it is a part of; by default the execution of a pipeline in whose step this is called (`inside`).
    inputs: (slot, artifact) pairs. code: digest of the code's text in the store. The environment is recorded once per
    process. Under a clock (Workspace.at) the run's tag "clock" holds the simulated time.
    """
    tagged = {**(tags or {}), PROCESS: f"{socket.gethostname()}/{os.getpid()}"}
    if ws.clock is not None:
        tagged.setdefault("clock", ws.clock.isoformat())
    run = Run(
        id=new_id(),
        kind=kind,
        name=name,
        status="running",
        started_at=utc_now(),
        key=key,
        params=dict(params or {}),
        tags=tagged,
        code=code,
        environment=environment(ws),
        parent=inside.get() if parent is None else parent,
        actor=ws.settings.who,
    )
    alive = locks.lease(ws, _lease(run))
    assert alive is not None, "an id is nobody else's"
    with alive:
        ws.graph.write(Batch([run], edges=[Edge(run.id, artifact.id, "in", slot) for slot, artifact in inputs]))
        recorder = Recorder(ws, run)
        try:
            yield recorder
        except BaseException as error:
            if recorder.run.status == "running":
                status: Status = "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"
                recorder.run = ws.graph.put_run(recorder.ended(status, f"{type(error).__name__}: {error}"))
            raise
        if recorder.run.status == "running":
            recorder.run = ws.graph.put_run(recorder.ended("done"))


def lost(ws: Workspace, *, wait: bool = False) -> list[Run]:
    """The recorded runs that say "running" and whose process has ended without a word, oldest first.

    Decided by their leases alone: no number of a process that another has now, and no clock, is believed. Where the
    graph is in PostgreSQL a cut connection looks like an ended process for up to a minute, so there a run must be found
    so at two looks that are a minute apart: those of one process that looks again and again, or with `wait` of this
    call, which then takes a minute. Runs that their phase keeps open between processes (pipelines) are not among them.
    """
    found = _unheld(ws)
    grace_s = locks.grace_s(ws)
    if not grace_s:
        return found
    seen = _seen.setdefault(ws.url, {})
    now_s = time.monotonic()
    for gone in seen.keys() - {run.id for run in found}:
        del seen[gone]
    for run in found:
        seen.setdefault(run.id, now_s)
    if wait and any(now_s - seen[run.id] < grace_s for run in found):
        time.sleep(grace_s)
        still = {run.id for run in _unheld(ws)}
        return [run for run in found if run.id in still]
    return [run for run in found if now_s - seen[run.id] >= grace_s]


def end_lost(ws: Workspace, *, wait: bool = False) -> list[Run]:
    """End the runs that are `lost` as failed, each with an event "ended" of subject "lost/<run id>"; returns them."""
    ended: list[Run] = []
    for run in lost(ws, wait=wait):
        process = run.tags[PROCESS]
        tags = {name: value for name, value in run.tags.items() if name != PROCESS}
        error = f"its process {process} {LOST}"
        failed = replace(run, status="failed", ended_at=utc_now(), tags=tags, error=error)
        said = NewEvent(f"lost/{run.id}", "ended", {"process": process, "kind": run.kind}, ws.settings.who)
        try:
            ws.graph.write(Batch([failed], events=[said]))
        except Conflict:
            continue  # another process has ended it
        ended.append(failed)
    return ended


_seen: dict[str, dict[str, float]] = {}  # by workspace and run: since when its lease was found free


def _lease(run: Run) -> str:
    return f"run/{run.id}"


def _unheld(ws: Workspace) -> list[Run]:
    found: list[Run] = []
    before: str | None = None
    while True:
        page = ws.graph.find(Query("run", status="running", before=before, limit=PAGE))
        for run in page:
            assert isinstance(run, Run)
            if PROCESS in run.tags and not locks.is_held(ws, _lease(run)):
                found.append(run)
        if len(page) < PAGE:
            break
        before = page[-1].id
    # A run's end is recorded before its lease is given back: one that has ended since is not lost.
    return [run for run in reversed(found) if ws.graph.get(run.id) == run]


def done_before(ws: Workspace, key: str) -> Run | None:
    """The newest finished run with that cache key, or None."""
    for run in ws.graph.find(Query("run", key=key, status="done", limit=1)):
        assert isinstance(run, Run)
        return run
    return None


def outputs_of(ws: Workspace, run: Run) -> list[tuple[str, Artifact]]:
    """The (slot, artifact) pairs that a run made, in order of their ids."""
    made: list[tuple[str, Artifact]] = []
    for edge in ws.graph.edges([run.id]):
        if edge.role == "out":
            artifact = ws.graph.get(edge.artifact_id)
            assert isinstance(artifact, Artifact)
            made.append((edge.slot, artifact))
    return sorted(made, key=lambda pair: pair[1].id)


def cpu_seconds() -> float:
    """CPU seconds of this process and its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_bytes() -> int:
    """The largest resident set of this process so far. Linux's getrusage would count the process that started it."""
    try:
        status = Path("/proc/self/status").read_bytes()
        return int(status.split(b"VmHWM:", 1)[1].split(maxsplit=1)[0]) * 1024
    except (OSError, IndexError):  # no Linux
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest * 1024


@cache
def _described() -> bytes:
    packages = sorted({named for dist in distributions() if (named := _name_and_version(dist))})
    return canonical_json(
        {
            "python": sys.version.split()[0],
            "system": platform.platform(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "packages": packages,
        }
    )


def _name_and_version(dist: Distribution) -> str:
    """As "name==version". Only those two fields: `dist.metadata` parses a whole mail, 100 ms for 130 distributions."""
    text = dist.read_text("METADATA") or dist.read_text("PKG-INFO") or ""
    fields = dict(re.findall(r"^(Name|Version): *(.*?) *$", text.partition("\n\n")[0], re.M))
    return f"{fields['Name']}=={fields.get('Version')}" if fields.get("Name") else ""


# By the store itself, not its id(): a store that is gone leaves its id to the next one, which has nothing yet.
_stored: WeakKeyDictionary[Store, str] = WeakKeyDictionary()


def environment(ws: Workspace) -> str:
    """The digest of this process's environment (Python, system, distributions); its JSON is in the store."""
    described = _described()
    name = digest(described)
    if _stored.get(ws.store) != name:
        ws.store.put(described)
        _stored[ws.store] = name
    return name


def key_of(*parts: Any) -> str:
    """A cache key from JSON values and digests."""
    return json_digest(list(parts))
