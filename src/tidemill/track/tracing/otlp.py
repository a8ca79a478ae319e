"""Spans as OpenTelemetry sends them: requests of OTLP/HTTP, in protobuf or JSON, read into spans as they are kept.

Source: opentelemetry-proto 1.x, collector/trace/v1/trace_service.proto and trace/v1/trace.proto, whose field numbers
never change. A span is kept as JSON: id, parent, name, start and end (ns since 1970), status (UNSET, OK, ERROR), and
where they are not empty message, attributes, events, links, scope. What is not in JSON, bytes, is kept as base64;
doubles that are not finite as their names.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.core.errors import BadInput
from tidemill.track.tracing.protobuf import BYTES, DEEPEST, FIXED64, VARINT, Reader, double, signed

STATUSES = ("UNSET", "OK", "ERROR")
MOST_SPANS = 50_000  # in one request
Span = dict[str, Any]  # as JSON, see above


@dataclass(frozen=True, slots=True)
class Sent:
    """The spans of one trace in a request. resource: attributes of what ran them, such as service.name."""

    trace_id: str
    spans: list[Span]
    resource: dict[str, Any] = field(default_factory=dict)


def read(data: bytes) -> list[Sent]:
    """The spans of an ExportTraceServiceRequest in protobuf, by trace. Raises BadInput for what is none."""
    reader = Reader(data)
    into = _Gathering()
    for number, kind, start, end in reader.fields():
        if (number, kind) == (1, BYTES):
            _resource_spans(reader, start, end, into)
    return into.sent()


def read_json(data: bytes) -> list[Sent]:
    """The same in OTLP's JSON, where ids are in hexadecimal."""
    try:
        request = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"no JSON of an OTLP request: {error}") from error
    into = _Gathering()
    try:
        for group in _items(request, "resourceSpans"):
            resource = _pairs_of_json(_items(group.get("resource") or {}, "attributes"))
            for scope in _items(group, "scopeSpans"):
                named = scope.get("scope") or {}
                for each in _items(scope, "spans"):
                    into.add(*_span_of_json(each, named), resource)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise BadInput(f"no JSON of an OTLP request: {type(error).__name__} {error}") from error
    return into.sent()


class _Gathering:
    """Spans by trace, as they come."""

    def __init__(self) -> None:
        self._found: dict[str, Sent] = {}
        self._spans = 0

    def add(self, trace_id: str, span: Span, resource: Mapping[str, Any]) -> None:
        self._spans += 1
        if self._spans > MOST_SPANS:
            raise BadInput(f"a request of more than {MOST_SPANS} spans; send it in several")
        if trace_id not in self._found:
            self._found[trace_id] = Sent(trace_id, [], dict(resource))
        self._found[trace_id].spans.append(span)

    def sent(self) -> list[Sent]:
        return list(self._found.values())


def _resource_spans(reader: Reader, start: int, end: int, into: _Gathering) -> None:
    resource: dict[str, Any] = {}
    scopes = []
    for number, kind, at, stop in reader.fields(start, end):
        if (number, kind) == (1, BYTES):
            for inner, form, begin, over in reader.fields(at, stop):
                if (inner, form) == (1, BYTES):
                    _pair(reader, begin, over, resource)
        elif (number, kind) == (2, BYTES):
            scopes.append((at, stop))
    for at, stop in scopes:
        _scope_spans(reader, at, stop, resource, into)


def _scope_spans(reader: Reader, start: int, end: int, resource: Mapping[str, Any], into: _Gathering) -> None:
    scope: dict[str, str] = {}
    spans = []
    for number, kind, at, stop in reader.fields(start, end):
        if (number, kind) == (1, BYTES):
            for inner, form, begin, over in reader.fields(at, stop):
                if inner in (1, 2) and form == BYTES and over > begin:
                    scope["name" if inner == 1 else "version"] = reader.text(begin, over)
        elif (number, kind) == (2, BYTES):
            spans.append((at, stop))
    for at, stop in spans:
        into.add(*_span(reader, at, stop, scope), resource)


