"""What OpenTelemetry sends is read as Google's library reads it, and what is none is refused, whatever it is."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otlp_messages import CLASSES, a_request

from tidemill.core.errors import BadInput
from tidemill.track.tracing import otlp
from tidemill.track.tracing.protobuf import MOST_MESSAGES

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | TEXTS
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PAIRS = st.dictionaries(TEXTS, VALUES, max_size=4)
TIMES = st.integers(0, 2**63 - 1)
IDS = st.binary(min_size=8, max_size=8).map(bytes.hex)
TRACES = st.binary(min_size=16, max_size=16).map(bytes.hex)
SPANS = st.fixed_dictionaries(
    {
        "trace": TRACES,
        "id": IDS,
        "parent": st.none() | IDS.filter(lambda each: int(each, 16) > 0),
        "name": TEXTS,
        "start": TIMES,
        "end": TIMES,
        "status": st.sampled_from(["UNSET", "OK", "ERROR"]),
        "message": TEXTS,
        "attributes": PAIRS,
        "events": st.lists(st.fixed_dictionaries({"name": TEXTS, "at": TIMES, "attributes": PAIRS}), max_size=2),
        "links": st.lists(st.fixed_dictionaries({"trace": TRACES, "id": IDS, "attributes": PAIRS}), max_size=2),
    }
)


def flat(sent: list[otlp.Sent]) -> list[dict[str, Any]]:
    """Spans as a_request takes them."""
    return [
        {
            "trace": each.trace_id.removeprefix("tr-"),
            "message": "",
            "attributes": {},
            **span,
            "events": [{"attributes": {}, **event} for event in span.get("events", ())],
            "links": [
                {"attributes": {}, **link, "trace": link["trace"].removeprefix("tr-")} for link in span.get("links", ())
            ],
        }
        for each in sent
        for span in each.spans
    ]


@given(st.lists(SPANS, max_size=4), PAIRS)
def test_spans_are_read_as_they_were_sent(spans: list[dict[str, Any]], resource: dict[str, Any]) -> None:
    found = otlp.read(a_request(*spans, resource=resource))
    by_trace: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        by_trace.setdefault(span["trace"], []).append(span)
    assert flat(found) == [span for some in by_trace.values() for span in some]
    assert all(each.resource == resource for each in found)


def test_what_json_has_no_word_for_is_kept_as_text() -> None:
    given_ = {"nan": float("nan"), "up": float("inf"), "down": float("-inf"), "raw": b"\x00\xff", "nul": "a\x00b"}
    (sent,) = otlp.read(a_request({"id": "01" * 8, "attributes": given_}))
    assert sent.spans[0]["attributes"] == {
        "nan": "NaN", "up": "Infinity", "down": "-Infinity", "raw": "AP8=", "nul": "a\ufffdb",
    }  # fmt: skip


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        otlp.read(data)


@given(st.lists(SPANS, min_size=1, max_size=2), st.data())
def test_a_request_cut_or_changed_anywhere_is_read_or_refused(spans: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = a_request(*spans)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    for each in (cut, changed):
        with contextlib.suppress(BadInput):
            otlp.read(each)


@given(st.lists(SPANS, min_size=1, max_size=1))
def test_what_google_refuses_is_refused_or_read_alike(spans: list[dict[str, Any]]) -> None:
    whole = a_request(*spans)
    for end in range(1, len(whole)):
        try:
            theirs = CLASSES["Request"].FromString(whole[:end])
        except Exception:  # DecodeError, of whichever of its implementations
            with pytest.raises(BadInput):
                otlp.read(whole[:end])
        else:
            assert len(flat(otlp.read(whole[:end]))) == sum(
                len(scope.spans) for group in theirs.resource_spans for scope in group.scope_spans
            )


def test_a_value_too_deep_is_refused() -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    otlp.read(a_request({"id": "01" * 8, "attributes": {"deep": nested(30)}}))
    inner = b"\x0a\x01a"  # string_value "a"
    for _ in range(5000):
        array = b"\x0a" + _varint(len(inner)) + inner
        inner = b"\x2a" + _varint(len(array)) + array
    pair = b"\x0a\x01k\x12" + _varint(len(inner)) + inner
    span = b"\x0a\x10" + b"\x01" * 16 + b"\x12\x08" + b"\x01" * 8 + b"\x4a" + _varint(len(pair)) + pair
    with pytest.raises(BadInput, match="an attribute with more than 100 values in one another"):
        otlp.read(_wrapped(span))


def test_a_request_of_very_many_empty_messages_is_refused() -> None:
    pairs = b"\x4a\x00" * (MOST_MESSAGES + 1)
    span = b"\x0a\x10" + b"\x01" * 16 + b"\x12\x08" + b"\x01" * 8 + pairs
    with pytest.raises(BadInput, match=f"more than {MOST_MESSAGES} messages"):
        otlp.read(_wrapped(span))


@pytest.mark.parametrize(
    ("trace", "span", "text"),
    [("", "01" * 8, "a trace id of 0 bytes"), ("01" * 17, "01" * 8, "of 17 bytes"), ("01" * 16, "01" * 9, "a span id")],
)
def test_ids_that_are_none_are_refused(trace: str, span: str, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        otlp.read(a_request({"trace": trace, "id": span}))


def test_json_of_otlp_gives_what_protobuf_gives() -> None:
    request = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
                "scopeSpans": [
                    {
                        "scope": {"name": "lib", "version": "1"},
                        "spans": [
                            {
                                "traceId": "0A" * 16,
                                "spanId": "0b" * 8,
                                "name": "pay",
                                "startTimeUnixNano": "1700000000000000000",
                                "endTimeUnixNano": 1700000001000000000,
                                "status": {"code": 2, "message": "no"},
                                "attributes": [
                                    {"key": "n", "value": {"intValue": "7"}},
                                    {"key": "x", "value": {"doubleValue": 0.5}},
                                    {"key": "l", "value": {"arrayValue": {"values": [{"boolValue": True}, {}]}}},
                                    {"key": "d", "value": {"kvlistValue": {"values": [
                                        {"key": "a", "value": {"stringValue": "b"}}]}}},
                                ],
                                "events": [{"name": "e", "timeUnixNano": "5"}],
                            }
                        ],
                    }
                ],
            }
        ]
    }  # fmt: skip
    (found,) = otlp.read_json(json.dumps(request).encode())
    attributes = {"n": 7, "x": 0.5, "l": [True, None], "d": {"a": "b"}}
    span = {"id": "0b" * 8, "name": "pay", "status": "ERROR", "message": "no", "attributes": attributes}
    (other,) = otlp.read(a_request({**span, "events": [{"name": "e", "at": 5}]}, resource={"service.name": "shop"}))
    assert found.resource == other.resource
    assert found.spans[0].pop("scope") == {"name": "lib", "version": "1"}
    assert found == other


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b"5", b'{"resourceSpans": 5}', b'{"resourceSpans": [5]}', b"[" * 100_000, b"\xff",
     b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz", "spanId": "01"}]}]}]}',
     b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "01", "spanId": "01", "endTimeUnixNano": 1e99}]}]}]}',
     b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "01", "spanId": "01", "status": {"code": [1]}}]}]}]}'],
)  # fmt: skip
def test_json_that_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"no JSON of an OTLP request|a time of"):
        otlp.read_json(data)


def _varint(value: int) -> bytes:
    made = b""
    while value > 0x7F:
        made += bytes([value & 0x7F | 0x80])
        value >>= 7
    return made + bytes([value])


def _wrapped(span: bytes) -> bytes:
    for tag in (b"\x12", b"\x12", b"\x0a"):
        span = tag + _varint(len(span)) + span
    return span
