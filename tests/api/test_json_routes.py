"""The JSON API: each reading over HTTP, and errors that say what there is instead."""

from __future__ import annotations

import json

import polars as pl
import pytest
from trips_mill import FIRST, TOKEN, listening

from tidemill.api import app as api
from tidemill.api import views
from tidemill.api.routes import readings
from tidemill.core.types import Alert
from tidemill.data.catalogue import access
from tidemill.watch import alerts
from tidemill.web import app as web

V1 = "/api/v1"


def test_every_reading_answers_with_its_view(mill, client, prediction_id):
    run = mill.lineage.runs(kind="train.fit")[0].id
    expected = {
        "/workspace": lambda: views.overview(mill),
        "/runs": lambda: views.runs(mill),
        f"/runs/{run}": lambda: views.run(mill, run),
        "/datasets": lambda: views.datasets(mill),
        "/datasets/trips": lambda: views.dataset(mill, "trips"),
        "/datasets/trips/profile": lambda: views.profile(mill, "trips"),
        "/datasets/trips/card": lambda: views.card(mill, "trips"),
        "/datasets/trips/diff": lambda: views.diff(mill, "trips"),
        "/datasets/trips/contract": lambda: views.contract(mill, "trips"),
        "/features": lambda: views.feature_views(mill),
        "/audit?what=changed": lambda: views.audit(mill, what="changed"),
        "/models": lambda: views.models(mill),
        "/models/trips/1": lambda: views.model(mill, "trips", "1"),
        "/models/trips/champion": lambda: views.model(mill, "trips", "1"),
        "/deployments": lambda: views.deployments(mill),
        "/deployments/trips": lambda: views.deployment(mill, "trips"),
        f"/predictions/{prediction_id}": lambda: views.prediction(mill, prediction_id),
        "/alerts": lambda: views.alerts(mill),
        f"/trace/{prediction_id}": lambda: views.trace(mill, prediction_id),
    }
    # See test_flows_api; evaluations, leaderboards, experiments and traces are read in tests/web.
    elsewhere = {"pipelines", "schedules", "advice", "tunings", "evaluations", "leaderboards", "experiments", "traces"}
    assert len({path.partition("?")[0].split("/")[1] for path in expected}) == len(
        {each.path.split("/")[1] for each in readings(mill)} - elsewhere
    )
    for path, view in expected.items():
        answer = client.get(V1 + path)
        assert answer.status_code == 200, path
        assert {**answer.json(), "now": 0} == {**json.loads(json.dumps(view(), allow_nan=False)), "now": 0}, path


def test_the_overview_counts_what_there_is(client):
    found = client.get(f"{V1}/workspace").json()
    assert found["workspace"] == "trips.mill"
    counts = {name: found["counts"][name] for name in ("datasets", "models", "model_versions", "deployments")}
    assert counts == {"datasets": 1, "models": 1, "model_versions": 1, "deployments": 1}
    assert "latency" in {each["what"] for each in found["alerts"]}


def test_a_page_of_runs_leads_to_the_next(client):
    every = [run["id"] for run in client.get(f"{V1}/runs").json()["runs"]]
    got, before = [], None
    while True:
        page = client.get(f"{V1}/runs", params={"limit": 2} | ({"before": before} if before else {})).json()
        got += [run["id"] for run in page["runs"]]
        before = page["next"]
        if before is None:
            break
    assert got == every == sorted(every, reverse=True)


def test_runs_are_found_by_kind_name_and_status(client):
    kinds = {run["kind"] for run in client.get(f"{V1}/runs", params={"kind": "train.*"}).json()["runs"]}
    assert kinds == {"train.fit", "train.evaluate"}
    assert client.get(f"{V1}/runs", params={"status": "failed"}).json()["runs"] == []
    assert client.get(f"{V1}/runs", params={"name": "no such"}).json() == {
        "kind": None, "name": "no such", "status": None, "limit": 50, "runs": [], "next": None,
    }  # fmt: skip


def test_an_empty_field_of_a_filter_does_not_count(client):
    every = client.get(f"{V1}/runs").json()["runs"]
    assert client.get(f"{V1}/runs", params={"kind": "", "name": "", "status": ""}).json()["runs"] == every


