"""Traces as MLflow's clients before 3.0 begin, end and read them."""

from __future__ import annotations

from typing import Any

import msgspec

from tidemill.api.mlflow import limits, traces_wire, wire
from tidemill.api.mlflow.errors import invalid
from tidemill.api.mlflow.traces_named import ById, known_experiment, read
from tidemill.core.graphs.committing import committer_of
from tidemill.core.ids import new_id
from tidemill.core.workspace import Workspace
from tidemill.track.tracing import otlp, traces
from tidemill.track.tracing.traces import STATES


class StartOld(msgspec.Struct):
    """StartTrace, EndTrace of clients before 3.0."""

    request_id: str | None = None
    experiment_id: str | None = None
    timestamp_ms: int | None = None
    status: str | int | None = None
    request_metadata: list[wire.Pair] = []
    tags: list[wire.Pair] = []


def start(ws: Workspace, asked: StartOld) -> Any:
    """Begin a trace."""
    place = limits.experiment_id(asked.experiment_id)
    given = _given(asked, f"tr-{new_id()}", place, asked.timestamp_ms or 0, None, "IN_PROGRESS")
    change = known_experiment(traces.starting(ws, given), place)
    return committer_of(ws).submit(lambda now: {"trace_info": shown(change(now))})


def end(ws: Workspace, asked: StartOld) -> Any:
    """End one."""
    before = read(ws, str(asked.request_id))
    at_ms = int(before["at_ms"])
    state = STATES[asked.status] if isinstance(asked.status, int) and asked.status < len(STATES) else str(asked.status)
    state = {"TRACE_STATUS_UNSPECIFIED": STATES[0]}.get(state, state)
    if state not in STATES:
        raise invalid(f"Invalid value {asked.status!r} for 'status'; there are {', '.join(STATES)}")
    took_ms = max(0, (asked.timestamp_ms or at_ms) - at_ms)
    change = traces.starting(ws, _given(asked, before["id"], before["experiment"], at_ms, took_ms, state))
    return committer_of(ws).submit(lambda now: {"trace_info": shown(change(now))})


def _given(asked: StartOld, trace_id: str, place: int, at_ms: int, took_ms: int | None, state: str) -> traces.Given:
    tags = dict(traces_wire.tag(key, value) for key, value in wire.texts(asked.tags).items())
    metadata = {otlp.plain(key): otlp.plain(value) for key, value in wire.texts(asked.request_metadata).items()}
    return traces.Given(trace_id, place, at_ms, took_ms, state, None, None, None, tags, metadata)


def get(ws: Workspace, asked: ById) -> Any:
    """Give one out."""
    return {"trace_info": shown(read(ws, asked.request_id or asked.trace_id or ""))}


def shown(state: dict[str, Any]) -> dict[str, Any]:
    """A trace as clients before 3.0 read it."""
    made = {
        "request_id": state["id"],
        "experiment_id": str(state["experiment"]),
        "timestamp_ms": state["at_ms"],
        "status": "TRACE_STATUS_UNSPECIFIED" if state["state"] == STATES[0] else state["state"],
        "request_metadata": wire.pairs(state["metadata"]),
        "tags": wire.pairs(state["tags"]),
    }
    return made if state["duration_ms"] is None else {**made, "execution_time_ms": state["duration_ms"]}
