"""MLflow's protocol over HTTP: logged models, registered models, versions, aliases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mlflow_server import PREFIX, Server

from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.improve import publishing, sweeping
from tidemill.improve.erasure import erasing
from tidemill.serve import registry
from tidemill.serve.registered import models, promoting, states, versions

FILES = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("registry") / "w.mill")
    yield made
    made.kill()


def call(server: Server, method: str, path: str, **body: Any) -> Any:
    answer = server.client.request(method, PREFIX + path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(server: Server, method: str, path: str, **body: Any) -> tuple[int, str]:
    given = {"params": body} if method == "GET" else {"json": body}
    answer = server.client.request(method, PREFIX + path, **given)
    return answer.status_code, answer.json()["error_code"]


def place_of(uri: str) -> str:
    return uri.removeprefix("mlflow-artifacts:/")


@pytest.fixture
def logged(server: Server) -> dict[str, Any]:
    run = server.post("runs/create", experiment_id="0")["run"]["info"]["run_id"]
    asked = {"experiment_id": "0", "name": "forest", "source_run_id": run, "model_type": "classifier"}
    given = {"params": [{"key": "trees", "value": "7"}], "tags": [{"key": "team", "value": "red"}]}
    model = server.post("logged-models", **asked, **given)["model"]
    path = place_of(model["info"]["artifact_uri"])
    assert server.client.put(f"{FILES}/{path}/MLmodel", content=b"flavors: {}").status_code == 200
    assert server.client.put(f"{FILES}/{path}/data/model.bin", content=b"weights").status_code == 200
    model_id = model["info"]["model_id"]
    made = call(server, "PATCH", f"logged-models/{model_id}", status="LOGGED_MODEL_READY")["model"]
    server.post("runs/outputs", run_id=run, models=[{"model_id": model_id, "step": 3}])
    return {"run": run, **made["info"]}


def test_a_logged_model_through_its_life(server: Server, logged: dict[str, Any]) -> None:
    model_id, run = logged["model_id"], logged["run"]
    assert (logged["status"], logged["source_run_id"], logged["model_type"]) == (
        "LOGGED_MODEL_READY",
        run,
        "classifier",
    )
    server.post("runs/log-metric", run_id=run, key="auc", value=0.8, timestamp=5, step=1, model_id=model_id,
                dataset_name="holdout", dataset_digest="d1")  # fmt: skip
    call(server, "PATCH", f"logged-models/{model_id}/tags", tags=[{"key": "a/b", "value": "c"}])
    server.post(f"logged-models/{model_id}/params", params=[{"key": "depth", "value": "2"}])
    found = server.get(f"logged-models/{model_id}")["model"]
    assert {each["key"]: each["value"] for each in found["info"]["tags"]} == {"team": "red", "a/b": "c"}
    assert {each["key"]: each["value"] for each in found["data"]["params"]} == {"trees": "7", "depth": "2"}
    (metric,) = found["data"]["metrics"]
    assert (metric["value"], metric["step"], metric["dataset_name"], metric["run_id"]) == (0.8, 1, "holdout", run)
    assert server.get("runs/get", run_id=run)["run"]["data"]["metrics"][0]["key"] == "auc"
    assert server.get("runs/get", run_id=run)["run"]["outputs"] == {
        "model_outputs": [{"model_id": model_id, "step": 3}]
    }
    call(server, "DELETE", f"logged-models/{model_id}/tags/a/b")
    listed = server.get(f"logged-models/{model_id}/artifacts/directories")["files"]
    assert [(each["path"], each["is_dir"]) for each in listed] == [("MLmodel", False), ("data", True)]
    assert refused(server, "GET", "runs/get", run_id=model_id) == (404, "RESOURCE_DOES_NOT_EXIST")
    runs = server.post("runs/search", experiment_ids=["0"], run_view_type="ALL")["runs"]
    assert run in {each["info"]["run_id"] for each in runs}
    assert model_id not in {each["info"]["run_id"] for each in runs}
    assert (
        refused(server, "POST", f"logged-models/{model_id}/params", params=[{"key": "depth", "value": "3"}])[0] == 400
    )
    call(server, "DELETE", f"logged-models/{model_id}")
    assert refused(server, "GET", f"logged-models/{model_id}") == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ("", True),
        ("name = 'forest' AND params.trees = '7'", True),
        ("tags.team = 'blue'", False),
        ("metrics.auc > 0.5", True),
        ("metrics.auc > 0.9", False),
        ("status = 'READY' AND model_type LIKE 'class%'", True),
    ],
)
def test_logged_models_are_searched(server: Server, logged: dict[str, Any], filter: str, found: bool) -> None:
    metric = {"key": "auc", "value": 0.7, "timestamp": 1, "step": 0, "model_id": logged["model_id"]}
    server.post("runs/log-batch", run_id=logged["run"], metrics=[metric])
    mine = f"source_run_id = '{logged['run']}'" + (f" AND {filter}" if filter else "")
    models = server.post("logged-models/search", experiment_ids=["0"], filter=mine).get("models", [])
    assert [each["info"]["model_id"] for each in models] == ([logged["model_id"]] if found else [])


def test_logged_models_come_in_the_order_and_pages_that_are_asked_for(server: Server) -> None:
    place = server.post("experiments/create", name="ordered")["experiment_id"]
    for name in ("b", "c", "a"):
        server.post("logged-models", experiment_id=place, name=name)
    asked = {"experiment_ids": [place], "order_by": [{"field_name": "name", "ascending": True}], "max_results": 2}
    first = server.post("logged-models/search", **asked)
    rest = server.post("logged-models/search", **asked, page_token=first["next_page_token"])
    assert [each["info"]["name"] for page in (first, rest) for each in page["models"]] == ["a", "b", "c"]
    assert "next_page_token" not in rest
    assert refused(server, "POST", "logged-models/search", experiment_ids=[place], page_token="wrong")[0] == 400


def test_a_version_keeps_its_files_whatever_becomes_of_the_run(server: Server, logged: dict[str, Any]) -> None:
    server.post("registered-models/create", name="kept", description="d", tags=[{"key": "k", "value": "v"}])
    made = server.post("model-versions/create", name="kept", source=f"models:/{logged['model_id']}")["model_version"]
    assert (made["version"], made["run_id"], made["status"]) == ("1", logged["run"], "READY")
    uri = server.get("model-versions/get-download-uri", name="kept", version="1")["artifact_uri"]
    path = place_of(logged["artifact_uri"])
    assert server.client.delete(f"{FILES}/{path}/data/model.bin").status_code == 200
    call(server, "DELETE", f"logged-models/{logged['model_id']}")
    server.post("runs/delete", run_id=logged["run"])
    ws = open_workspace(server.root)
    sweeping.sweep(ws, older_than_s=0)
    assert server.client.get(f"{FILES}/{place_of(uri)}/data/model.bin").content == b"weights"
    listed = server.client.get(FILES, params={"path": place_of(uri)}).json()["files"]
    assert [each["path"] for each in listed] == ["MLmodel", "data"]
    for wrong in ("../../x", "data/%2e%2e/%2e%2e/x", "data", "none"):
        assert server.client.get(f"{FILES}/{place_of(uri)}/{wrong}").status_code in (400, 404)
    assert server.client.put(f"{FILES}/{place_of(uri)}/data/model.bin", content=b"other").status_code in (400, 404)
    traced = registry.get(ws, "kept", 1).trace()
    assert logged["run"] in {run.id for run in traced.runs}
    people = pl.DataFrame({"id": [1, 2], "contact": ["ada@example.org", "bob@example.org"]})
    datasets.add(ws, "people", people, key="id")
    erasing.erase(ws, "bob@example.org", columns={"people": ["contact"]})
    assert server.client.get(f"{FILES}/{place_of(uri)}/data/model.bin").content == b"weights"
    with pytest.raises(BadInput, match="registered with files alone"):
        _ = registry.get(ws, "kept", 1).package
    assert ws.graph.verify() == []


def test_a_registered_model_through_its_life(server: Server) -> None:
    server.post("registered-models/create", name="an odd name!")
    assert refused(server, "POST", "registered-models/create", name="an odd name!") == (400, "RESOURCE_ALREADY_EXISTS")
    for number in ("1", "2", "3"):
        made = server.post("model-versions/create", name="an odd name!", source="s3://bucket/m", run_id="r" * 32)
        assert made["model_version"]["version"] == number
    call(server, "PATCH", "registered-models/update", name="an odd name!", description="what it is")
    call(server, "PATCH", "model-versions/update", name="an odd name!", version="2", description="second")
    server.post("registered-models/set-tag", name="an odd name!", key="team", value="red")
    server.post("model-versions/set-tag", name="an odd name!", version="2", key="checked", value="yes")
    server.post("model-versions/transition-stage", name="an odd name!", version="2", stage="production")
    moved = server.post("model-versions/transition-stage", name="an odd name!", version="3", stage="Production",
                        archive_existing_versions=True)["model_version"]  # fmt: skip
    assert moved["current_stage"] == "Production"
    server.post("registered-models/alias", name="an odd name!", alias="best", version="2")
    server.post("registered-models/rename", name="an odd name!", new_name="even")
    found = server.get("registered-models/get", name="even")["registered_model"]
    assert (found["description"], found["tags"]) == ("what it is", [{"key": "team", "value": "red"}])
    assert found["aliases"] == [{"alias": "best", "version": "2"}]
    stages = {each["version"]: each["current_stage"] for each in found["latest_versions"]}
    assert stages == {"1": "None", "2": "Archived", "3": "Production"}
    by_alias = server.get("registered-models/alias", name="even", alias="best")["model_version"]
    assert (by_alias["version"], by_alias["description"], by_alias["aliases"]) == ("2", "second", ["best"])
    assert server.get("model-versions/get-download-uri", name="even", version="2")["artifact_uri"] == "s3://bucket/m"
    search = server.get("model-versions/search", filter="name = 'even' AND tags.checked = 'yes'")
    assert [each["version"] for each in search["model_versions"]] == ["2"]
    first = server.get("model-versions/search", filter="name = 'even'", max_results=2, order_by=["version_number ASC"])
    rest = server.get("model-versions/search", filter="name = 'even'", max_results=2, order_by=["version_number ASC"],
                      page_token=first["next_page_token"])  # fmt: skip
    assert [each["version"] for page in (first, rest) for each in page["model_versions"]] == ["1", "2", "3"]
    call(server, "DELETE", "model-versions/delete", name="even", version="2")
    assert refused(server, "GET", "registered-models/alias", name="even", alias="best")[1] == "INVALID_PARAMETER_VALUE"
    assert refused(server, "GET", "model-versions/get", name="even", version="2") == (404, "RESOURCE_DOES_NOT_EXIST")
    made = server.post("model-versions/create", name="even", source="s3://bucket/m")["model_version"]
    assert made["version"] == "4"  # a number is not given twice
    call(server, "DELETE", "registered-models/delete", name="even")
    assert refused(server, "GET", "registered-models/get", name="even") == (404, "RESOURCE_DOES_NOT_EXIST")
    server.post("registered-models/create", name="even")
    assert server.post("model-versions/create", name="even", source="s3://b/m")["model_version"]["version"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "registered-models/create", {"name": "a/b"}, (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "registered-models/create", {}, (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "model-versions/create", {"name": "there", "source": "/etc/passwd"}, (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "model-versions/create", {"name": "there", "source": "file:///etc"}, (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "model-versions/create", {"name": "there", "source": "s3://a/../b"}, (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "model-versions/create", {"name": "none", "source": "s3://a"}, (404, "RESOURCE_DOES_NOT_EXIST")),
        ("POST", "model-versions/create", {"name": "there", "source": "models:/m-1"}, (404, "RESOURCE_DOES_NOT_EXIST")),
        ("GET", "model-versions/get", {"name": "there", "version": "x"}, (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "registered-models/alias", {"name": "there", "alias": "v1", "version": "1"},
         (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "registered-models/alias", {"name": "there", "alias": "a b", "version": "1"},
         (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "model-versions/transition-stage", {"name": "there", "version": "1", "stage": "Live"},
         (400, "INVALID_PARAMETER_VALUE")),
        ("GET", "registered-models/search", {"filter": "color = 'red'"}, (400, "INVALID_PARAMETER_VALUE")),
        ("GET", "registered-models/search", {"max_results": 1001}, (400, "INVALID_PARAMETER_VALUE")),
    ],
)  # fmt: skip
def test_wrong_input_is_told(
    server: Server, method: str, path: str, body: dict[str, Any], told: tuple[int, str]
) -> None:
    server.client.post(f"{PREFIX}registered-models/create", json={"name": "there"})
    assert refused(server, method, path, **body) == told


def test_prompts_are_found_only_where_they_are_asked_for(server: Server) -> None:
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    server.post("registered-models/create", name="greeting", tags=tags)
    text = {"key": "mlflow.prompt.text", "value": "Hello {{name}}"}
    server.post("model-versions/create", name="greeting", source="dummy-source", tags=[*tags, text])
    models = server.get("registered-models/search", max_results=1000)["registered_models"]
    assert "greeting" not in {each["name"] for each in models}
    prompts = server.get("registered-models/search", filter="tags.`mlflow.prompt.is_prompt` = 'true'")
    assert [each["name"] for each in prompts["registered_models"]] == ["greeting"]


def test_an_alias_that_is_protected_moves_through_its_gates_only(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.post("registered-models/create", name="guarded")
    runs = []
    for value in (0.7, 0.9):
        run = server.post("runs/create", experiment_id="0")["run"]["info"]["run_id"]
        server.post("runs/log-metric", run_id=run, key="auc", value=value, timestamp=1)
        server.post("model-versions/create", name="guarded", source="s3://b/m", run_id=run)
        runs.append(run)
    ws = open_workspace(server.root)
    promoting.protect(ws, "guarded", "champion", [promoting.metric("auc", ">=", 0.8), promoting.approval()])
    move = {"name": "guarded", "alias": "champion"}
    assert refused(server, "POST", "registered-models/alias", **move, version="1") == (403, "PERMISSION_DENIED")
    assert refused(server, "POST", "registered-models/alias", **move, version="2") == (403, "PERMISSION_DENIED")
    promoting.approve(ws, "guarded", 2, note="mine")
    assert refused(server, "POST", "registered-models/alias", **move, version="2") == (403, "PERMISSION_DENIED")
    monkeypatch.setenv("TIDEMILL_ACTOR", "reviewer")
    promoting.approve(open_workspace(server.root), "guarded", 2, note="looks right")
    server.post("registered-models/alias", **move, version="2")
    (moved,) = registry.moves(ws, "guarded", "champion")
    assert [each["passed"] for each in moved.body["evidence"]] == [True, True]
    assert refused(server, "DELETE", "registered-models/alias", **move) == (403, "PERMISSION_DENIED")
    assert refused(server, "DELETE", "model-versions/delete", name="guarded", version="2")[0] == 403
    assert refused(server, "DELETE", "registered-models/delete", name="guarded")[0] == 403
    assert registry.aliases(ws, "guarded") == {"champion": 2}
    said = [event.kind for event in ws.graph.events("model/guarded@champion")]
    assert said == ["protected", "refused", "refused", "refused", "alias"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_promotions_at_once_one_wins_and_one_call_goes_back(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "here"))
    at = tmp_path / "w.mill" if kind == "sqlite" else request.getfixturevalue("new_database")()
    ws = open_workspace(at)
    models.create(ws, "m")
    for number in range(4):
        publishing.publish(ws, "m", f"s3://b/{number}")
    promoting.promote(ws, "m", 1, alias="live", why="first")
    seen = registry.moves(ws, "m", "live")[-1].seq

    def move(version: int) -> bool:
        try:
            promoting.promote(ws, "m", version, alias="live", why="better", expect=seen)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(move, (2, 3, 4))) == [False, False, True]
    assert promoting.rollback(ws, "m", alias="live", why="worse").body["version"] == 1
    assert registry.aliases(ws, "m") == {"live": 1}
    models.rename(ws, "m", "other")
    assert registry.get(ws, "other", "live").version == 1
    versions.delete(ws, "other", 1)
    assert registry.aliases(ws, "other") == {}
    assert [each.version for each in registry.models(ws, "other")] == [4, 3, 2]
    with pytest.raises(NotFound, match=r"model 'other' has no version 1; it has 2 to 4"):
        registry.get(ws, "other", 1)
    assert registry.unalias(ws, "other", "live", why="gone") is None
    models.delete(ws, "other")
    assert registry.models(ws) == []
    assert states.snapshot(ws).models == {}
    assert ws.graph.verify() == []
    ws.close()
