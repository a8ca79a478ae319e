"""Pipelines: which there are, one execution as it goes along, one of its nodes, what is deployed, and advice."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from tidemill.api.views.flowgraph import WORST, counts_of, grouped, within
from tidemill.api.views.shaping import Shown, plain
from tidemill.core.errors import BadInput, NotFound, TidemillError, nearest
from tidemill.core.ids import iso, utc_now
from tidemill.core.types import Run
from tidemill.project import Project

if TYPE_CHECKING:
    from tidemill.flow.approvals import Approval
    from tidemill.flow.scheduling.schedules import Scheduled
    from tidemill.flow.states import FlowState, NodeState

NEWEST = 400  # executions among which pipelines are looked for
LAST = 8  # executions of each pipeline that are shown
IN_PAGE = 100  # nodes
LIVE = ("queued", "running")


def pipelines(project: Project) -> Shown:
    """All pipelines that were run lately (of the newest 400 executions) or are deployed, each with its newest
    executions and its schedules; what waits in queues."""
    from tidemill.flow.scheduling import queues

    by_name: dict[str, list[FlowState]] = {}
    for each in project.flows.all(limit=NEWEST):
        by_name.setdefault(each.run.name, []).append(each)
    deployed = project.flows.schedules()
    names = sorted({*by_name, *(one.pipeline for one in deployed)})
    waiting = project.flows.queue()
    return {
        "pipelines": [
            {
                "name": name,
                "executions": [_execution_line(each) for each in by_name.get(name, [])[:LAST]],
                "finished": any(each.status == "done" for each in by_name.get(name, [])),
                "schedules": [_schedule(one) for one in deployed if one.pipeline == name],
            }
            for name in names
        ],
        "queue": [
            {
                "id": each.run.id,
                "pipeline": each.run.name,
                "queue": each.queue,
                "state": each.state,
                "priority": each.priority,
                "starts": each.starts,
                "queued_at": iso(each.run.started_at),
            }
            for each in waiting
        ],
        "limits": queues.limits(project.ws),
        "usual_limit": queues.AT_ONCE,
        "live": any(each.status in LIVE for some in by_name.values() for each in some),
    }


def execution(
    project: Project, run_id: str, *, box: str | None = None, state: str | None = None, page: int = 1
) -> Shown:
    """One execution: how it stands, its graph with the elements of a map drawn together, its questions, its nodes.

    steps: a line for each box of the graph; nodes: for each node, a page of them.

    box, state: only the nodes of that box of the graph ("plus[]"), or in that state. page: of 100 nodes, from 1.
    Raises NotFound for an unknown execution, BadInput for an unknown state.
    """
    found = project.flows.get(run_id)
    if state and state not in WORST:
        raise BadInput(f"a node is in no state {state!r}; there are {', '.join(WORST)}.{nearest(state, WORST)}")
    run, now = found.run, utc_now()
    chosen = [
        each for each in found.nodes if (not state or each.state == state) and (not box or within(each.node, box))
    ]
    first = (page - 1) * IN_PAGE
    graph = grouped(found.nodes, run.started_at, run.ended_at or _last(found) or now)
    return {
        **_execution_line(found),
        "params": plain(run.params),
        "tags": plain(run.tags),
        "queue": run.tags.get("queue"),
        "again_of": run.tags.get("again_of"),
        "can_run_again": "entry" in run.tags,
        "cpu_s": run.cpu_s,
        "counts": counts_of(found.nodes),
        "total_nodes": len(found.nodes),
        "approvals": [_approval(each) for each in found.approvals],
        "asked_to_cancel": found.asked_to_cancel,
        "can_cancel": run.status == "running" and not found.asked_to_cancel,
        "graph": graph,
        "steps": _steps(found, graph["boxes"]),
        "box": box,
        "state": state,
        "page": page,
        "pages": max(1, -(-len(chosen) // IN_PAGE)),
        "chosen": len(chosen),
        "nodes": [_node_line(each) for each in chosen[first : first + IN_PAGE]],
        "trouble": [_node_line(each) for each in found.nodes if each.state == "failed"][:5],
        "live": found.status in LIVE,
    }


def node(project: Project, run_id: str, name: str) -> Shown:
    """One node of an execution: what it was given and gave, why it ran, its error and what it printed."""
    found = project.flows.get(run_id)
    each = found.node(name)
    run = _step_run(project, each)
    params = {} if run is None else run.params
    return {
        "execution": _execution_line(found),
        **_node_line(each),
        "key": each.key,
        "arguments": plain(params.get("arguments", {})),
        "deps": [{"node": dep, "state": found.node(dep).state} for dep in each.deps],
        "then": [{"node": other.node, "state": other.state} for other in found.nodes if name in other.deps][:IN_PAGE],
        "output": plain(each.output),
        "trace": each.trace,
        "log": project.flows.log(found.run.id, name),
        "peak_bytes": each.peak_bytes,
        "needs": {"cpu": each.needs[0], "gpu": each.needs[1], "memory_bytes": each.needs[2]},
        "made_in": None if run is None or run.parent in (None, found.run.id) else run.parent,
        "reason": _reason(project, found, each),
        "can_run_again": "entry" in found.run.tags and found.status not in LIVE,
        "live": found.status in LIVE and each.state in ("waiting", "running"),
    }


def schedules(project: Project) -> Shown:
    """What is deployed: when it runs, next and last, what happens to missed slots, whether it is paused."""
    return {"schedules": [_schedule(one) for one in project.flows.schedules()]}


def advice(project: Project, pipeline: str, *, runs: int = 20) -> Shown:
    """What would make a pipeline quicker or cheaper, from its newest finished executions."""
    found: Shown = plain(project.flows.advise(pipeline, runs=runs).to_json())
    return found


# ----------------------------------------------------------------------------------------- what changes something


def answer(project: Project, run_id: str, *, yes: bool, approval: str | None = None, note: str = "") -> Shown:
    """Answer a question of an execution."""
    return _approval(project.flows.answer(run_id, yes=yes, approval=approval or None, note=note))


def cancel(project: Project, run_id: str) -> Shown:
    """Ask an execution to end; its state after that."""
    project.flows.cancel(run_id)
    return _execution_line(project.flows.get(run_id))


def again(project: Project, run_id: str, *, node: str | None = None) -> Shown:
    """Queue the same once more; node: with that one, or all of that map, and all that follows computed anew."""
    made = project.flows.again(run_id, fresh=[node] if node else [])
    return _execution_line(project.flows.get(made.id))


def pause(project: Project, name: str, *, on: bool) -> Shown:
    """Let a schedule start nothing (on), or go on (off); as it stands then."""
    return _schedule(project.flows.pause(name, on=on))


def call_hook(project: Project, name: str, token: str, body: object, *, delivery: str | None = None) -> Shown:
    """Take a call of a webhook, durable when this returns."""
    from tidemill.flow.scheduling import webhooks

    event = webhooks.call(project.ws, name, token, body, delivery=delivery)
    return {"webhook": name, "call": event.seq, "at": iso(event.at)}


# ------------------------------------------------------------------------------------------------ lines


def _execution_line(found: FlowState) -> Shown:
    run = found.run
    return {
        "id": run.id,
        "pipeline": run.name,
        "status": found.status,
        "started_at": iso(run.started_at),
        "ended_at": None if run.ended_at is None else iso(run.ended_at),
        "duration_s": run.duration_s,
        "actor": run.actor,
        "trigger": run.tags.get("trigger", ""),
        "schedule": run.tags.get("schedule"),
        "slot": run.tags.get("slot"),
        "error": run.error,
        "asks": [each.text for each in found.approvals if each.answer is None and run.status == "running"],
    }


def _node_line(each: NodeState) -> Shown:
    return {
        "node": each.node,
        "step": each.step,
        "state": each.state,
        "attempt": each.attempt,
        "started_at": None if each.started_at is None else iso(each.started_at),
        "ended_at": None if each.ended_at is None else iso(each.ended_at),
        "wall_s": each.wall_s if each.started_at is not None else None,
        "cpu_s": each.cpu_s if each.started_at is not None else None,
        "run": each.run,
        "why": each.why,
        "error": each.error,
    }


def _steps(found: FlowState, boxes: list[Shown]) -> list[Shown]:
    """A line for each box of the graph: that of its node, or of all nodes of a map together."""
    by_name = {each.node: each for each in found.nodes}
    lines = []
    for box in boxes:
        if box["node"] is not None:
            lines.append({**_node_line(by_name[box["node"]]), "box": None, "counts": box["counts"]})
        else:
            told = {"node": box["title"], "step": box["step"], "state": box["state"], "counts": box["counts"]}
            lines.append({**told, "box": box["box"], "wall_s": box["wall_s"]})
    return lines


def _approval(each: Approval) -> Shown:
    found: Shown = plain(asdict(each))
    return {**found, "open": each.answer is None and not each.expired(utc_now())}


def _schedule(one: Scheduled) -> Shown:
    from tidemill.flow.scheduling.schedules import Cron, Every, kind_of, text_of
    from tidemill.flow.scheduling.slots import following

    timed = one.schedule if isinstance(one.schedule, Cron | Every) else None
    next_at = None if timed is None or one.paused else following(timed, utc_now())
    return {
        "name": one.name,
        "pipeline": one.pipeline,
        "entry": one.entry,
        "kind": kind_of(one.schedule),
        "text": text_of(one.schedule),
        "catch_up": one.schedule.catch_up,
        "next_at": None if next_at is None else iso(next_at),
        "since": iso(one.since),
        "paused": one.paused,
        "params": plain(one.params),
        "slot_param": one.slot_param,
        "queue": one.queue,
        "priority": one.priority,
        "at_once": one.at_once,
        "as": one.as_,
    }


def _last(found: FlowState) -> datetime | None:
    """When the last thing ended in an execution that is not running now."""
    if found.status == "running":
        return None
    return max((each.ended_at for each in found.nodes if each.ended_at is not None), default=None)


def _step_run(project: Project, each: NodeState) -> Run | None:
    if each.run is None:
        return None
    try:
        run = project.ws.graph.get(each.run)
    except NotFound:  # swept
        return None
    return run if isinstance(run, Run) else None


def _reason(project: Project, found: FlowState, each: NodeState) -> Shown:
    """Why it ran: a sentence, and the parts of its key that differ from those of the run most like it."""
    told: Shown = {"text": each.why, "before": None, "differences": []}
    if each.state == "cached":
        return {**told, "text": "the same was computed before: code, inputs, parameters and packages are equal"}
    if each.run is None or each.state not in ("done", "failed"):
        return told
    try:
        why = project.flows.why(each.node, execution=found.run.id)
    except TidemillError as error:  # its records were swept
        return {**told, "text": each.why or str(error)}
    lines = [asdict(difference) for difference in why.differences]
    return {"text": why.reason, "before": why.before, "differences": plain(lines)}
