"""MLflow's protocol over HTTP: experiments, runs, metrics, and errors in its words."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from mlflow_server import PREFIX, TOKEN, Server

from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.track import experiments, tracking


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow") / "w.mill")
    yield made
    made.kill()


@pytest.fixture
def new_run(server: Server) -> Callable[[], str]:
    return lambda: str(server.post("runs/create", experiment_id="0", start_time=1000)["run"]["info"]["run_id"])


def test_an_experiment_through_its_life(server: Server) -> None:
    place = server.post("experiments/create", name="rates", tags=[{"key": "team", "value": "a"}])["experiment_id"]
    found = server.get("experiments/get-by-name", experiment_name="rates")["experiment"]
    assert found == server.get("experiments/get", experiment_id=place)["experiment"]
    assert (found["experiment_id"], found["lifecycle_stage"]) == (place, "active")
    assert found["tags"] == [{"key": "team", "value": "a"}]
    server.post("experiments/set-experiment-tag", experiment_id=place, key="more", value="b")
    server.post("experiments/delete-experiment-tag", experiment_id=place, key="team")
    server.post("experiments/update", experiment_id=place, new_name="ratios")
    server.post("experiments/delete", experiment_id=place)
    assert [each["name"] for each in server.post("experiments/search", view_type="DELETED_ONLY")["experiments"]] == [
        "ratios"
    ]
    server.post("experiments/restore", experiment_id=place)
    found = server.get("experiments/search", filter="name LIKE 'rat%'", max_results=5)["experiments"]
    assert [(each["name"], each["tags"]) for each in found] == [("ratios", [{"key": "more", "value": "b"}])]


def test_a_run_through_its_life(server: Server) -> None:
    made = server.post("runs/create", experiment_id="0", start_time=1000, run_name="first", user_id="yoko")["run"]
    run_id = made["info"]["run_id"]
    assert made["info"] == {
        "run_id": run_id, "run_uuid": run_id, "run_name": "first", "experiment_id": "0", "user_id": "yoko",
        "status": "RUNNING", "start_time": 1000, "lifecycle_stage": "active",
        "artifact_uri": f"mlflow-artifacts:/0/{run_id}/artifacts",
    }  # fmt: skip
    server.post("runs/log-parameter", run_id=run_id, key="c", value="1")
    server.post("runs/log-metric", run_id=run_id, key="loss", value=0.5, timestamp=5, step=1)
    server.post("runs/log-metric", run_uuid=run_id, key="odd", value="NaN", timestamp="6")
    server.post("runs/set-tag", run_id=run_id, key="team", value="a")
    batch = {
        "metrics": [{"key": "loss", "value": 1 / step, "timestamp": step, "step": step} for step in range(2, 902)],
        "params": [{"key": "d", "value": "2"}],
        "tags": [{"key": "team", "value": "b"}],
    }
    for _ in range(2):  # a client that tries again
        server.post("runs/log-batch", run_id=run_id, **batch)
    server.post("runs/delete-tag", run_id=run_id, key="team")
    info = server.post("runs/update", run_id=run_id, status="FINISHED", end_time=2000, run_name="second")["run_info"]
    assert (info["status"], info["end_time"], info["run_name"]) == ("FINISHED", 2000, "second")
    found = server.get("runs/get", run_id=run_id)["run"]
    assert found["data"]["params"] == [{"key": "c", "value": "1"}, {"key": "d", "value": "2"}]
    last = {each["key"]: each for each in found["data"]["metrics"]}
    assert last["loss"] == {"key": "loss", "value": 1 / 901, "timestamp": 901, "step": 901}
    assert last["odd"]["value"] == "NaN"
    values = server.get("metrics/get-history", run_id=run_id, metric_key="loss")["metrics"]
    assert [each["step"] for each in values] == list(range(1, 902))
    page = server.get("metrics/get-history", run_id=run_id, metric_key="loss", max_results=600)
    rest = server.get(
        "metrics/get-history", run_id=run_id, metric_key="loss", max_results=600, page_token=page["next_page_token"]
    )
    assert page["metrics"] + rest["metrics"] == values
    assert "next_page_token" not in rest
    some = server.get("metrics/get-history-bulk-interval", run_ids=[run_id], metric_key="loss", max_results=10)[
        "metrics"
    ]
    assert (some[0]["step"], some[-1]["step"], len(some)) == (1, 901, 11)
    server.post("runs/delete", run_id=run_id)
    assert "runs" not in server.post("runs/search", experiment_ids=["0"], filter="params.d = '2'")
    server.post("runs/restore", run_id=run_id)
    (found,) = server.post("runs/search", experiment_ids=["0"], filter="params.d = '2' AND metrics.loss < 1")["runs"]
    assert found["info"]["run_id"] == run_id


FILES = "/api/2.0/mlflow-artifacts/artifacts"


def test_files_of_a_run_are_put_listed_got_and_deleted(server: Server, new_run: Callable[[], str]) -> None:
    run_id = new_run()
    root = f"{FILES}/0/{run_id}/artifacts"
    large = bytes(range(256)) * 20_000
    for name, data in (("a.txt", b"one"), ("sub/b c.bin", large), ("sub/deep/empty", b"")):
        answer = server.client.put(f"{root}/{name}", content=data)
        assert answer.status_code == 200, answer.text
        assert server.client.get(f"{root}/{name}").content == data
    server.client.put(f"{root}/a.txt", content=b"two")
    got = server.client.get(f"{root}/a.txt")
    assert (got.content, got.headers["content-disposition"]) == (b"two", "attachment; filename*=UTF-8''a.txt")
    listed = server.client.get(FILES, params={"path": f"0/{run_id}/artifacts/sub"}).json()["files"]
    assert listed == [{"path": "b c.bin", "is_dir": False, "file_size": len(large)}, {"path": "deep", "is_dir": True}]
    listed = server.get("artifacts/list", run_id=run_id, path="sub")
    assert listed["root_uri"] == f"mlflow-artifacts:/0/{run_id}/artifacts"
    assert [each["path"] for each in listed["files"]] == ["sub/b c.bin", "sub/deep"]
    assert server.client.get("/get-artifact", params={"run_uuid": run_id, "path": "sub/b c.bin"}).content == large
    assert server.client.delete(f"{root}/sub").status_code == 200
    assert [each["path"] for each in server.get("artifacts/list", run_id=run_id)["files"]] == ["a.txt"]
    assert server.client.get(f"{root}/sub/deep/empty").status_code == 404
    assert list((server.root / "uploads").iterdir()) == []


def test_no_path_leads_out_of_a_run(server: Server, new_run: Callable[[], str]) -> None:
    run_id, other = new_run(), new_run()
    root = f"{FILES}/0/{run_id}/artifacts"
    before = sorted(path for path in server.root.parent.rglob("*") if path.is_file() and "graph.db" not in path.name)
    for path in (
        f"{root}/%2e%2e/up", f"{root}/a/%2e%2e/%2e%2e/up", f"{root}/%2Fetc/passwd", f"{root}/a%5Cb", f"{root}/a%00b",
        f"{root}/{'x' * 600}", f"{root}/a//b", f"{root}/", f"{FILES}/0/{run_id}", f"{FILES}/..%2f..%2fup",
        f"{FILES}/1/{run_id}/artifacts/a", f"{FILES}/0/{'f' * 32}/artifacts/a",
    ):  # fmt: skip
        answer = server.client.put(path, content=b"x")
        assert answer.status_code in (400, 404), (path, answer.status_code)
        assert answer.json()["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"), path
    for path in ("../../../etc/passwd", "/etc/passwd", f"../../{other}/artifacts/a", "%2e%2e"):
        for address in (f"{FILES}", "/get-artifact"):
            query = {"path": path, "run_uuid": run_id}
            assert server.client.get(address, params=query).status_code in (400, 404), (address, path)
    after = sorted(path for path in server.root.parent.rglob("*") if path.is_file() and "graph.db" not in path.name)
    assert after == before


def test_datasets_that_a_run_read_lead_to_versions_that_are_known(server: Server, new_run: Callable[[], str]) -> None:
    ws = open_workspace(server.root)
    version = datasets.add(ws, "flights", pl.DataFrame({"id": [1, 2]}), key="id")
    run_id = new_run()
    given: list[dict[str, Any]] = [
        {
            "dataset": {"name": "elsewhere", "digest": "abc", "source_type": "http", "source": "{}", "schema": "{}"},
            "tags": [{"key": "mlflow.data.context", "value": "training"}],
        },
        {"dataset": {"name": "ours", "digest": "def", "source_type": "code", "source": "tidemill://flights@1"}},
    ]
    for _ in range(2):
        server.post("runs/log-inputs", run_id=run_id, datasets=given)
    found = server.get("runs/get", run_id=run_id)["run"]["inputs"]["dataset_inputs"]
    assert sorted(found, key=lambda each: str(each["dataset"]["name"])) == [given[0], {**given[1], "tags": []}]
    (searched,) = server.post("runs/search", experiment_ids=["0"], filter="datasets.name = 'elsewhere'")["runs"]
    assert searched["inputs"]["dataset_inputs"] == found
    assert version.id in {edge.artifact_id for edge in ws.graph.edges([run_id])}
    assert run_id in {run.id for run in version.impact().runs}
    status, code, message = server.refused("runs/log-inputs", run_id=run_id, datasets=[{"dataset": {"name": "a"}}])
    assert (status, code, "datasets[0].dataset.digest" in message) == (400, "INVALID_PARAMETER_VALUE", True)
    ws.close()


def test_wrong_input_is_told_in_mlflows_words(server: Server, new_run: Callable[[], str]) -> None:
    run_id = new_run()
    server.post("runs/log-parameter", run_id=run_id, key="c", value="1")
    unknown = "f" * 32
    absent = (404, "RESOURCE_DOES_NOT_EXIST")
    invalid = (400, "INVALID_PARAMETER_VALUE")
    for path, body, code, text in (
        ("runs/create", {"experiment_id": "999"}, absent, "No Experiment with id=999 exists"),
        ("runs/log-metric", {"run_id": unknown, "key": "a", "value": 1, "timestamp": 1}, absent,
         f"Run with id={unknown} not found"),
        ("runs/log-metric", {"run_id": run_id, "value": 1, "timestamp": 1}, invalid, "required parameter 'key'"),
        ("runs/log-metric", {"run_id": run_id, "key": "a", "timestamp": 1}, invalid, "required parameter 'value'"),
        ("runs/log-metric", {"run_id": run_id, "key": "a", "value": "x", "timestamp": 1}, invalid, "valid double"),
        ("runs/log-metric", {"run_id": run_id, "key": "a", "value": 1, "timestamp": -1}, invalid, "nonnegative"),
        ("runs/log-metric", {"run_id": run_id, "key": "../a", "value": 1, "timestamp": 1}, invalid, "resolve to"),
        ("runs/log-metric", {"run_id": run_id, "key": "a$", "value": 1, "timestamp": 1}, invalid, "may only contain"),
        ("runs/log-parameter", {"run_id": run_id, "key": "c", "value": "2"}, invalid, "is '1' already, not '2'"),
        ("runs/log-parameter", {"run_id": run_id, "key": "k" * 251, "value": "2"}, invalid, "maximum length of 250"),
        ("runs/log-batch", {"run_id": run_id, "params": [{"key": f"p{n}", "value": "1"} for n in range(101)]}, invalid,
         "at most 100 params. Got 101 params"),
        ("runs/log-batch", {"run_id": run_id, "params": [{"key": "p", "value": "1"}] * 2}, invalid, "Duplicate"),
        ("runs/update", {"run_id": run_id, "status": "LATE"}, invalid, "LATE"),
        ("runs/search", {"experiment_ids": ["0"], "max_results": 50_001}, invalid, "at most 50000"),
        ("runs/search", {"experiment_ids": ["0"], "filter": "metrics.a ="}, invalid, ""),
        ("runs/delete-tag", {"run_id": run_id, "key": "none"}, absent, "No tag with name: none"),
        ("experiments/create", {"name": "Default"}, (400, "RESOURCE_ALREADY_EXISTS"), "there already"),
        ("experiments/create", {}, invalid, "required parameter 'name'"),
        ("experiments/create", {"name": 7}, invalid, "name"),
        ("scorers/list", {}, (501, "NOT_IMPLEMENTED"), "does not answer"),
    ):  # fmt: skip
        status, name, message = server.refused(path, **body)
        assert ((status, name), text in message) == (code, True), (path, status, name, message)
    assert server.get("runs/get", run_id=run_id)["run"]["data"]["params"] == [{"key": "c", "value": "1"}]
    answer = server.client.post(PREFIX + "runs/create", content=b"{not json")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")
    answer = server.client.get(PREFIX + "experiments/get-by-name", params={"experiment_name": "none"})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_the_token_is_shown_as_bearer_or_as_a_password(server: Server) -> None:
    url = str(server.client.base_url).rstrip("/") + PREFIX + "experiments/search"
    for given, status in ((f"any:{TOKEN}", 200), ("any:wrong", 401), (TOKEN, 401)):
        headers = {"authorization": "Basic " + base64.b64encode(given.encode()).decode()}
        answer = httpx.post(url, json={}, headers=headers, trust_env=False)
        assert answer.status_code == status
    assert answer.json()["error_code"] == "UNAUTHENTICATED"
    assert server.client.get("/health", headers={"authorization": ""}).text == "OK"


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Server) -> None:
    answer = server.client.post("/api/v1/alerts/x/acknowledge", content=b" " * (2 << 20))
    assert answer.status_code == 413


@pytest.mark.slow
def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    server = Server(tmp_path / "w.mill")
    run_id = server.post("runs/create", experiment_id="0", start_time=1)["run"]["info"]["run_id"]
    for number in range(15):
        server.post("runs/log-metric", run_id=run_id, key="a", value=number, timestamp=number, step=number)
        server.post("runs/log-parameter", run_id=run_id, key=f"p{number}", value="1")
        server.post("experiments/create", name=f"e{number}")
        server.kill()
        server.start()
    server.kill()
    ws = open_workspace(tmp_path / "w.mill")
    assert [each.value for each in ws.graph.series(run_id, "a")] == list(range(15))
    assert tracking.get(ws, run_id).params == {f"p{number}": "1" for number in range(15)}
    assert experiments.get(ws, 15).name == "e14"
    assert ws.graph.verify() == []
    ws.close()
