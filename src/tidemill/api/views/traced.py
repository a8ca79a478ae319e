"""Traces as pages and JSON show them: those of an experiment, and one with its spans as a tree along the time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tidemill.api.views.shaping import Shown
from tidemill.core.ids import iso
from tidemill.project import Project
from tidemill.track import experiments
from tidemill.track.tracing import searching, summary
from tidemill.track.tracing import traces as kept

SPANS = 500  # shown of one trace
VALUE = 4000  # characters of a value
HIDDEN = ("mlflow.traceRequestId", "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType")


def traces(
    project: Project,
    *,
    experiment: int = 0,
    filter: str = "",
    order: str = "",
    limit: int = 50,
    token: str | None = None,
) -> Shown:
    """The traces of an experiment that match a filter, the newest first. Raises BadInput, NotFound."""
    place = experiments.get(project.ws, experiment)
    orders = [order] if order else []
    page = searching.search(project.ws, [experiment], filter, order_by=orders, limit=limit, token=token)
    return {
        "experiment": {"id": place.id, "name": place.name},
        "filter": filter,
        "order": order,
        "traces": [line(each) for each in page.traces],
        "next": page.token,
    }


def traced(project: Project, trace_id: str) -> Shown:
    """One trace, its spans each below its parent. Raises NotFound."""
    state = kept.get(project.ws, trace_id)
    ((state, spans),) = kept.with_spans(project.ws, [trace_id]) or [(state, [])]
    whole = json.loads(json.dumps(state))
    listed = _tree(spans)
    start = min((each["start"] for each in spans), default=0)
    return {
        **line(state),
        "experiment": {"id": state["experiment"], "name": experiments.get(project.ws, state["experiment"]).name},
        "tags": dict(sorted(state["tags"].items())),
        "metadata": dict(sorted(state["metadata"].items())),
        "assessments": [_judged(each) for each in whole["assessments"]],
        "runs": state["runs"],
        "prompts": state["prompts"],
        "in_all": len(spans),
        "spans": [_span(each, depth, start) for depth, each in listed[:SPANS]],
        "took_ms": max((each["end"] - start for each in spans), default=0) / 1e6,
    }


def line(state: Mapping[str, Any]) -> Shown:
    """A trace as a line of a list."""
    return {
        "id": state["id"],
        "name": state["tags"].get(kept.NAME, ""),
        "state": state["state"],
        "at": iso(datetime.fromtimestamp(min(state["at_ms"], 253_402_300_799_000) / 1000, UTC)),
        "duration_s": None if state["duration_ms"] is None else state["duration_ms"] / 1000,
        "request": state["request_preview"],
        "response": state["response_preview"],
        "tokens": _tokens(state["metadata"].get(kept.TOKENS)),
        "judged": [_judged(each) for each in state["assessments"] if each["valid"]],
    }


def _tokens(text: str | None) -> int | None:
    try:
        found = json.loads(text or "{}").get("total_tokens")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None


def _judged(given: Mapping[str, Any]) -> Shown:
    kind = next(each for each in ("feedback", "expectation", "issue") if each in given)
    value = given[kind]
    said = value.get("value")
    if said is None:
        packed, error = value.get("serialized_value"), value.get("error")
        said = packed.get("value") if packed else f"failed: {error.get('error_code')}" if error else value
    source = given["source"]
    return {
        "id": given["assessment_id"],
        "name": given["assessment_name"],
        "kind": kind,
        "value": said if isinstance(said, str | int | float | bool) else json.dumps(said, ensure_ascii=False)[:VALUE],
        "by": source.get("source_id") or source.get("source_type"),
        "rationale": given.get("rationale"),
        "valid": given["valid"],
    }


def _tree(spans: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """The spans with their depth, each after its parent; those whose parent is not there as roots."""
    ids = {each["id"] for each in spans}
    below: dict[str | None, list[Mapping[str, Any]]] = {}
    for each in sorted(spans, key=lambda span: span["start"], reverse=True):
        below.setdefault(each["parent"] if each["parent"] in ids else None, []).append(each)
    found: list[tuple[int, Mapping[str, Any]]] = []
    waiting = [(0, each) for each in below.pop(None, [])]
    while waiting:
        depth, span = waiting.pop()
        found.append((depth, span))
        waiting += [(depth + 1, each) for each in below.pop(span["id"], [])]
    return found + [(0, each) for some in below.values() for each in some]  # those that are their own ancestors


def _span(span: Mapping[str, Any], depth: int, start: int) -> Shown:
    has = summary.attributes(span)
    return {
        "id": span["id"],
        "parent": span["parent"],
        "depth": depth,
        "name": span["name"],
        "type": summary.type_of(span),
        "status": span["status"],
        "message": span.get("message", ""),
        "start_ms": (span["start"] - start) / 1e6,
        "took_ms": max(0, span["end"] - span["start"]) / 1e6,
        "inputs": _text(has.get(summary.INPUTS)),
        "outputs": _text(has.get(summary.OUTPUTS)),
        "attributes": {name: _text(value) for name, value in has.items() if name not in HIDDEN},
        "events": [
            {"name": each["name"], "attributes": {k: _text(v) for k, v in each.get("attributes", {}).items()}}
            for each in span.get("events", ())[:50]
        ],
    }


def _text(value: Any) -> str | None:  # Any: a JSON value
    if value is None:
        return None
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1))[:VALUE]
