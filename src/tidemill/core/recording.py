"""Recording a run: what every phase wraps its work in, so that nothing happens outside the graph."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import Distribution, distributions
from typing import Any
from weakref import WeakKeyDictionary

from tidemill.core.ids import canonical_json, digest, json_digest, new_id, utc_now
from tidemill.core.store import Store
from tidemill.core.types import Artifact, Edge, Point, Query, Run, Status, View
from tidemill.core.workspace import Workspace


class Recorder:
    """A run that is going on: use inputs, log metrics, emit artifacts."""

    def __init__(self, ws: Workspace, run: Run) -> None:
        self.ws = ws
        self.run = run
        self.metrics: dict[str, float] = {}
        self.outputs: list[Artifact] = []

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
        self, kind: str, name: str, *, digest: str, meta: Mapping[str, Any] | None = None, slot: str = ""
    ) -> Artifact:
        """Record an artifact that this run made; its bytes are stored already, or live where `meta` says."""
        made = self.ws.graph.put(
            Artifact(new_id(), kind, name, 0, digest, utc_now(), self.run.id, dict(meta or {})), slot=slot
        )
        self.outputs.append(made)
        return made

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

    inputs: (slot, artifact) pairs. code: digest of the code's text in the store. The environment is recorded once per
    process. Under a clock (Workspace.at) the run's tag "clock" holds the simulated time.
    """
    tagged = dict(tags or {})
    if ws.clock is not None:
        tagged.setdefault("clock", ws.clock.isoformat())
    run = ws.graph.put_run(
        Run(
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
            parent=parent,
            actor=ws.settings.who,
        )
    )
    recorder = Recorder(ws, run)
    ws.graph.link([Edge(run.id, artifact.id, "in", slot) for slot, artifact in inputs])
    began_s = cpu_seconds()
    try:
        yield recorder
    except BaseException as error:
        status: Status = "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"
        recorder.run = ws.graph.put_run(
            replace(
                run,
                status=status,
                ended_at=utc_now(),
                metrics=recorder.metrics,
                error=f"{type(error).__name__}: {error}",
                cpu_s=round(cpu_seconds() - began_s, 4),
            )
        )
        raise
    recorder.run = ws.graph.put_run(
        replace(
            run,
            status="done",
            ended_at=utc_now(),
            metrics=recorder.metrics,
            cpu_s=round(cpu_seconds() - began_s, 4),
        )
    )


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
