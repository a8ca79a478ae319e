"""The server's HTTP surface, and what is durable when it is killed under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import msgspec
import pytest

from tidemill.core import segments
from tidemill.core.errors import NoRoom, ServerFailed
from tidemill.core.types import Prediction
from tidemill.core.workspace import open_workspace
from tidemill.serve import deploy as deploying
from tidemill.serve import packages, registry
from tidemill.serve.app import METHODS, PUBLIC
from tidemill.serve.client import Served, started


@pytest.fixture(scope="module")
def shared(tmp_path_factory, recipe, estimators, frame):
    """A server for all tests that change nothing on it but its counts."""
    ws = open_workspace(tmp_path_factory.mktemp("shared") / "w.mill")
    made = packages.build(ws, recipe=recipe, estimator=estimators[0], frame=frame, card="", meta={"key": "id"})
    server = deploying.deploy(ws, registry.register(ws, "late", package=made, meta={}), name="late", lifetime="parent")
    yield server
    server.stop()
    ws.close()


def client_of(server):
    token = {"Authorization": f"Bearer {server.token}"}
    return httpx.Client(base_url=server.url, headers=token, trust_env=False)


@pytest.fixture
def http(shared):
    with client_of(shared) as client:
        yield client


def test_every_route_but_the_two_of_health_wants_the_token(shared):
    with httpx.Client(base_url=shared.url, trust_env=False) as stranger:
        for path, method in METHODS.items():
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": shared.token}):
                status = stranger.request(method, path, headers=headers).status_code
                assert status == (200 if path in PUBLIC else 401), path
        assert stranger.get("/elsewhere").status_code == 401


def test_health_and_readiness_say_who_answers(http, shared):
    assert http.get("/healthz").json() == {"deployment": "late", "pid": shared.pid}
    assert http.get("/readyz").json()["traffic"] == {"champion": 1, "canary": None, "share": 0.0, "shadow": None}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "the body is no JSON"),
        (b"\xff\xfe", 400, "the body is no JSON"),
        (b'{"rows": [{"a": ' + b"[" * 100_000, 400, "the body is no JSON"),
        (b"[]", 422, "Expected `object`, got `array`"),
        (b'{"rows": [1]}', 422, "$.rows[0]"),
        (b'{"rows": []}', 422, "rows is empty"),
        (b'{"rows": [{}], "keys": ["a", "b"]}', 422, "keys has 2 entries for 1 rows"),
        (b'{"rows": [{}], "at": "soon"}', 422, "at[0] is 'soon'; allowed: an ISO 8601 time"),
        (json.dumps({"rows": [{}] * 10_001}).encode(), 413, "10001 rows in one request; at most 10000"),
    ],
)
def test_a_request_that_is_wrong_is_told_what_is_allowed(http, body, status, message):
    answer = http.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_wrong_fields_are_listed_one_by_one(http, rows):
    row = {name: value for name, value in rows[0].items() if name != "temp"} | {"tmp": 1.0, "sched": 5, "carrier": []}
    answer = http.post("/predict", json={"rows": [rows[1], row]})
    assert answer.status_code == 422
    assert [(fault["row"], fault["column"], fault["got"]) for fault in answer.json()["faults"]] == [
        (1, "temp", "nothing"),
        (1, "carrier", "list []"),
        (1, "sched", "number 5"),
    ]
    assert answer.json()["faults"][0]["nearest"] == " Did you mean 'tmp'?"


def test_another_content_type_method_or_path_is_refused(http, rows):
    assert http.post("/predict", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert http.get("/predict").status_code == 405
    assert http.get("/elsewhere").status_code == 404


def test_a_body_over_16_mib_is_refused_announced_or_not(http):
    big = b" " * (16 * 1024 * 1024 + 1)
    assert http.post("/predict", content=big, headers={"content-type": "application/json"}).status_code == 413

    def pieces():
        for _ in range(17):
            yield b" " * 1024 * 1024

    answer = http.post("/predict", content=pieces(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_what_is_wrong_is_not_logged_and_the_server_goes_on(ws, served, rows):
    with client_of(served) as http:
        assert http.post("/predict", content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert list(segments.read(ws.root / "predictions" / "late")) == []
    assert len(served.predict(rows)) == len(rows)


def test_metrics_count_requests_rows_and_seconds(served, rows):
    served.predict(rows)
    with client_of(served) as http:
        http.post("/predict", content=b"{", headers={"content-type": "application/json"})
    text = served.metrics()
    assert 'tidemill_requests_total{deployment="late",status="200"} 1\n' in text
    assert 'tidemill_requests_total{deployment="late",status="400"} 1\n' in text
    assert f'tidemill_rows_total{{deployment="late",revision="1",role="live"}} {len(rows)}\n' in text
    assert 'tidemill_request_seconds_bucket{deployment="late",le="+Inf"} 1\n' in text
    assert 'tidemill_request_seconds_count{deployment="late"} 1\n' in text


def test_a_server_loads_no_frame_library(shared):
    mapped = subprocess.run(["cat", f"/proc/{shared.pid}/maps"], capture_output=True, text=True, check=True).stdout
    assert "onnxruntime" in mapped
    assert not [name for name in ("polars", "sklearn", "scipy", "pandas", "deltalake") if f"/{name}/" in mapped]


def test_a_server_whose_state_file_is_taken_away_ends(ws, served):
    (ws.root / "servers" / "late.json").unlink()
    assert started[served.pid].wait(20) == 0


def test_two_servers_of_one_deployment_do_not_both_write(ws, served):
    command = [sys.executable, "-m", "tidemill.serve.server", "--workspace", str(ws.root), "--deployment", "late"]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].startswith("tidemill-error: Busy: another process writes to ")
    assert served.is_alive()


def test_a_full_disk_answers_nothing_that_is_not_logged(ws, model, rows):
    program = """
