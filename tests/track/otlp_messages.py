"""OTLP's messages as Google's library makes them, after opentelemetry-proto: what our reader is held against."""

from __future__ import annotations

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # it has no types
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

TYPES = descriptor_pb2.FieldDescriptorProto
# message: (number, name, type or message, repeated)
MESSAGES: dict[str, list[tuple[int, str, str, bool]]] = {
    "Request": [(1, "resource_spans", "ResourceSpans", True)],
    "ResourceSpans": [
        (1, "resource", "Resource", False),
        (2, "scope_spans", "ScopeSpans", True),
        (3, "schema_url", "STRING", False),
    ],
    "Resource": [(1, "attributes", "KeyValue", True), (2, "dropped_attributes_count", "UINT32", False)],
    "ScopeSpans": [
        (1, "scope", "Scope", False),
        (2, "spans", "Span", True),
        (3, "schema_url", "STRING", False),
    ],
    "Scope": [(1, "name", "STRING", False), (2, "version", "STRING", False), (3, "attributes", "KeyValue", True)],
    "Span": [
        (1, "trace_id", "BYTES", False),
        (2, "span_id", "BYTES", False),
        (3, "trace_state", "STRING", False),
        (4, "parent_span_id", "BYTES", False),
        (5, "name", "STRING", False),
        (6, "kind", "INT32", False),
        (7, "start_time_unix_nano", "FIXED64", False),
        (8, "end_time_unix_nano", "FIXED64", False),
        (9, "attributes", "KeyValue", True),
        (10, "dropped_attributes_count", "UINT32", False),
        (11, "events", "Event", True),
        (12, "dropped_events_count", "UINT32", False),
        (13, "links", "Link", True),
        (14, "dropped_links_count", "UINT32", False),
        (15, "status", "Status", False),
        (16, "flags", "FIXED32", False),
    ],
    "Event": [
        (1, "time_unix_nano", "FIXED64", False),
        (2, "name", "STRING", False),
        (3, "attributes", "KeyValue", True),
    ],
    "Link": [
        (1, "trace_id", "BYTES", False),
        (2, "span_id", "BYTES", False),
        (3, "trace_state", "STRING", False),
        (4, "attributes", "KeyValue", True),
        (6, "flags", "FIXED32", False),
    ],
    "Status": [(2, "message", "STRING", False), (3, "code", "INT32", False)],
    "KeyValue": [(1, "key", "STRING", False), (2, "value", "AnyValue", False)],
    "AnyValue": [
        (1, "string_value", "STRING", False),
        (2, "bool_value", "BOOL", False),
        (3, "int_value", "INT64", False),
        (4, "double_value", "DOUBLE", False),
        (5, "array_value", "ArrayValue", False),
        (6, "kvlist_value", "KeyValueList", False),
        (7, "bytes_value", "BYTES", False),
    ],
    "ArrayValue": [(1, "values", "AnyValue", True)],
    "KeyValueList": [(1, "values", "KeyValue", True)],
}


def _made() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="otlp_of_tests.proto", package="otlp_of_tests", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if name == "AnyValue":
            message.oneof_decl.add(name="value")
        for number, field, kind, repeated in fields:
            made = message.field.add(name=field, number=number)
            made.label = TYPES.LABEL_REPEATED if repeated else TYPES.LABEL_OPTIONAL
            if kind in MESSAGES:
                made.type, made.type_name = TYPES.TYPE_MESSAGE, f".otlp_of_tests.{kind}"
            else:
                made.type = getattr(TYPES, f"TYPE_{kind}")
            if name == "AnyValue":
                made.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"otlp_of_tests.{name}")) for name in MESSAGES
    }


CLASSES = _made()


def put_value(into: Any, value: Any) -> None:
    """Put a JSON value, or bytes, into an AnyValue."""
    if value is None:
        return
    if isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, str):
        into.string_value = value
    elif isinstance(value, int):
        into.int_value = value
    elif isinstance(value, float):
        into.double_value = value
    elif isinstance(value, bytes):
        into.bytes_value = value
    elif isinstance(value, list):
        into.array_value.SetInParent()
        for each in value:
            put_value(into.array_value.values.add(), each)
    else:
        into.kvlist_value.SetInParent()
        put_pairs(into.kvlist_value.values, value)


def put_pairs(into: Any, pairs: dict[str, Any]) -> None:
    """Put attributes into a repeated KeyValue."""
    for key, value in pairs.items():
        made = into.add(key=key)
        put_value(made.value, value)


def a_request(*spans: dict[str, Any], resource: dict[str, Any] | None = None) -> bytes:
    """A request of these spans, as the reader gives them, but trace: the id in hexadecimal."""
    request = CLASSES["Request"]()
    group = request.resource_spans.add()
    put_pairs(group.resource.attributes, resource or {})
    scope = group.scope_spans.add()
    for each in spans:
        span = scope.spans.add(
            trace_id=bytes.fromhex(each.get("trace", "0a" * 16)),
            span_id=bytes.fromhex(each["id"]),
            name=each.get("name", "step"),
            start_time_unix_nano=each.get("start", 1_700_000_000_000_000_000),
            end_time_unix_nano=each.get("end", 1_700_000_001_000_000_000),
        )
        if each.get("parent"):
            span.parent_span_id = bytes.fromhex(each["parent"])
        span.status.code = ("UNSET", "OK", "ERROR").index(each.get("status", "OK"))
        span.status.message = each.get("message", "")
        put_pairs(span.attributes, each.get("attributes", {}))
        for event in each.get("events", ()):
            made = span.events.add(name=event["name"], time_unix_nano=event["at"])
            put_pairs(made.attributes, event.get("attributes", {}))
        for link in each.get("links", ()):
            made = span.links.add(trace_id=bytes.fromhex(link["trace"]), span_id=bytes.fromhex(link["id"]))
            put_pairs(made.attributes, link.get("attributes", {}))
    data: bytes = request.SerializeToString()
    return data
