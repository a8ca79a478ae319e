"""What an execution records, written by a thread of its own: many records in one transaction.

A step that ended is durable a few milliseconds later; `flush` waits until all that was said before is. While a
transaction is written, the next one gathers: so a chain of quick steps costs a few transactions, and a slow step is not
kept waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tidemill.core.ids import new_id, utc_now
from tidemill.core.types import Artifact, Batch, Edge, NewEvent, Run
from tidemill.core.workspace import Workspace
from tidemill.flow import values
from tidemill.flow.nodes import Node

GATHER_S = 0.05


@dataclass(slots=True)
class _Gathered:
    nodes: dict[str, Node] = field(default_factory=dict)
    runs: list[tuple[Run, Node, values.Packed | None]] = field(default_factory=list)
    events: list[NewEvent] = field(default_factory=list)
    after: list[Callable[[], object]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.nodes or self.runs or self.events or self.after)


class Journal:
    """The records of one execution on their way into the graph."""

    def __init__(self, ws: Workspace, run_id: str, pipeline: str) -> None:
        self._ws = ws
        self._subject = f"flow/{run_id}"
        self._pipeline = pipeline
        self._wake = threading.Condition()
        self._gathered = _Gathered()
        self._writing = False
        self._hurry = False
        self._closed = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def node(self, node: Node, *, soon: bool = True) -> None:
        """The node is in another state. soon: False where it may be told with what comes next."""
        with self._wake:
            self._gathered.nodes[node.id] = node
            self._start(soon)

    def ended(self, node: Node, run: Run, packed: values.Packed | None, after: Callable[[], object]) -> None:
        """The node ended as that run, with that output; `after` is called when it is durable."""
        with self._wake:
            self._gathered.nodes[node.id] = node
            self._gathered.runs.append((run, node, packed))
            self._gathered.after.append(after)
            self._start(True)

    def event(self, event: NewEvent) -> None:
        """Something happened."""
        with self._wake:
            self._gathered.events.append(event)
            self._start(True)

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

    def _start(self, soon: bool) -> None:
        if self._error is not None:
            raise self._error
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
                if self._closed:
                    return
                if not self._hurry:
                    self._wake.wait_for(lambda: self._hurry or self._closed, GATHER_S)
                work, self._gathered = self._gathered, _Gathered()
                self._writing = True
            try:
                self._write(work)
            except BaseException as error:  # whoever flushes is told
                with self._wake:
                    self._error, self._writing = error, False
                    self._wake.notify_all()
                return
            for call in work.after:
                call()
            with self._wake:
                self._writing = False
                self._wake.notify_all()

    def _write(self, work: _Gathered) -> None:
        artifacts: list[tuple[str, Artifact]] = []
        edges: list[Edge] = []
        made: list[Node] = []
        for run, node, packed in work.runs:
            if packed is not None and packed.output.format == values.RECORD:
                node.artifact = packed.output.artifact
                edges.append(Edge(run.id, str(node.artifact), "out", "result"))
            elif packed is not None:
                output = node.output = values.stored(packed, self._ws.store)
                name = f"{self._pipeline}.{node.step.name}"
                given = Artifact(
                    new_id(),
                    values.KIND,
                    name,
                    0,
                    output.blob or output.digest,
                    utc_now(),
                    run.id,
                    values.artifact_meta(output),
                )
                node.artifact = given.id
                artifacts.append(("result", given))
                made.append(node)
        self.find_artifacts([each for _, node, _ in work.runs for each in node.deps if each.artifact is None])
        for run, node, _ in work.runs:
            edges += [Edge(run.id, each.artifact, "in", each.id) for each in node.deps if each.artifact is not None]
        runs = [_with_output(run, node) for run, node, _ in work.runs]
        events = list(work.events)
        if work.nodes:
            told = [node.to_json() for node in work.nodes.values()]
            events.append(NewEvent(self._subject, "nodes", {"nodes": told}, actor=self._ws.settings.who))
        found = self._ws.graph.write(Batch(runs, artifacts, edges, events))
        for node, artifact in zip(made, found, strict=True):
            node.artifact = artifact.id

    def find_artifacts(self, nodes: list[Node]) -> None:
        """The artifacts of outputs that came from the cache: asked for only where a step that runs got them."""
        for node in nodes:
            if node.artifact is None and node.output is not None:
                node.artifact = node.output.artifact
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


def _with_output(run: Run, node: Node) -> Run:
    from dataclasses import replace

    if node.output is None:
        return run
    return replace(run, params={**run.params, "output": node.output.to_json()})
