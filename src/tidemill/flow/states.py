"""Where an execution stands: the one reading of its records for shells, pages, schedulers and advice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemill.core.errors import Conflict, NotFound, nearest
from tidemill.core.ids import parse_time, utc_now
from tidemill.core.locks import is_held
from tidemill.core.types import Event, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.flow import approvals, tasks
from tidemill.flow.approvals import Approval

KIND = "flow.pipeline"
STEP_KIND = "flow.step"


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node, as its last event tells. run: the step run that made the output (also another execution's).

    why: why it was not cached, or waits, or was skipped. wall_s, cpu_s: over all tries. peak_bytes: of the worker's
    memory by the end. needs: (cores, GPUs, bytes) asked for.
    """

    node: str
    step: str
    state: str
    deps: tuple[str, ...] = ()
    key: str | None = None
    why: str = ""
    attempt: int = 0
    run: str | None = None
    output: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    log: str | None = None
    error: str | None = None
    trace: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0
    needs: tuple[float, float, int | None] = (1.0, 0.0, None)


@dataclass(frozen=True, slots=True)
class FlowState:
    """An execution. status: queued, running, parked, done, failed, cancelled, or lost: its process is gone."""

    run: Run
    status: str
    nodes: tuple[NodeState, ...]
    approvals: tuple[Approval, ...]
    asked_to_cancel: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes are in which state."""
        found: dict[str, int] = {}
        for node in self.nodes:
            found[node.state] = found.get(node.state, 0) + 1
        return found

    def node(self, name: str) -> NodeState:
        """The node of that name; NotFound names the nearest."""
        for each in self.nodes:
            if each.node == name:
                return each
        known = [each.node for each in self.nodes]
        raise NotFound(f"execution {self.run.id} has no node {name!r}; it has {len(known)}.{nearest(name, known)}")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for pages and shells."""
        from dataclasses import asdict

        return {
            "id": self.run.id,
            "pipeline": self.run.name,
            "status": self.status,
            "params": dict(self.run.params),
            "tags": dict(self.run.tags),
            "actor": self.run.actor,
            "started_at": self.run.started_at,
            "ended_at": self.run.ended_at,
            "error": self.run.error,
            "cpu_s": self.run.cpu_s,
            "counts": self.counts,
            "nodes": [asdict(each) for each in self.nodes],
            "approvals": [asdict(each) for each in self.approvals],
        }


def read(ws: Workspace, run_id: str) -> FlowState:
    """The execution of that id (or a unique beginning of it). Raises NotFound."""
    run = execution(ws, run_id)
    events = ws.graph.events(f"flow/{run.id}")
    asked = approvals.read(events)
    cancel = any(event.kind == "cancel" for event in events)
    return FlowState(run, _status(ws, run, events, asked.values()), _nodes(events), tuple(asked.values()), cancel)


def execution(ws: Workspace, run_id: str) -> Run:
    """The run of an execution; NotFound where that id is none."""
    found = ws.graph.get(run_id)
    if not isinstance(found, Run) or found.kind != KIND:
        raise NotFound(f"{run_id} is no execution of a pipeline; `tidemill flow runs` lists them")
    return found


def listed(ws: Workspace, *, pipeline: str | None = None, limit: int = 50) -> list[FlowState]:
    """The newest executions, without their nodes."""
    found = ws.graph.find(Query("run", kind=KIND, name=pipeline, limit=limit))
    states = []
    for run in found:
        assert isinstance(run, Run)
        events = [] if run.status != "running" else ws.graph.events(f"flow/{run.id}")
        asked = approvals.read(events)
        states.append(FlowState(run, _status(ws, run, events, asked.values()), (), tuple(asked.values())))
    return states


def cancel(ws: Workspace, run_id: str) -> None:
    """Ask an execution to end; its process does within seconds, and what it runs with it. Conflict once it has ended.

    One that no process holds (queued, parked or lost) is ended here.
    """
    from dataclasses import replace

    run = execution(ws, run_id)
    if run.status != "running":
        raise Conflict(f"execution {run.id} ended as {run.status}; there is nothing to cancel")
    ws.graph.record(f"flow/{run.id}", "cancel", {"by": ws.settings.who}, actor=ws.settings.who)
    if not is_held(ws, f"flow/{run.id}") and "queue" not in run.tags:  # a queue's scheduler ends its own
        ws.graph.put_run(replace(run, status="cancelled", ended_at=utc_now(), error=f"Cancelled: by {ws.settings.who}"))


def log_of(ws: Workspace, run_id: str, node: str, *, last_bytes: int = 100_000) -> str:
    """What a node printed: of one that runs on this machine as far as it got. "" where it printed nothing."""
    state = read(ws, run_id)
    found = state.node(node)
    if found.log is not None:
        return ws.store.get(found.log)[-last_bytes:].decode(errors="replace")
    path = tasks.log_path(ws, state.run.id, node)
    return path.read_bytes()[-last_bytes:].decode(errors="replace") if path.is_file() else ""


def step_runs(ws: Workspace, run_id: str) -> list[Run]:
    """The runs of the steps that an execution ran itself, newest first."""
    found: list[Run] = []
    before: str | None = None
    while page := ws.graph.find(Query("run", kind=STEP_KIND, parent=run_id, before=before, limit=1000)):
        found += [run for run in page if isinstance(run, Run)]
        before = page[-1].id
    return found


def _status(ws: Workspace, run: Run, events: list[Event], asked: Iterable[Approval]) -> str:
    if run.status != "running" or "orchestrator" in run.tags:  # another orchestrator's tasks come and go
        return run.status
    if is_held(ws, f"flow/{run.id}"):
        return "running"
    if any(each.answer is None for each in asked):
        return "parked"
    if any(event.kind in ("nodes", "resumed", "flow.started") for event in events):
        return "queued" if events[-1].kind in ("decided", "flow.started") else "lost"
    return "queued" if "queue" in run.tags else "lost"


def _nodes(events: list[Event]) -> tuple[NodeState, ...]:
    found: dict[str, NodeState] = {}
    for event in events:
        if event.kind == "nodes":
            for told in event.body["nodes"]:
                found[told["node"]] = _node(told)
    return tuple(found.values())


def _node(told: Mapping[str, Any]) -> NodeState:
    def moment(name: str) -> datetime | None:
        return parse_time(told[name]) if name in told else None

    return NodeState(
        node=told["node"],
        step=told["step"],
        state=told["state"],
        deps=tuple(told.get("deps", ())),
        key=told.get("key"),
        why=told.get("why", ""),
        attempt=told.get("attempt", 0),
        run=told.get("run"),
        output=told.get("output"),
        started_at=moment("started_at"),
        ended_at=moment("ended_at"),
        log=told.get("log"),
        error=told.get("error"),
        trace=told.get("trace", ""),
        cpu_s=told.get("cpu_s", 0.0),
        wall_s=told.get("wall_s", 0.0),
        peak_bytes=told.get("peak_bytes", 0),
        needs=tuple(told.get("needs", (1.0, 0.0, None))),
    )


def parts_of(ws: Workspace, step_run: Run) -> dict[str, str]:
    """The parts of a step run's key, by name: for saying which of them differ."""
    parts: dict[str, str] = dict(step_run.params.get("given", {}))
    if "parts" in step_run.params:
        parts |= json.loads(ws.store.get(step_run.params["parts"]))
    return parts