def _span(reader: Reader, start: int, end: int, scope: Mapping[str, str]) -> tuple[str, Span]:
    ids: dict[int, bytes] = {1: b"", 2: b"", 4: b""}
    span: Span = {"parent": None, "name": "", "start": 0, "end": 0, "status": "UNSET"}
    attributes: dict[str, Any] = {}
    events, links = [], []
    for number, kind, at, stop in reader.fields(start, end):
        if kind == BYTES:
            if number in ids:
                ids[number] = reader.data[at:stop]
            elif number == 5:
                span["name"] = reader.text(at, stop)
            elif number == 9:
                _pair(reader, at, stop, attributes)
            elif number == 11:
                events.append(_event(reader, at, stop))
            elif number == 13:
                links.append(_link(reader, at, stop))
            elif number == 15:
                _status(reader, at, stop, span)
        elif kind == FIXED64 and number in (7, 8):
            span["start" if number == 7 else "end"] = _time(at)
    return _finished(span, (ids[1], ids[2], ids[4]), attributes, events, links, scope)


def _finished(
    span: Span,
    ids: tuple[bytes, bytes, bytes],
    attributes: dict[str, Any],
    events: Sequence[Any],
    links: Sequence[Any],
    scope: Mapping[str, str],
) -> tuple[str, Span]:
    """The span with what is not empty, and its trace."""
    trace_id = f"tr-{_id(ids[0], 16, 'a trace id')}"
    span["id"] = _id(ids[1], 8, "a span id")
    span["parent"] = _id(ids[2], 8, "a parent's id") if ids[2].strip(b"\x00") else None
    for name, value in (("attributes", attributes), ("events", events), ("links", links), ("scope", dict(scope))):
        if value:
            span[name] = value
    return trace_id, span


def _id(given: bytes, size: int, what: str) -> str:
    if not given or len(given) > size:
        raise BadInput(f"{what} of {len(given)} bytes; OpenTelemetry's have {size}")
    return given.hex().rjust(size * 2, "0")


def _time(given: int) -> int:
    if given >= 1 << 63:
        raise BadInput(f"a time of {given} ns since 1970, which is no time")
    return given


def _status(reader: Reader, start: int, end: int, span: Span) -> None:
    for number, kind, at, stop in reader.fields(start, end):
        if (number, kind) == (2, BYTES) and stop > at:
            span["message"] = reader.text(at, stop)
        elif (number, kind) == (3, VARINT):
            span["status"] = STATUSES[at] if at < len(STATUSES) else "UNSET"


def _event(reader: Reader, start: int, end: int) -> dict[str, Any]:
    event: dict[str, Any] = {"name": "", "at": 0}
    attributes: dict[str, Any] = {}
    for number, kind, at, stop in reader.fields(start, end):
        if (number, kind) == (1, FIXED64):
            event["at"] = _time(at)
        elif (number, kind) == (2, BYTES):
            event["name"] = reader.text(at, stop)
        elif (number, kind) == (3, BYTES):
            _pair(reader, at, stop, attributes)
    return {**event, "attributes": attributes} if attributes else event


def _link(reader: Reader, start: int, end: int) -> dict[str, Any]:
    ids = {1: b"", 2: b""}
    attributes: dict[str, Any] = {}
    for number, kind, at, stop in reader.fields(start, end):
        if kind == BYTES and number in ids:
            ids[number] = reader.data[at:stop]
        elif (number, kind) == (4, BYTES):
            _pair(reader, at, stop, attributes)
    link = {"trace": f"tr-{_id(ids[1], 16, 'a trace id')}", "id": _id(ids[2], 8, "a span id")}
    return {**link, "attributes": attributes} if attributes else link


def _pair(reader: Reader, start: int, end: int, into: dict[str, Any], depth: int = 0) -> None:
    key, value = "", None
    for number, kind, at, stop in reader.fields(start, end):
        if (number, kind) == (1, BYTES):
            key = reader.text(at, stop)
        elif (number, kind) == (2, BYTES):
            value = _value(reader, at, stop, depth + 1)
    into[key] = value


