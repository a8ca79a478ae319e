"""Traces, spans and assessments as the JSON of MLflow's protocol, whose messages are protobuf's.

Times are texts (RFC 3339), durations "1.5s", ids of spans base64, and values of attributes are wrapped by their type,
as protobuf's JSON has them.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from tidemill.api.mlflow.errors import invalid
from tidemill.core.errors import BadInput
from tidemill.track.tracing import assessments
from tidemill.track.tracing.otlp import STATUSES, plain
from tidemill.track.tracing.traces import STATES, TAG_KEY, TAG_VALUE, Given

METADATA = 250  # characters of a value: what is longer is cut, as MLflow's client does
PREVIEW = 10_000
LATEST_MS = 253_402_300_799_999  # the end of the year 9999
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s")


class Experiment(msgspec.Struct):
    """MlflowExperimentLocation."""

    experiment_id: str | None = None


class Location(msgspec.Struct):
    """TraceLocation."""

    type: str | int | None = None
    mlflow_experiment: Experiment | None = None


class Source(msgspec.Struct, omit_defaults=True):
    """AssessmentSource."""

    source_type: str = "CODE"
    source_id: str = ""


class Assessment(msgspec.Struct):
    """Assessment, of which those fields are kept that are there."""

    assessment_id: str | None = None
    assessment_name: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    source: Source | None = None
    create_time: str | None = None
    last_update_time: str | None = None
    feedback: dict[str, Any] | None = None
    expectation: dict[str, Any] | None = None
    issue: dict[str, Any] | None = None
    rationale: str | None = None
    metadata: dict[str, str] | None = None
    overrides: str | None = None
    valid: bool | None = None


class Info(msgspec.Struct):
    """TraceInfoV3."""

    trace_id: str | None = None
    client_request_id: str | None = None
    trace_location: Location | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    request_time: str | None = None
    execution_duration: str | None = None
    state: str | int | None = None
    trace_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[Assessment] = []


def given_of(asked: Info, experiment: int) -> Given:
    """What a client says of a trace."""
    trace_id = asked.trace_id or ""
    if not asked.request_time:
        raise invalid("Missing value for required parameter 'trace.trace_info.request_time'.")
    state = STATES[asked.state] if isinstance(asked.state, int) and 0 <= asked.state < len(STATES) else asked.state
    if state not in (None, *STATES):
        raise invalid(f"Invalid value {asked.state!r} for 'state'; there are {', '.join(STATES)}")
    return Given(
        trace_id,
        experiment,
        ms_of(asked.request_time),
        None if asked.execution_duration is None else duration_ms(asked.execution_duration),
        str(state or STATES[0]),
        None if asked.client_request_id is None else plain(asked.client_request_id),
        None if asked.request_preview is None else plain(asked.request_preview)[:PREVIEW],
        None if asked.response_preview is None else plain(asked.response_preview)[:PREVIEW],
        dict(tag(key, value) for key, value in asked.tags.items()),
        {plain(key)[:TAG_KEY]: plain(value)[:METADATA] for key, value in asked.trace_metadata.items()},
        [assessments.made(assessment_of(each), trace_id) for each in asked.assessments],
    )


def tag(key: str, value: str) -> tuple[str, str]:
    """A tag of a trace; a long value is cut."""
    if not key or len(key) > TAG_KEY:
        raise invalid(f"'key' exceeds the maximum length of {TAG_KEY} characters" if key else "Tag name is empty")
    return plain(key), plain(value)[:TAG_VALUE]


def assessment_of(asked: Assessment) -> dict[str, Any]:
    """An assessment as `assessments.made` takes it."""
    found = {name: _clean(getattr(asked, name)) for name in Assessment.__struct_fields__}
    found["source"] = None if asked.source is None else _clean(msgspec.to_builtins(asked.source))
    for ours, theirs in (("created_ms", "create_time"), ("updated_ms", "last_update_time")):
        at = found.pop(theirs)
        found[ours] = ms_of(at) if at and not at.startswith("1970-01-01T00:00:00Z") else None
    return {name: value for name, value in found.items() if value is not None}


def shown_assessment(kept: Mapping[str, Any]) -> dict[str, Any]:
    """An assessment for JSON."""
    made = {name: value for name, value in kept.items() if name not in ("created_ms", "updated_ms")}
    return {**made, "create_time": time_of(kept["created_ms"]), "last_update_time": time_of(kept["updated_ms"])}


def info(state: Mapping[str, Any]) -> dict[str, Any]:
    """A trace without its spans, for JSON."""
    place = {"experiment_id": str(state["experiment"])}
    made: dict[str, Any] = {
        "trace_id": state["id"],
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": place},
        "request_time": time_of(state["at_ms"]),
        "state": state["state"],
        "trace_metadata": state["metadata"],
        "tags": state["tags"],
        "assessments": [shown_assessment(each) for each in state["assessments"]],
    }
    for name in ("client_request_id", "request_preview", "response_preview"):
        if state[name] is not None:
            made[name] = state[name]
    if state["duration_ms"] is not None:
        made["execution_duration"] = shown_duration(state["duration_ms"])
    return made


def span(trace_id: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """A span for JSON."""
    made: dict[str, Any] = {
        "trace_id": _id(trace_id.removeprefix("tr-")),
        "span_id": _id(kept["id"]),
        "name": kept["name"],
        "start_time_unix_nano": str(kept["start"]),
        "status": {"code": f"STATUS_CODE_{kept['status']}", **_some("message", kept.get("message"))},
    }
    if kept["parent"]:
        made["parent_span_id"] = _id(kept["parent"])
    if kept["end"]:
        made["end_time_unix_nano"] = str(kept["end"])
    made |= _some("attributes", pairs(kept.get("attributes", {})))
    events = [
        {
            "time_unix_nano": str(each["at"]),
            "name": each["name"],
            **_some("attributes", pairs(each.get("attributes", {}))),
        }
        for each in kept.get("events", ())
    ]
    links = [
        {
            "trace_id": _id(each["trace"].removeprefix("tr-")),
            "span_id": _id(each["id"]),
            **_some("attributes", pairs(each.get("attributes", {}))),
        }
        for each in kept.get("links", ())
    ]
    return {**made, **_some("events", events), **_some("links", links)}


def trace(state: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A whole trace for JSON."""
    return {"trace_info": info(state), "spans": [span(state["id"], each) for each in spans]}