import resource, sys
from tidemill.serve.server import main
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(main(sys.argv[1:]))
"""
    deploying.add_revision(ws, "late", model)
    deploying.set_traffic(ws, "late", deploying.Traffic(1), why="test")
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--workspace", str(ws.root), "--deployment", "late", "--with-parent"],
        stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        served = None
        until = time.monotonic() + 30
        while served is None and time.monotonic() < until:
            served = deploying.connect(ws, "late")
        answered = []
        failure = None
        while failure is None and len(answered) < 10_000:
            try:
                answered += served.predict(rows)
            except NoRoom as error:
                failure = error
        served.close()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
    assert "cannot write to" in str(failure)
    assert answered
    assert [answer.id for answer in answered] == [
        msgspec.json.decode(payload, type=Prediction).id
        for _, payload in segments.read(ws.root / "predictions" / "late")
    ]


@pytest.mark.parametrize(
    "wait_s", [0.15, pytest.param(0.4, marks=pytest.mark.slow), pytest.param(0.8, marks=pytest.mark.slow)]
)
def test_kill_9_under_load_loses_no_answer_that_was_sent(ws, served, rows, wait_s):
    answered: list[str] = []
    lock = threading.Lock()

    def ask(worker: int) -> None:
        client = Served(served.name, served.url, served.token, served.pid, ws.root)
        for turn in range(100_000):
            part = rows[turn % len(rows) : turn % len(rows) + 1 + turn % 7]
            keys = [f"{worker}-{turn}-{place}" for place in range(len(part))]
            try:
                found = client.predict(part, keys=keys)
            except ServerFailed:
                break
            with lock:
                answered.extend(answer.id for answer in found)
        client.close()

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    while len(answered) < 20:
        time.sleep(0.005)
    time.sleep(wait_s)
    os.kill(served.pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    payloads = [payload for _, payload in segments.read(ws.root / "predictions" / "late")]
    kept = {msgspec.json.decode(payload, type=Prediction).id for payload in payloads}
    assert len(answered) == len(set(answered)) > 50
    assert set(answered) <= kept


@pytest.mark.slow
def test_two_programs_that_deploy_at_once_get_one_server(ws, model):
    program = """
import sys
from tidemill.core.workspace import open_workspace
from tidemill.serve import deploy, registry
ws = open_workspace(sys.argv[1])
print(deploy.deploy(ws, registry.get(ws, "late"), name="late").pid)
"""
    command = [sys.executable, "-W", "error", "-c", program, str(ws.root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=90) for process in both]
    try:
        assert [error for _, error in said] == ["", ""]
        assert len({int(pid) for pid, _ in said}) == 1
        assert len(deploying.revisions(ws, "late")) == 1
        assert len(ws.graph.events("deployment/late", kind="traffic")) <= 2
    finally:
        deploying.connect(ws, "late").stop()
