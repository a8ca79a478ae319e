"""What people, programs and models judge of a trace: feedback, expectations, issues. Kept with the trace's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.graphs.committing import Operation
from tidemill.core.graphs.tracked import ms
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import new_id, utc_now
from tidemill.core.workspace import Workspace
from tidemill.track.tracing import traces
from tidemill.track.tracing.traces import State

VALUES = ("feedback", "expectation", "issue")
SOURCES = ("HUMAN", "LLM_JUDGE", "AI_JUDGE", "CODE", "SOURCE_TYPE_UNSPECIFIED")
MOST = 1000  # of a trace
NAME_LENGTH = 250
Assessment = dict[str, Any]  # assessment_id, assessment_name, source, created_ms, updated_ms, one of VALUES, ...


def made(given: Mapping[str, Any], trace_id: str) -> Assessment:
    """An assessment as it is kept. Raises BadInput where it has no name, or not one value."""
    name = given.get("assessment_name")
    if not name or len(str(name)) > NAME_LENGTH:
        raise BadInput(f"an assessment is named by 1 to {NAME_LENGTH} characters, not {str(name)[:60]!r}")
    values = [each for each in VALUES if given.get(each) is not None]
    if len(values) != 1:
        raise BadInput(f"assessment {name!r} has {' and '.join(values) or 'no value'}; give one of {', '.join(VALUES)}")
    source = given.get("source") or {"source_type": "CODE", "source_id": "default"}
    if source.get("source_type") not in SOURCES:
        raise BadInput(f"source {source.get('source_type')!r} of assessment {name!r}; there are {', '.join(SOURCES)}")
    at = ms(utc_now())
    found = {
        "assessment_id": given.get("assessment_id") or f"a-{new_id()}",
        "assessment_name": name,
        "trace_id": trace_id,
        "source": dict(source),
        "created_ms": given.get("created_ms") or at,
        "updated_ms": given.get("updated_ms") or at,
        "valid": given.get("valid") is not False,
        values[0]: given[values[0]],
    }
    others = ("span_id", "rationale", "metadata", "overrides")
    return found | {each: given[each] for each in others if given.get(each)}


def creating(ws: Workspace, trace_id: str, given: Mapping[str, Any]) -> Operation[Assessment]:
    """Add an assessment to a trace; one that it overrides is no longer valid."""
    found = made(given, trace_id)

    def change(state: State) -> None:
        listed = state["assessments"]
        if any(each["assessment_id"] == found["assessment_id"] for each in listed):
            raise BadInput(f"assessment {found['assessment_id']} of trace {trace_id} is there already; update it")
        if len(listed) >= MOST:
            raise BadInput(f"trace {trace_id} has {MOST} assessments; delete some")
        if "overrides" in found:
            _of(state, found["overrides"])["valid"] = False
        listed.append(found)

    return _giving(traces.changing(ws, trace_id, change), found["assessment_id"])


def updating(
    ws: Workspace, trace_id: str, assessment_id: str, given: Mapping[str, Any], fields: Sequence[str]
) -> Operation[Assessment]:
    """Change fields of an assessment: its name, value, rationale, metadata (added to what is there), valid."""
    allowed = ("assessment_name", "feedback", "expectation", "rationale", "metadata", "valid")
    for each in fields:
        if each not in allowed:
            raise BadInput(f"{each!r} of an assessment cannot be changed; {', '.join(allowed)} can")

    def change(state: State) -> None:
        found = _of(state, assessment_id)
        for each in fields:
            if each in VALUES and each not in found:
                kind = next(name for name in VALUES if name in found)
                raise BadInput(f"Cannot update {each} value on an assessment that is an {kind}.")
            if each == "metadata":
                found["metadata"] = found.get("metadata", {}) | dict(given.get("metadata") or {})
            elif each in given:
                found[each] = given[each]
        found["updated_ms"] = max(ms(utc_now()), found["created_ms"])

    return _giving(traces.changing(ws, trace_id, change), assessment_id)


def deleting(ws: Workspace, trace_id: str, assessment_id: str) -> Operation[State]:
    """Take an assessment away, and make valid again what it overrode; one that is not there is gone already."""

    def change(state: State) -> None:
        gone = [each for each in state["assessments"] if each["assessment_id"] == assessment_id]
        state["assessments"] = [each for each in state["assessments"] if each not in gone]
        overridden = {each.get("overrides") for each in gone}
        for each in state["assessments"]:
            if each["assessment_id"] in overridden:
                each["valid"] = True

    return traces.changing(ws, trace_id, change)


def get(ws: Workspace, trace_id: str, assessment_id: str) -> Assessment:
    """One assessment. Raises NotFound."""
    return _of(traces.get(ws, trace_id), assessment_id)


def _of(state: State, assessment_id: str) -> Assessment:
    for each in state["assessments"]:
        if each["assessment_id"] == assessment_id:
            found: Assessment = each
            return found
    raise NotFound(f"Assessment with ID '{assessment_id}' not found for trace '{state['id']}'")


def _giving(change: Operation[State], assessment_id: str) -> Operation[Assessment]:
    def operation(now: Transaction) -> Assessment:
        return _of(change(now), assessment_id)

    return operation
