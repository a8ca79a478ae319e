"""Pipelines and tunings over HTTP: what stands, what can be asked for, and the door for webhooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import httpx
import pytest
from trips_mill import TOKEN, linear, listening, trips

import tidemill as tm
from tidemill.api import app as api
from tidemill.api import views
from tidemill.core.errors import BadInput, NotFound
from tidemill.flow.scheduling import schedules

V1 = "/api/v1"


@tm.step
def parts(n: int) -> list[int]:
    print("parts", n)
    return list(range(n))


@tm.step
def double(x: int) -> int:
    return 2 * x


@tm.step
def picky(xs: list[int], wrong: str) -> int:
    if wrong:
        raise ValueError(f"no good: {wrong}")
    return sum(xs)


@tm.step
def after(x: int) -> int:
    return x + 1


@tm.pipeline
def doubled(n: int = 5, wrong: str = "") -> int:
    return after(picky(double.map(parts(n)), wrong))


@tm.pipeline
def asked(n: int = 1) -> int:
    x = after(n)
    return double(x) if tm.approve("go on?") else 0


@pytest.fixture
def flows(tmp_path) -> Iterator[tm.Project]:
    with tm.open(tmp_path / "flows.mill") as project:
        yield project


@pytest.fixture
def http(flows) -> Iterator[httpx.Client]:
    with (
        listening(api.create(flows, TOKEN)) as address,
        httpx.Client(base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False) as client,
    ):
        yield client


def ran(project: tm.Project, pipeline=doubled, **params) -> str:
    return project.flows.run(pipeline, engine="here", **params).id


def same(found: dict, view: dict) -> bool:
    return found == json.loads(json.dumps(view, allow_nan=False))


def test_every_reading_answers_with_its_view(flows, http):
    run = ran(flows)
    ran(flows, wrong="x")
    flows.flows.deploy(f"{__name__}:doubled", schedules.cron("0 3 * * *"))
    for path, view in {
        "/pipelines": lambda: views.pipelines(flows),
        f"/pipelines/{run}": lambda: views.execution(flows, run),
        f"/pipelines/{run}?box=double%5B%5D&state=done&page=1": lambda: views.execution(
            flows, run, box="double[]", state="done"
        ),
        f"/pipelines/{run}/nodes/double%5B3%5D": lambda: views.node(flows, run, "double[3]"),
        "/schedules": lambda: views.schedules(flows),
        "/advice/doubled": lambda: views.advice(flows, "doubled"),
    }.items():
        answer = http.get(V1 + path)
        assert answer.status_code == 200, (path, answer.text)
        assert same(answer.json(), view()), path


def test_a_pipeline_has_its_executions_schedules_and_what_waits(flows, http):
    run = ran(flows)
    flows.flows.deploy(f"{__name__}:doubled", schedules.cron("0 3 * * *", zone="Europe/Berlin"), name="nightly")
    queued = flows.flows.submit(f"{__name__}:doubled", queue="slow", priority=3, n=2)
    found = http.get(f"{V1}/pipelines").json()
    assert [each["name"] for each in found["pipelines"]] == ["doubled"]
    assert {each["id"]: each["status"] for each in found["pipelines"][0]["executions"]} == {
        run: "done", queued.id: "queued",
    }  # fmt: skip
    [schedule] = found["pipelines"][0]["schedules"]
    assert (schedule["name"], schedule["text"], schedule["catch_up"]) == (
        "nightly", 'cron "0 3 * * *" Europe/Berlin', "latest",
    )  # fmt: skip
    assert schedule["next_at"][11:16] in ("01:00", "02:00")
    assert [(each["id"], each["queue"], each["priority"], each["state"]) for each in found["queue"]] == [
        (queued.id, "slow", 3, "waiting")
    ]
    assert found["live"]


def test_the_elements_of_a_map_are_one_box_that_counts_them(flows, http):
    found = http.get(f"{V1}/pipelines/{ran(flows, n=300, wrong='x')}").json()
    boxes = {each["title"]: each for each in found["graph"]["boxes"]}
    assert {title: (each["nodes"], each["counts"]) for title, each in boxes.items()} == {
        "parts": (1, {"done": 1}),
        "double[0..299]": (300, {"done": 300}),
        "picky": (1, {"failed": 1}),
        "after": (1, {"skipped": 1}),
    }
    assert found["graph"]["links"] == [["parts", "double[]"], ["double[]", "picky"], ["picky", "after"]]
    assert (found["total_nodes"], len(found["nodes"]), found["pages"]) == (303, 100, 4)
    assert (found["trouble"][0]["node"], found["trouble"][0]["error"]) == ("picky", "ValueError: no good: x")


def test_nodes_are_found_by_box_and_state_page_by_page(flows, http):
    run = ran(flows, n=120, wrong="x")
    second = http.get(f"{V1}/pipelines/{run}", params={"box": "double[]", "page": 2}).json()
    assert [each["node"] for each in second["nodes"]] == [f"double[{place}]" for place in range(100, 120)]
    failed = http.get(f"{V1}/pipelines/{run}", params={"state": "failed"}).json()
    assert [each["node"] for each in failed["nodes"]] == ["picky"]
    answer = http.get(f"{V1}/pipelines/{run}", params={"state": "fialed"})
    assert answer.status_code == 422
    assert "Did you mean 'failed'?" in answer.json()["error"]["text"]


def test_a_node_tells_what_it_got_gave_and_printed(flows, http):
    run = ran(flows)
    found = http.get(f"{V1}/pipelines/{run}/nodes/parts").json()
    assert (found["arguments"], found["log"], found["state"]) == ({"n": "5"}, "parts 5\n", "done")
    assert {each["node"] for each in found["then"]} == {f"double[{place}]" for place in range(5)}
    answer = http.get(f"{V1}/pipelines/{run}/nodes/partz")
    assert answer.status_code == 404
    assert "Did you mean 'parts'?" in answer.json()["error"]["text"]


def test_a_node_tells_which_part_of_its_key_differed_or_from_where_it_came(flows, http):
    first = ran(flows)
    second = ran(flows, wrong="x")
    failed = http.get(f"{V1}/pipelines/{second}/nodes/picky").json()
    assert [each["part"] for each in failed["reason"]["differences"]] == ["parameter wrong"]
    assert "no good: x" in failed["trace"]
    cached = http.get(f"{V1}/pipelines/{second}/nodes/parts").json()
    assert (cached["state"], cached["made_in"]) == ("cached", first)


def test_a_question_is_answered_once(flows, http):
    run = ran(flows, asked)
    found = http.get(f"{V1}/pipelines/{run}").json()
    assert (found["status"], [(each["text"], each["open"]) for each in found["approvals"]]) == (
        "parked", [("go on?", True)],
    )  # fmt: skip
    answer = http.post(f"{V1}/pipelines/{run}/answer", json={"yes": True, "note": "fine"})
    assert (answer.status_code, answer.json()["answer"], answer.json()["note"]) == (200, "yes", "fine")
    assert http.post(f"{V1}/pipelines/{run}/answer", json={"yes": False}).status_code == 404
    assert http.post(f"{V1}/pipelines/{run}/answer", json={"yes": False, "approval": "go on?"}).status_code == 409
    assert flows.flows.resume(run, pipeline=asked, engine="here").result() == 4


def test_an_execution_is_cancelled_once(flows, http):
    run = ran(flows, asked)
    assert http.post(f"{V1}/pipelines/{run}/cancel").json()["status"] == "cancelled"
    assert http.post(f"{V1}/pipelines/{run}/cancel").status_code == 409


def test_run_again_from_a_node_is_queued_and_computes_what_follows_anew(flows, http):
    run = ran(flows, n=3)
    made = http.post(f"{V1}/pipelines/{run}/again", json={"node": "picky"}).json()
    assert (made["status"], made["trigger"]) == ("queued", "again")
    again = flows.flows.resume(made["id"], engine="here")
    assert again.result() == 7
    states = {each.node: each.state for each in flows.flows.get(again.id).nodes}
    assert (states["parts"], states["double[2]"], states["picky"], states["after"]) == (
        "cached", "cached", "done", "done",
    )  # fmt: skip
    assert http.get(f"{V1}/pipelines/{again.id}").json()["again_of"] == run
    assert http.post(f"{V1}/pipelines/{run}/again", json={"node": "pickz"}).status_code == 404
    whole_map = http.post(f"{V1}/pipelines/{run}/again", json={"node": "double"}).json()
    flows.flows.resume(whole_map["id"], engine="here").result()
    assert flows.flows.get(whole_map["id"]).counts == {"cached": 1, "done": 5}
    plainly = http.post(f"{V1}/pipelines/{run}/again").json()
    flows.flows.resume(plainly["id"], engine="here").result()
    assert flows.flows.get(plainly["id"]).counts == {"cached": 6}


def test_a_schedule_is_paused_and_goes_on(flows, http):
    flows.flows.deploy(f"{__name__}:doubled", schedules.every("10m"), name="often")
    paused = http.post(f"{V1}/schedules/often/pause").json()
    assert (paused["paused"], paused["next_at"]) == (True, None)
    going = http.post(f"{V1}/schedules/often/pause", json={"on": False}).json()
    assert not going["paused"]
    assert going["next_at"]
    assert http.post(f"{V1}/schedules/oftn/pause").status_code == 404


def test_advice_needs_a_finished_execution(flows, http):
    answer = http.get(f"{V1}/advice/doubled")
    assert (answer.status_code, "no execution of 'doubled' has finished" in answer.json()["error"]["text"]) == (
        422,
        True,
    )


# ------------------------------------------------------------------------------------------------ webhooks


def calls(project: tm.Project) -> list[object]:
    return [event.body["body"] for event in project.ws.graph.events("webhook/push", kind="called")]


def test_a_webhook_takes_a_call_with_its_own_token_and_no_other(flows, http):
    token = flows.flows.hook("push")
    for shown in ({}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {token}"}):
        answer = httpx.post(f"{http.base_url}/hooks/push", headers=shown, json={}, trust_env=False)
        assert answer.status_code == 401, shown
    for wrong in (TOKEN, token[:-1], token + "x", "é"):
        header = [(b"Authorization", f"Bearer {wrong}".encode("latin-1"))]
        answer = httpx.post(f"{http.base_url}/hooks/push", headers=header, json={}, trust_env=False)
        assert answer.status_code == 403, wrong
        unknown = httpx.post(f"{http.base_url}/hooks/nobody", headers=header, json={}, trust_env=False)
        assert unknown.json()["error"]["text"] == answer.json()["error"]["text"].replace("push", "nobody")
    assert calls(flows) == []
    right = http.post("/hooks/push", headers={"Authorization": f"Bearer {token}"}, json={"ref": "main"})
    assert (right.status_code, right.json()["webhook"]) == (202, "push")
    assert calls(flows) == [{"ref": "main"}]
    flows.flows.hook("push", revoke=True)
    assert http.post("/hooks/push", headers={"Authorization": f"Bearer {token}"}).status_code == 403


def test_the_token_of_a_webhook_opens_nothing_else(flows, http):
    token = flows.flows.hook("push")
    assert http.get(f"{V1}/pipelines", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_the_same_delivery_is_one_call_and_an_empty_body_is_none(flows, http):
    bearer = {"Authorization": f"Bearer {flows.flows.hook('push')}", "Idempotency-Key": "d1"}
    first, second = (http.post("/hooks/push", headers=bearer) for _ in range(2))
    assert first.json()["call"] == second.json()["call"]
    assert calls(flows) == [None]


@pytest.mark.parametrize(("body", "text"), [(b"{", "is no JSON"), (b'"' + b"x" * 70_000 + b'"', "allowed are 65536"),
                                            (b"\xff", "is no JSON"), (b"[" * 100_000, "is no JSON")])  # fmt: skip
def test_a_body_that_cannot_be_taken_is_refused(flows, http, body, text):
    answer = http.post("/hooks/push", headers={"Authorization": f"Bearer {flows.flows.hook('push')}"}, content=body)
    assert answer.status_code == 422, answer.text
    assert text in answer.json()["error"]["text"]
    assert calls(flows) == []


def test_a_page_of_another_site_cannot_call_a_webhook(flows, http):
    token = flows.flows.hook("push")
    headers = {"Authorization": f"Bearer {token}", "Origin": "http://evil.example"}
    assert http.post("/hooks/push", headers=headers).status_code == 403
    assert calls(flows) == []


# ------------------------------------------------------------------------------------------------ tunings


def test_a_tuning_shows_its_study(flows, http):
    flows.add("trips", trips(), key="trip", event_time="begun", known_time="begun")
    rows = flows.dataset("trips")
    train, valid = rows.split(time=[rows.frame()["begun"].sort()[600]])
    recipe = tm.recipe(tm.scale("distance"))
    flows.tune(tuned, train, recipe, on=valid, target="late", trials=6, score=["auc", "log_loss"])
    run = flows.lineage.runs(kind="train.tune")[0].id
    found = http.get(f"{V1}/tunings/{run}").json()
    assert same(found, views.tuning(flows, run))
    assert found["counts"] == {"complete": 6}
    assert found["study"]["scores"] == [["auc", "max"], ["log_loss", "min"]]
    assert found["study"]["front"]
    assert not found["live"]


def test_what_is_no_tuning_says_so(mill):
    with pytest.raises(BadInput, match="not a tuning"):
        views.tuning(mill, mill.lineage.runs(kind="train.fit")[0].id)
    with pytest.raises(NotFound):
        views.tuning(mill, "0" * 32)


def tuned(train: tm.Matrix, strength: Annotated[float, tm.log(1e-4, 10)] = 1.0) -> object:
    return linear(train, strength)
