"""Traces over HTTP: OTLP as exporters send it, MLflow's protocol for states, judgements and searches, files, kills."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow_server import Server

from tidemill.core.workspace import open_workspace

PROTOBUF = {"content-type": "application/x-protobuf"}
V3 = "/api/3.0/mlflow/traces"


class Tracing(Server):
    """A server in a process of its own, asked by any path."""

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = self.client.request(method, path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, method: str, path: str, **more: Any) -> tuple[int, str, str]:
        answer = self.client.request(method, path, **more)
        return answer.status_code, answer.json()["error_code"], answer.json()["message"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracing]:
    made = Tracing(tmp_path_factory.mktemp("traces") / "w.mill")
    yield made
    made.kill()


# ------------------------------------------------------------------------- protobuf by hand, as the specification says


def field(number: int, value: bytes | int, *, fixed: bool = False) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3 | 1) + value.to_bytes(8, "little") if fixed else varint(number << 3) + varint(value)


def varint(value: int) -> bytes:
    made = b""
    while value > 0x7F:
        made += bytes([value & 0x7F | 0x80])
        value >>= 7
    return made + bytes([value])


def a_span(trace: int, span: int = 1, parent: int = 0, *, name: str = "step", **said: str) -> bytes:
    made = field(1, trace.to_bytes(16, "big")) + field(2, span.to_bytes(8, "big"))
    made += field(4, parent.to_bytes(8, "big")) if parent else b""
    made += field(5, name.encode()) + field(7, 10**18 + span, fixed=True) + field(8, 10**18 + 10**9, fixed=True)
    for key, value in said.items():
        made += field(9, field(1, key.encode()) + field(2, field(1, value.encode())))
    return made + field(15, field(3, 1))


def a_request(*spans: bytes) -> bytes:
    return field(1, field(2, b"".join(field(2, each) for each in spans)))


def name_of(trace: int) -> str:
    return f"tr-{trace:032x}"


def send(server: Tracing, *spans: bytes, **headers: str) -> None:
    answer = server.client.post("/v1/traces", content=a_request(*spans), headers={**PROTOBUF, **headers})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-protobuf"


def an_experiment(server: Tracing, name: str) -> str:
    made: str = server.call("POST", "/api/2.0/mlflow/experiments/create", json={"name": name})["experiment_id"]
    return made


def an_info(trace: int, place: str, **more: Any) -> dict[str, Any]:
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": place}}
    info = {"trace_id": name_of(trace), "trace_location": location, "request_time": "2026-05-01T12:00:00.250Z",
            "execution_duration": "1.500s", "state": "OK", **more}  # fmt: skip
    return {"trace": {"trace_info": info}}


def test_spans_of_a_plain_exporter_make_a_trace(server: Tracing) -> None:
    send(server, a_span(1, 2, 1, name="inner", color="red"), a_span(1, name="outer"))
    found = server.call("GET", f"{V3}/get", params={"trace_id": name_of(1)})["trace"]
    info = found["trace_info"]
    assert (info["state"], info["request_time"], info["execution_duration"]) == (
        "OK",
        "2001-09-09T01:46:40.000Z",
        "1.000s",
    )
    assert info["trace_location"]["mlflow_experiment"] == {"experiment_id": "0"}
    outer, inner = found["spans"]
    assert (outer["name"], inner["name"]) == ("outer", "inner")
    assert base64.b64decode(inner["trace_id"]) == (1).to_bytes(16, "big")
    assert base64.b64decode(inner["parent_span_id"]) == (1).to_bytes(8, "big")
    assert inner["attributes"] == [{"key": "color", "value": {"string_value": "red"}}]
    assert inner["start_time_unix_nano"] == str(10**18 + 2)
    assert inner["status"] == {"code": "STATUS_CODE_OK"}


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_packed_requests_are_taken(server: Tracing, packing: str) -> None:
    data = a_request(a_span(2 if packing == "gzip" else 3))
    packed = gzip.compress(data) if packing == "gzip" else zlib.compress(data)
    answer = server.client.post("/v1/traces", content=packed, headers={**PROTOBUF, "content-encoding": packing})
    assert answer.status_code == 200
    assert server.call("GET", f"{V3}/{name_of(2 if packing == 'gzip' else 3)}")["trace"]["trace_info"]["state"] == "OK"


def test_json_of_otlp_is_taken(server: Tracing) -> None:
    span = {"traceId": f"{4:032x}", "spanId": f"{1:016x}", "name": "json", "startTimeUnixNano": "5"}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    assert server.call("POST", "/v1/traces", json=body) == {}
    assert server.call("GET", f"{V3}/{name_of(4)}")["trace"]["trace_info"]["tags"]["mlflow.traceName"] == "json"


BOMB = gzip.compress(b"\x00" * (70 << 20))
WRONG: dict[str, tuple[bytes, dict[str, str], str]] = {
    "empty": (b"", {}, "no spans found"),
    "no protobuf": (b"\xff\xff\xff", {}, "no protobuf message"),
    "cut": (a_request(a_span(5))[:-3], {}, "no protobuf message"),
    "no ids": (a_request(b""), {}, "a trace id of 0 bytes"),
    "no gzip": (b"x", {"content-encoding": "gzip"}, "Failed to decompress gzip payload"),
    "half of a gzip": (gzip.compress(b"x" * 100)[:-5], {"content-encoding": "gzip"}, "it ends too early"),
    "a bomb": (BOMB, {"content-encoding": "gzip"}, "unpacks to more than 67,108,864 bytes"),
    "an unknown packing": (b"x", {"content-encoding": "br"}, "Unsupported Content-Encoding: br"),
    "an unknown type": (b"x", {"content-type": "text/plain"}, "Invalid Content-Type: text/plain"),
    "no JSON": (b"{", {"content-type": "application/json"}, "no JSON of an OTLP request"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_request_is_refused(server: Tracing, case: str) -> None:
    body, headers, said = WRONG[case]
    status, code, text = server.refused("POST", "/v1/traces", content=body, headers={**PROTOBUF, **headers})
    assert (status, code) == (400, "BAD_REQUEST")
    assert said in text


def test_an_unknown_experiment_is_told_as_mlflow_does(server: Tracing) -> None:
    headers = {**PROTOBUF, "x-mlflow-experiment-id": "77"}
    told = server.refused("POST", "/v1/traces", content=a_request(a_span(5)), headers=headers)
    assert told == (404, "RESOURCE_DOES_NOT_EXIST", "No Experiment with id=77 exists")
    assert server.refused("POST", V3, json=an_info(5, "77")) == told


def test_nobody_without_the_token_sends_or_reads(server: Tracing) -> None:
    stranger = httpx.Client(base_url=server.client.base_url, trust_env=False)
    for method, path in (("POST", "/v1/traces"), ("POST", V3), ("GET", f"{V3}/get"), ("POST", f"{V3}/search"),
                         ("PATCH", f"{V3}/x/tags"), ("DELETE", f"{V3}/x/assessments/y")):  # fmt: skip
        answer = stranger.request(method, path, content=b"{}" if method != "GET" else None)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED"), path
    stranger.close()


def test_a_state_after_its_spans(server: Tracing) -> None:
    place = an_experiment(server, "states")
    send(server, a_span(10), **{"x-mlflow-experiment-id": place})
    more = {"tags": {"a": "b"}, "trace_metadata": {"long": "x" * 300}, "request_preview": "q", "client_request_id": "c"}
    info = server.call("POST", V3, json=an_info(10, place, **more))["trace"]["trace_info"]
    assert info["tags"]["mlflow.trace.spansLocation"] == "TRACKING_STORE"
    assert info["trace_metadata"] == {"long": "x" * 250}
    assert (info["request_time"], info["execution_duration"]) == ("2026-05-01T12:00:00.250Z", "1.500s")
    assert info["tags"]["mlflow.artifactLocation"] == f"mlflow-artifacts:/{place}/traces/{name_of(10)}/artifacts"
    assert server.call("GET", f"{V3}/{name_of(10)}", params={"trace_id": name_of(10)})["trace"]["trace_info"] == info


def test_a_trace_is_not_given_out_before_its_spans_came(server: Tracing) -> None:
    place = an_experiment(server, "partly")
    sizes = {"trace_metadata": {"mlflow.trace.sizeStats": '{"num_spans": 2}'}}
    server.call("POST", V3, json=an_info(11, place, **sizes))
    send(server, a_span(11), **{"x-mlflow-experiment-id": place})
    status, code, text = server.refused("GET", f"{V3}/get", params={"trace_id": name_of(11)})
    assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert "is not fully exported yet" in text
    partly = server.call("GET", f"{V3}/get", params={"trace_id": name_of(11), "allow_partial": "True"})
    assert len(partly["trace"]["spans"]) == 1
    many = {"trace_ids": [name_of(11), "tr-none"]}
    assert server.call("GET", f"{V3}/batchGet", params=many) == {"traces": []}
    assert len(server.call("POST", f"{V3}/batchGetInfos", json=many)["trace_infos"]) == 1
    send(server, a_span(11, 2, 1), **{"x-mlflow-experiment-id": place})
    assert len(server.call("GET", f"{V3}/batchGet", params=many)["traces"][0]["spans"]) == 2


def test_a_search_of_an_experiment_page_by_page(server: Tracing) -> None:
    place = an_experiment(server, "searched")
    for trace in range(20, 25):
        send(server, a_span(trace, name=f"s{trace % 2}"), **{"x-mlflow-experiment-id": place})
    asked: dict[str, Any] = {
        "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": place}}],
        "filter": "name = 's0'", "max_results": 2, "order_by": ["request_id DESC"],
    }  # fmt: skip
    first = server.call("POST", f"{V3}/search", json=asked)
    second = server.call("POST", f"{V3}/search", json={**asked, "page_token": first["next_page_token"]})
    assert [each["trace_id"] for each in (*first["traces"], *second["traces"])] == [name_of(n) for n in (24, 22, 20)]
    assert "next_page_token" not in second
    for wrong in ({"filter": "nope = 'x'"}, {"max_results": 501}, {"order_by": ["nope"]}, {"page_token": "x"}):
        assert server.refused("POST", f"{V3}/search", json={**asked, **wrong})[:2] == (400, "INVALID_PARAMETER_VALUE")


def test_tags_links_and_deletion(server: Tracing) -> None:
    place = an_experiment(server, "tags")
    send(server, a_span(30), **{"x-mlflow-experiment-id": place})
    path = f"/api/2.0/mlflow/traces/{name_of(30)}/tags"
    assert server.call("PATCH", path, json={"key": "a", "value": "b"}) == {}
    assert server.call("GET", f"{V3}/{name_of(30)}")["trace"]["trace_info"]["tags"]["a"] == "b"
    assert server.call("DELETE", path, json={"key": "a"}) == {}
    assert server.refused("DELETE", path, json={"key": "a"})[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert server.refused("PATCH", path, json={"value": "b"})[:2] == (400, "INVALID_PARAMETER_VALUE")
    locked = {"key": "mlflow.trace.spansLocation", "value": "x"}
    assert "is immutable" in server.refused("PATCH", path, json=locked)[2]
    run = server.call("POST", "/api/2.0/mlflow/runs/create", json={"experiment_id": place})["run"]["info"]["run_id"]
    link = {"trace_ids": [name_of(30)], "run_id": run}
    assert server.call("POST", "/api/2.0/mlflow/traces/link-to-run", json=link) == {}
    assert server.refused("POST", "/api/2.0/mlflow/traces/link-to-run", json={**link, "run_id": "f" * 32})[0] == 404
    too_many = {**link, "trace_ids": ["tr-x"] * 101}
    assert "Cannot link more than 100" in server.refused("POST", "/api/2.0/mlflow/traces/link-to-run", json=too_many)[2]
    gone = {"experiment_id": place, "request_ids": [name_of(30)]}
    assert server.refused("POST", f"{V3}/delete-traces", json={"experiment_id": place})[0] == 400
    assert server.call("POST", f"{V3}/delete-traces", json=gone) == {"traces_deleted": 1}
    assert server.refused("GET", f"{V3}/{name_of(30)}")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


def test_judgements_over_the_protocol(server: Tracing) -> None:
    send(server, a_span(40))
    path = f"{V3}/{name_of(40)}/assessments"
    given = {
        "assessment_name": "right", "trace_id": name_of(40), "feedback": {"value": {"deep": [1, None, "x"]}},
        "source": {"source_type": "HUMAN", "source_id": "bob"}, "create_time": "2026-05-01T12:00:00Z",
        "last_update_time": "2026-05-01T12:00:00Z", "metadata": {"a": "b"}, "rationale": "so",
    }  # fmt: skip
    made = server.call("POST", path, json={"assessment": given})["assessment"]
    times = dict.fromkeys(("create_time", "last_update_time"), "2026-05-01T12:00:00.000Z")
    shown = {**given, "assessment_id": made["assessment_id"], "valid": True, **times}
    assert made == shown
    one = f"{path}/{made['assessment_id']}"
    assert server.call("GET", one)["assessment"] == shown
    change = {"assessment": {"feedback": {"value": False}, "metadata": {"c": "d"}}, "update_mask": "feedback,metadata"}
    changed = server.call("PATCH", one, json=change)["assessment"]
    assert (changed["feedback"], changed["metadata"]) == ({"value": False}, {"a": "b", "c": "d"})
    assert server.refused("PATCH", one, json={**change, "update_mask": "source"})[:2] == (
        400,
        "INVALID_PARAMETER_VALUE",
    )
    assert server.call("DELETE", one) == {}
    assert server.refused("GET", one)[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert server.refused("POST", f"{V3}/tr-none/assessments", json={"assessment": given})[0] == 404
    assert server.refused("POST", path, json={"assessment": {"assessment_name": "a"}})[0] == 400
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    assert server.refused("POST", path, json={"assessment": {**given, "feedback": {"value": deep}}})[0] == 400


def test_spans_as_a_file_where_a_client_uploads_them_so(server: Tracing) -> None:
    place = an_experiment(server, "as files")
    info = server.call("POST", V3, json=an_info(50, place))["trace"]["trace_info"]
    assert "mlflow.trace.spansLocation" not in info["tags"]
    base = f"/api/2.0/mlflow-artifacts/artifacts/{place}/traces/{name_of(50)}/artifacts"
    span_id = base64.b64encode(b"\x00" * 7 + b"\x01").decode()
    span = {"trace_id": "x", "span_id": span_id, "parent_span_id": None, "name": "by file", "links": [],
            "start_time_unix_nano": 5, "end_time_unix_nano": "9", "status": {"code": "STATUS_CODE_OK", "message": ""},
            "events": [{"name": "e", "time_unix_nano": 6, "attributes": {"a": 1}}],
            "attributes": {"mlflow.spanInputs": '{"q": 1}', "mlflow.spanType": '"LLM"', "odd": "not JSON"}}  # fmt: skip
    old = {"context": {"span_id": "0x" + "0" * 15 + "2", "trace_id": "y"}, "parent_id": "0x" + "0" * 15 + "1",
           "name": "older", "start_time": 6, "end_time": None, "status_code": "ERROR", "status_message": "no",
           "events": [], "attributes": {}}  # fmt: skip
    data = json.dumps({"spans": [span, old]}).encode()
    assert server.client.put(f"{base}/traces.json", content=b"{").status_code == 200
    assert server.client.put(f"{base}/traces.json", content=data).status_code == 200
    assert server.client.get(f"{base}/traces.json").content == data
    found = server.call("GET", f"{V3}/get", params={"trace_id": name_of(50)})["trace"]
    assert [(each["name"], each["status"]["code"]) for each in found["spans"]] == [
        ("by file", "STATUS_CODE_OK"), ("older", "STATUS_CODE_ERROR"),
    ]  # fmt: skip
    assert {"key": "mlflow.spanType", "value": {"string_value": "LLM"}} in found["spans"][0]["attributes"]
    assert found["trace_info"]["tags"]["mlflow.trace.spansLocation"] == "TRACKING_STORE"
    assert found["trace_info"]["request_time"] == "2026-05-01T12:00:00.250Z"
    for wrong in (f"{base}/../x", f"/api/2.0/mlflow-artifacts/artifacts/0/traces/{name_of(50)}/artifacts/a",
                  f"/api/2.0/mlflow-artifacts/artifacts/{place}/traces/tr-none/artifacts/a"):  # fmt: skip
        assert server.client.put(wrong.replace("..", "%2e%2e"), content=b"x").status_code in (400, 404)


def test_clients_before_3_0_start_and_end_traces(server: Tracing) -> None:
    place = an_experiment(server, "old")
    old = "/api/2.0/mlflow/traces"
    start = {"experiment_id": place, "timestamp_ms": 1000, "request_metadata": [{"key": "m", "value": "1"}], "tags": []}
    made = server.call("POST", old, json=start)["trace_info"]
    assert (made["status"], made["timestamp_ms"]) == ("IN_PROGRESS", 1000)
    end = {"timestamp_ms": 1500, "status": "OK", "request_metadata": [], "tags": [{"key": "t", "value": "2"}]}
    ended = server.call("PATCH", f"{old}/{made['request_id']}", json=end)["trace_info"]
    assert (ended["status"], ended["execution_time_ms"]) == ("OK", 500)
    assert {"key": "t", "value": "2"} in ended["tags"]
    assert server.call("GET", f"{old}/{made['request_id']}/info")["trace_info"] == ended
    found = server.call("GET", old, params={"experiment_ids": place, "filter": "status = 'OK'"})
    assert found["traces"] == [ended]


def test_what_was_answered_is_there_after_a_kill(tmp_path: Path) -> None:
    server = Tracing(tmp_path / "w.mill")
    for trace in range(1, 30):
        send(server, a_span(trace))
        if trace % 10 == 0:
            server.kill()
            server.start()
    server.kill()
    ws = open_workspace(tmp_path / "w.mill")
    assert ws.graph.verify() == []
    ws.close()
    server.start()
    found = server.call("GET", f"{V3}/batchGet", params={"trace_ids": [name_of(each) for each in range(1, 30)]})
    assert len(found["traces"]) == 29
    server.kill()


def test_what_traces_do_not_have_is_said(server: Tracing) -> None:
    assert server.refused("POST", f"{V3}/metrics", json={})[:2] == (501, "NOT_IMPLEMENTED")
    assert server.refused("POST", f"{V3}/calculate-filter-correlation", json={})[:2] == (501, "NOT_IMPLEMENTED")
    assert server.refused("POST", "/v1/metrics", content=b"")[:2] == (501, "NOT_IMPLEMENTED")