def test_a_run_shows_its_code_parameters_inputs_and_outputs(mill, client):
    found = client.get(f"{V1}/runs/{mill.lineage.runs(kind='train.fit')[0].id[:16]}").json()
    assert found["params"]["strength"] == 0.5
    assert "LogisticRegression(C=strength)" in found["code"]["text"]
    assert [each["label"] for each in found["inputs"]] == ["dataset/trips@1"]
    assert {each["kind"] for each in found["outputs"]} >= {"recipe", "profile", "rows"}
    assert found["environment"]["python"].startswith("3.")


def test_a_model_shows_card_scores_slices_and_calibration(client):
    found = client.get(f"{V1}/models/trips/champion").json()
    assert found["signature"] == "verified"
    assert found["card"].startswith("# Model card: trips")
    assert found["test"]["metrics"]["auc"] > 0.7 > found["test"]["baseline"]["auc"]
    assert {line["value"] for line in found["slices"]} == {"Bronx", "Queens"}
    assert sum(line["rows"] for line in found["calibration"]) == found["test"]["rows"]
    assert [(each["alias"], each["body"]["version"]) for each in found["history"]] == [("champion", 1)]


def test_a_prediction_shows_what_was_asked_and_what_proved_true(mill, client, prediction_id):
    found = client.get(f"{V1}/predictions/{prediction_id}").json()
    key = found["row_key"]
    row = mill.dataset("trips").frame().row(by_predicate=pl.col("trip") == key, named=True)
    assert found["features"]["distance"] == row["distance"]
    assert found["truth"]["value"] == row["late"]
    assert found["model"]["label"] == "model/trips@1"
    assert found["training_rows"]["rows"] > 0


def test_what_came_from_personal_columns_is_masked_wherever_an_answer_is_shown(mill, client, prediction_id):
    paths = (f"{V1}/predictions/{prediction_id}", f"{V1}/trace/{prediction_id}", f"{V1}/models/trips/1")
    plain = client.get(paths[0]).json()
    key, borough = plain["row_key"], plain["features"]["borough"]
    mill.governance.tag("trips", "trip", "subject")
    mill.governance.tag("trips", "borough", "pii:address")
    try:
        found = client.get(paths[0]).json()
        assert found["row_key"].startswith("p_")
        assert found["features"] == plain["features"] | {"trip": found["row_key"], "borough": "***"}
        assert found["truth"] == plain["truth"]
        for path in paths:
            text = client.get(path).text
            assert f'"{key}"' not in text
            assert "Bronx" not in text
            assert "Queens" not in text
        told = mill.lineage.prediction(prediction_id)
        assert (told["row"], told["features"]["borough"]) == (found["row_key"], "***")
        access.grant(mill.ws, mill.ws.settings.who, "pii@trips")
        assert client.get(paths[0]).json() == plain
        assert borough in client.get(paths[2]).json()["card"]
        access.revoke(mill.ws, mill.ws.settings.who, "pii@trips")
    finally:
        mill.governance.untag("trips", "trip", "subject")
        mill.governance.untag("trips", "borough", "pii:address")


def test_the_trace_of_a_prediction_reaches_the_import(client, prediction_id):
    found = client.get(f"{V1}/trace/{prediction_id}").json()
    kinds = {node["kind"] for node in found["nodes"]}
    assert found["root"] == prediction_id
    assert kinds >= {"prediction", "deployment", "model", "train.fit", "rows", "dataset", "data.import"}
    known = {node["id"] for node in found["nodes"]}
    assert all(link["from"] in known and link["to"] in known for link in found["links"])
    assert {link["to"] for link in found["links"]} == known - {prediction_id}


