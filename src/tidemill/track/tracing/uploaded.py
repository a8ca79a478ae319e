"""Spans that a client uploads as a file, traces.json, where it does not send them as OTLP: MLflow's before 3.4.

They are read into the trace, so that they are shown and searched as any others; the file stays as it came.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from tidemill.core.errors import BadInput
from tidemill.track.tracing.otlp import MOST_SPANS, STATUSES, Sent, Span, plain

NAME = "traces.json"
MOST_BYTES = 64 << 20
DEEPEST = 100


def read(data: bytes, trace_id: str) -> Sent:
    """The spans of a file, as those of that trace. Raises BadInput for what is none."""
    try:
        given = json.loads(data)["spans"]
        if len(given) > MOST_SPANS:
            raise ValueError(f"{len(given)} spans; at most {MOST_SPANS}")
        return Sent(trace_id, [_span(each) for each in given])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadInput(f"no file of spans: {type(error).__name__} {error}") from error


def _span(given: Mapping[str, Any]) -> Span:
    old = "context" in given  # of clients before 3.0
    status = given["status_code"] if old else given["status"].get("code", "")
    message = given.get("status_message") if old else given["status"].get("message")
    parent = given.get("parent_id") if old else given.get("parent_span_id")
    span: Span = {
        "id": _id(given["context"]["span_id"] if old else given["span_id"]),
        "parent": _id(parent) if parent else None,
        "name": plain(str(given["name"])),
        "start": _time(given["start_time"] if old else given["start_time_unix_nano"]),
        "end": _time((given.get("end_time") if old else given.get("end_time_unix_nano")) or 0),
        "status": next((each for each in STATUSES if str(status).endswith(each)), "UNSET"),
    }
    attributes = {plain(key): _value(value) for key, value in given.get("attributes", {}).items()}
    events = [
        {
            "name": plain(str(each["name"])),
            "at": _time(each.get("timestamp", each.get("time_unix_nano", 0))),
            "attributes": _clean(each.get("attributes") or {}),
        }
        for each in given.get("events", ())
    ]
    more = {"message": plain(str(message or "")), "attributes": attributes, "events": events}
    return {**span, **{name: value for name, value in more.items() if value}}


def _id(given: str) -> str:
    """Sixteen hexadecimal digits, of those or of base64."""
    if len(given.removeprefix("0x")) == 16:
        return f"{int(given, 16):016x}"
    found = base64.b64decode(given, validate=True)
    if len(found) != 8:
        raise ValueError(f"{given[:40]!r} is no id of a span")
    return found.hex()


def _time(given: Any) -> int:
    at = int(given)
    if not 0 <= at < 1 << 63:
        raise ValueError(f"{at} is no time in ns since 1970")
    return at


def _value(text: Any) -> Any:
    """The value of an attribute, which is kept as JSON in JSON."""
    try:
        return _clean(json.loads(text) if isinstance(text, str) else text)
    except ValueError:
        return plain(str(text))


def _clean(value: Any, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} values in one another")
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(key): _clean(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each, depth + 1) for each in value]
    is_odd = isinstance(value, float) and not math.isfinite(value)
    is_long = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
    return str(value) if is_odd or is_long else value
