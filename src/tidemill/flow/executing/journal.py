"""What an execution records, written by a thread of its own: many records in one transaction.

A step that ended is durable a few milliseconds later; `flush` waits until all that was said before is. While a
transaction is written, the next one gathers: so a chain of quick steps costs a few transactions, and a slow step is not
kept waiting. After an error nothing more is written: what was recorded until then is what a resumed execution finds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tidemill.core.ids import new_id, utc_now
from tidemill.core.types import Artifact, Batch, Edge, NewEvent, Run, Status
from tidemill.core.workspace import Workspace
from tidemill.flow import values
from tidemill.flow.executing import keying
from tidemill.flow.executing.nodes import Node, shown

STEP_KIND = "flow.step"
GATHER_S = 0.05
LOG_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Ended:
    """A node whose step ran. log: the file of what it printed. after: called when its record is durable."""

    node: Node
    packed: values.Packed | None
    log: Path | None
    after: Callable[[], object]


@dataclass(slots=True)
class _Gathered:
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.told or self.ended)


class Journal:
    """The records of one execution on their way into the graph. broken: called when an error ended the writing."""

    def __init__(self, ws: Workspace, record: Run, broken: Callable[[], object]) -> None:
        self._ws = ws
        self._record = record
        self._broken = broken
        self._wake = threading.Condition()
        self._gathered = _Gathered()
        self._writing = False
        self._hurry = False
        self._closed = False
        self._error: BaseException | None = None
        self._artifacts: dict[str, str] = {}  # by the run that made them
        self._thread: threading.Thread | None = None

    def node(self, node: Node, *, soon: bool = True) -> None:
        """The node is in another state. soon: False where it may be told with what comes next."""
        self._say(node, None, soon)

    def ended(self, ended: Ended) -> None:
        """The node's step ended: it gets a run of its own."""
        self._say(ended.node, ended, True)

    def flush(self) -> None:
        """Wait until all that was said is durable; raises what writing it raised (NoRoom, Busy)."""
        with self._wake:
            self._hurry = True
            self._wake.notify_all()
            while (self._gathered or self._writing) and self._error is None:
                self._wake.wait()
            self._hurry = False
            if self._error is not None:
                raise self._error

    def close(self) -> None:
        """End the thread; what was not flushed is dropped."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    @property
    def error(self) -> BaseException | None:
        """What went wrong in writing, where something did."""
        return self._error

    def _say(self, node: Node, ended: Ended | None, soon: bool) -> None:
        # As it is now: told later it could be done with a run that is in no batch yet.
        told = node.to_json()
        with self._wake:
            if self._error is not None or self._closed:
                return
            self._gathered.told[node.id] = told
            if ended is not None:
                self._gathered.ended.append(ended)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="tidemill journal", daemon=True)
                self._thread.start()
            if soon:
                self._wake.notify_all()

    def _write_all(self) -> None:
        while True:
            with self._wake:
                while not self._gathered and not self._closed:
                    self._wake.wait()
                if not self._hurry and not self._closed:
                    self._wake.wait_for(lambda: self._hurry or self._closed, GATHER_S)
                if self._closed:
                    return
                work, self._gathered = self._gathered, _Gathered()
                self._writing = True
            try:
                self._write(work)
                for each in work.ended:
                    each.after()
            except BaseException as error:  # whoever flushes or waits is told
                with self._wake:
                    self._error, self._writing = error, False
                    self._gathered = _Gathered()
                    self._wake.notify_all()
                self._broken()
                return
            with self._wake:
                self._writing = False
                self._wake.notify_all()

    def _write(self, work: _Gathered) -> None:
        artifacts: list[tuple[str, Artifact]] = []
        edges: list[Edge] = []
        made: list[Node] = []
        runs: list[Run] = []
        for each in work.ended:
            node, packed = each.node, each.packed
            if each.log is not None:
                node.log = self._log(each.log)
                if node.log is not None:
                    work.told[node.id]["log"] = node.log
            runs.append(self._run(node))
            if packed is not None and packed.output.format == values.RECORD:
                node.artifact = self._artifacts[runs[-1].id] = str(packed.output.artifact)
                edges.append(Edge(runs[-1].id, node.artifact, "out", "result"))
            elif packed is not None:
                output = values.stored(packed, self._ws.store)
                name = f"{self._record.name}.{node.step.name}"
                meta = values.artifact_meta(output)
                content = output.blob or output.digest
                given = Artifact(new_id(), values.KIND, name, 0, content, utc_now(), runs[-1].id, meta)
                node.artifact = self._artifacts[runs[-1].id] = given.id
                artifacts.append(("result", given))
                made.append(node)
        self.find_artifacts([dep for each in work.ended for dep in each.node.deps if dep.artifact is None])
        for each, run in zip(work.ended, runs, strict=True):
            edges += [Edge(run.id, dep.artifact, "in", dep.id) for dep in each.node.deps if dep.artifact is not None]
        events = []
        if work.told:
            body = {"nodes": list(work.told.values())}
            events.append(NewEvent(f"flow/{self._record.id}", "nodes", body, actor=self._ws.settings.who))
        found = self._ws.graph.write(Batch(runs, artifacts, edges, events))
        for node, artifact in zip(made, found, strict=True):
            node.artifact = self._artifacts[str(node.source)] = artifact.id

    def _run(self, node: Node) -> Run:
        status: Status = "done" if node.state == "done" else "cancelled" if node.state == "cancelled" else "failed"
        params: dict[str, Any] = {"node": node.id, **keying.recorded(self._ws, node)}
        if node.log is not None:
            params["log"] = node.log
        if node.why:
            params["why"] = node.why
        if node.output is not None:
            params["output"] = node.output.to_json()
        assert isinstance(node.started_at, datetime)
        return Run(
            id=str(node.source),
            kind=STEP_KIND,
            name=node.step.name,
            status=status,
            started_at=node.started_at,
            ended_at=node.ended_at,
            key=node.key if status == "done" else None,
            params=params,
            code=keying.code(self._ws, node),
            environment=self._record.environment,
            parent=self._record.id,
            actor=self._record.actor,
            error=None if node.error is None else shown(node.error),
            cpu_s=round(node.cpu_s, 4),
        )

    def _log(self, path: Path) -> str | None:
        """The end of what it printed, in the store; None where it ran on another machine."""
        try:
            with path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
                return self._ws.store.put(file.read(LOG_BYTES))
        except FileNotFoundError:
            return None

    def find_artifacts(self, nodes: list[Node]) -> None:
        """The artifacts of outputs that came from the cache: asked for only where a step that runs got them."""
        for node in nodes:
            if node.artifact is None and node.output is not None:
                node.artifact = node.output.artifact or self._artifacts.get(str(node.source))
        unknown = {each.source for each in nodes if each.artifact is None and each.source and each.output}
        if not unknown:
            return
        place = {
            edge.run_id: edge.artifact_id
            for edge in self._ws.graph.edges(sorted(unknown))
            if edge.role == "out" and edge.slot == "result"
        }
        for node in nodes:
            if node.artifact is None and node.source is not None:
                node.artifact = place.get(node.source)