def test_the_impact_of_a_dataset_reaches_the_deployment(mill, client):
    dataset = mill.dataset("trips").inputs[0].id
    nodes = client.get(f"{V1}/trace/{dataset}", params={"direction": "up"}).json()["nodes"]
    assert "deployment/trips@1" in {node["label"] for node in nodes}
    shallow = client.get(f"{V1}/trace/{dataset}", params={"direction": "up", "depth": 1}).json()["nodes"]
    assert len(shallow) < len(nodes)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/datasets/trip", 404, "no dataset 'trip'; there are trips. Did you mean 'trips'?"),
        ("/datasets/trips?version=9", 404, "dataset 'trips' has no version 9; it has 1 to 1"),
        ("/models/tripz/1", 404, "no model 'tripz'; known are trips. Did you mean 'trips'? See `tidemill model list`."),
        ("/models/trips/7", 404, "model 'trips' has no version 7; it has 1"),
        ("/models/trips/best", 404, "no alias 'best' of model 'trips'; it has champion."),
        ("/deployments/tripz", 404, "no deployment 'tripz'; there are trips. Did you mean 'trips'?"),
        ("/runs?status=finished", 422, "status 'finished' is not known; allowed: running, done, failed, cancelled."),
        ("/runs?limit=0", 422, "limit '0': Input should be greater than or equal to 1"),
        ("/trace/00?direction=sideways", 422, "direction 'sideways' is not known; allowed: down (what it came"),
        ("/nothing", 404, "there is nothing at /api/v1/nothing"),
    ],
)  # fmt: skip
def test_an_error_says_what_there_is(client, path, status, text):
    answer = client.get(V1 + path)
    assert answer.status_code == status
    assert answer.json()["error"]["text"].startswith(text)


def test_an_unknown_run_names_the_newest(mill, client):
    text = client.get(f"{V1}/runs/0123456789").json()["error"]["text"]
    assert mill.lineage.runs(limit=1)[0].id in text


def test_an_artifact_asked_for_as_a_run_is_named(mill, client):
    model = mill.model("trips")
    answer = client.get(f"{V1}/runs/{model.id}").json()["error"]
    assert answer == {"kind": "NotFound", "text": f"{model.id!r} is no run but the artifact model/trips@1; "
                                                  f"see /trace/{model.id}"}  # fmt: skip


def test_an_alert_is_acknowledged_once(mill, client):
    alert = alerts.raise_alert(mill.ws, Alert("trips", "errors", FIRST, "2.0% of answers failed", {}))
    assert client.get(f"{V1}/alerts", params={"deployment": "trips"}).json()["open"] == 2
    first = client.post(f"{V1}/alerts/{alert.id}/acknowledge", json={"note": "looked"}).json()
    again = client.post(f"{V1}/alerts/{alert.id}/acknowledge", json={"note": "again"}).json()
    assert first["note"] == again["note"] == "looked"
    assert first["acknowledged"] == mill.ws.settings.who
    assert client.get(f"{V1}/alerts").json()["open"] == 1


def test_a_method_that_is_not_there_is_405(client):
    assert client.delete(f"{V1}/runs").status_code == 405


def test_the_schema_describes_every_reading(mill, client):
    paths = client.get(f"{V1}/openapi.json").json()["paths"]
    expected = {V1 + ("/workspace" if each.path == "/" else each.path) for each in readings(mill)}
    expected = {path.replace("{node:path}", "{node}") for path in expected}
    writes = {f"{V1}/pipelines/{{run_id}}/{what}" for what in ("answer", "cancel", "again")}
    writes |= {f"{V1}/schedules/{{name}}/pause", "/hooks/{name}"}
    assert set(paths) == expected | writes | {f"{V1}/alerts/{{alert_id}}/acknowledge"}


def test_an_unforeseen_error_tells_nothing_and_keeps_the_headers(mill):
    import httpx

    app = api.create(mill, TOKEN)

    def broken() -> None:
        raise RuntimeError("a secret")

    app.add_api_route("/broken", broken)
    with listening(app) as address:
        answer = httpx.get(f"{address}/broken", trust_env=False)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_pages_answer_json_under_their_own_path(mill):
    import httpx

    with (
        listening(web.create(mill, TOKEN)) as address,
        httpx.Client(base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False) as client,
    ):
        assert client.get("/datasets/trips.json").json() == client.get(f"{V1}/datasets/trips").json()
        assert client.get("/index.json").json()["workspace"] == "trips.mill"
        assert client.get("/datasets/none.json").status_code == 404