def pairs(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes, their values wrapped by type."""
    return [{"key": key, "value": value_of(value)} for key, value in given.items()]


def value_of(value: Any) -> dict[str, Any]:  # Any: a JSON value
    """A value as AnyValue."""
    match value:
        case None:
            return {}
        case bool():
            return {"bool_value": value}
        case str():
            return {"string_value": value}
        case int():
            return {"int_value": str(value)}
        case float():
            return {"double_value": value if math.isfinite(value) else str(value)}
        case list():
            return {"array_value": {"values": [value_of(each) for each in value]}}
    return {"kvlist_value": {"values": pairs(value)}}


def ms_of(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time."""
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        zone = "+00:00" if found[3] == "Z" else found[3]
        at = datetime.fromisoformat(f"{found[1]}{zone}")
        return int(at.timestamp()) * 1000 + int((found[2] or "0").ljust(9, "0")[:3])
    except (ValueError, OverflowError):
        raise invalid(f"Invalid time {text[:60]!r}; give one as 2026-05-01T12:00:00.5Z") from None


def time_of(at_ms: int) -> str:
    """The RFC 3339 time of milliseconds since 1970."""
    at = datetime.fromtimestamp(max(0, min(at_ms, LATEST_MS)) // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def duration_ms(text: str) -> int:
    """Milliseconds of a duration as protobuf writes it."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise invalid(f"Invalid duration {text[:60]!r}; give one as 1.5s")
    made = int(found[2]) * 1000 + int((found[3] or "0").ljust(9, "0")[:3])
    return -made if found[1] else made


def shown_duration(given_ms: int) -> str:
    """A duration as protobuf writes it."""
    return f"{'-' if given_ms < 0 else ''}{abs(given_ms) // 1000}.{abs(given_ms) % 1000:03d}s"


def _id(digits: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(digits)).decode()
    except ValueError:  # a trace that a client named in another way has no spans of its own
        return base64.b64encode(digits.encode()[:16]).decode()


def _some(name: str, value: Any) -> dict[str, Any]:
    return {name: value} if value else {}


def _clean(value: Any, depth: int = 0) -> Any:
    """A JSON value whose texts a database takes."""
    if depth > 100:
        raise BadInput("an assessment of more than 100 values in one another; keep such a value as a file")
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(str(key)): _clean(each, depth + 1) for key, each in value.items()}
    return [_clean(each, depth + 1) for each in value] if isinstance(value, list) else value


__all__ = ["STATUSES", "Assessment", "Info", "Location", "given_of", "info", "trace"]