def _value(reader: Reader, start: int, end: int, depth: int) -> Any:  # Any: a JSON value
    if depth > DEEPEST:
        raise BadInput(f"an attribute with more than {DEEPEST} values in one another")
    value: Any = None
    for number, kind, at, stop in reader.fields(start, end):
        if kind == BYTES and number == 1:
            value = reader.text(at, stop)
        elif kind == VARINT and number == 2:
            value = bool(at)
        elif kind == VARINT and number == 3:
            value = signed(at)
        elif kind == FIXED64 and number == 4:
            value = _finite(double(at))
        elif kind == BYTES and number == 5:
            inner = reader.fields(at, stop)
            value = [
                _value(reader, begin, over, depth + 1) for tag, form, begin, over in inner if (tag, form) == (1, 2)
            ]
        elif kind == BYTES and number == 6:
            value = {}
            for tag, form, begin, over in reader.fields(at, stop):
                if (tag, form) == (1, BYTES):
                    _pair(reader, begin, over, value, depth + 1)
        elif kind == BYTES and number == 7:
            value = base64.b64encode(reader.data[at:stop]).decode()
    return value


def _finite(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# ------------------------------------------------------------------------------------------------------------- JSON


def _items(given: Any, name: str) -> list[Any]:
    found = given.get(name) or []
    if not isinstance(found, list):
        raise ValueError(f"{name} is no list")
    return found


def _span_of_json(given: Any, scope: Mapping[str, Any]) -> tuple[str, Span]:
    span: Span = {
        "name": _plain(given.get("name") or ""),
        "start": _time(int(given.get("startTimeUnixNano") or 0)),
        "end": _time(int(given.get("endTimeUnixNano") or 0)),
        "status": "UNSET",
    }
    status = given.get("status") or {}
    code = status.get("code") or 0
    names: dict[Any, str] = {f"STATUS_CODE_{name}": name for name in STATUSES} | dict(enumerate(STATUSES))
    span["status"] = names.get(code, "UNSET")
    if status.get("message"):
        span["message"] = _plain(status["message"])
    ids = tuple(bytes.fromhex(given.get(name) or "") for name in ("traceId", "spanId", "parentSpanId"))
    events = [
        _with_pairs({"name": _plain(each.get("name") or ""), "at": _time(int(each.get("timeUnixNano") or 0))}, each)
        for each in _items(given, "events")
    ]
    links = [
        _with_pairs(
            {
                "trace": f"tr-{_id(bytes.fromhex(each.get('traceId') or ''), 16, 'a trace id')}",
                "id": _id(bytes.fromhex(each.get("spanId") or ""), 8, "a span id"),
            },
            each,
        )
        for each in _items(given, "links")
    ]
    shown = {name: _plain(scope[name]) for name in ("name", "version") if scope.get(name)}
    return _finished(span, (ids[0], ids[1], ids[2]), _pairs_of_json(_items(given, "attributes")), events, links, shown)


def _with_pairs(made: dict[str, Any], given: Any) -> dict[str, Any]:
    attributes = _pairs_of_json(_items(given, "attributes"))
    return {**made, "attributes": attributes} if attributes else made


def _pairs_of_json(given: Sequence[Any], depth: int = 0) -> dict[str, Any]:
    return {_plain(each["key"]): _value_of_json(each.get("value") or {}, depth + 1) for each in given}


def _value_of_json(given: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise BadInput(f"an attribute with more than {DEEPEST} values in one another")
    for name, read in _VALUES.items():
        if name in given:
            return read(given[name], depth)
    return None


def _whole(value: int) -> int:
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value} does not fit 64 bits")
    return value


def _plain(given: Any) -> str:
    return plain(str(given))


def plain(text: str) -> str:
    """A text that databases take: without NUL, and without halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


_VALUES: dict[str, Callable[[Any, int], Any]] = {
    "stringValue": lambda given, _: _plain(given),
    "boolValue": lambda given, _: bool(given),
    "intValue": lambda given, _: _whole(int(given)),
    "doubleValue": lambda given, _: _finite(float(given)),
    "bytesValue": lambda given, _: _plain(given),
    "arrayValue": lambda given, depth: [_value_of_json(each, depth + 1) for each in _items(given, "values")],
    "kvlistValue": lambda given, depth: _pairs_of_json(_items(given, "values"), depth + 1),
}
