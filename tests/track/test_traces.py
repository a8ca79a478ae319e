"""Traces are kept as they come, vouched for by the log, judged, found, deleted; the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from otlp_messages import a_request

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.graphs.committing import committer_of
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.track import experiments, files, tracking
from tidemill.track.tracing import assessments, otlp, searching, traces

MS = 1_000_000
START = 1_700_000_000_000


@pytest.fixture(params=["sqlite", "postgres"])
def ws(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    if request.param == "postgres":
        monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "state"))
        made = open_workspace(request.getfixturevalue("new_database")(), store=str(tmp_path / "store"))
    else:
        made = open_workspace(tmp_path / "w.mill")
    yield made
    made.close()


def send(ws: Workspace, *spans: dict[str, Any], place: int = 0, resource: dict[str, Any] | None = None) -> int:
    sent = otlp.read(a_request(*spans, resource=resource))
    return committer_of(ws).call(traces.logging_spans(ws, place, sent))


def span(number: int, parent: int | None = None, *, trace: int = 1, **more: Any) -> dict[str, Any]:
    """A span that begins `number` ms after START and takes 10 ms."""
    start = (START + number) * MS
    ids = {"trace": f"{trace:032x}", "id": f"{number + 1:016x}"}
    ids |= {} if parent is None else {"parent": f"{parent + 1:016x}"}
    return {**ids, "name": f"step {number}", "start": start, "end": start + 10 * MS, **more}


def name(trace: int = 1) -> str:
    return f"tr-{trace:032x}"


def start(ws: Workspace, trace: int = 1, /, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "trace_id": name(trace), "experiment": 0, "at_ms": START, "duration_ms": 25, "state": "OK",
        "client_request_id": None, "request_preview": None, "response_preview": None, "tags": {}, "metadata": {},
    }  # fmt: skip
    return committer_of(ws).call(traces.starting(ws, traces.Given(**{**given, **more})))


def found(ws: Workspace, filter: str, **more: Any) -> list[int]:
    return [int(each["id"][3:], 16) for each in searching.search(ws, [0], filter, **more).traces]


def test_spans_make_a_trace_that_says_what_they_say(ws: Workspace) -> None:
    said = {"mlflow.spanInputs": {"messages": [{"role": "user", "content": "why?"}]}, "mlflow.spanOutputs": "so",
            "session.id": "s", "user.id": "u", "mlflow.traceTag.team": "red"}  # fmt: skip
    usage = {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}
    send(ws, span(5, 0, attributes={"mlflow.chat.tokenUsage": usage, "mlflow.spanType": "LLM"}))
    assert traces.get(ws, name())["state"] == "IN_PROGRESS"
    send(ws, span(0, attributes=said, status="ERROR"), span(7, 0, attributes={"gen_ai.usage.input_tokens": 1}),
         resource={"service.name": "shop", "telemetry.sdk.name": "otel"})  # fmt: skip
    state = traces.get(ws, name())
    assert (state["at_ms"], state["duration_ms"], state["state"]) == (START, 17, "ERROR")
    assert (state["request_preview"], state["response_preview"]) == ("why?", "so")
    assert state["tags"] == {
        "mlflow.artifactLocation": f"mlflow-artifacts:/0/traces/{name()}/artifacts", "mlflow.traceName": "step 0",
        "mlflow.trace.spansLocation": "TRACKING_STORE", "service.name": "shop", "team": "red",
    }  # fmt: skip
    totals = json.loads(state["metadata"].pop("mlflow.trace.tokenUsage"))
    assert totals == {"input_tokens": 3, "output_tokens": 3, "total_tokens": 6}
    assert state["metadata"] == {"mlflow.trace.session": "s", "mlflow.trace.user": "u"}
    ((_, spans),) = traces.with_spans(ws, [name()])
    assert [each["name"] for each in spans] == ["step 0", "step 5", "step 7"]


def test_tokens_that_a_parent_adds_up_are_counted_once(ws: Workspace) -> None:
    usage = {"mlflow.chat.tokenUsage": {"input_tokens": 4, "output_tokens": 1, "total_tokens": 5}}
    send(ws, span(2, 1, attributes=usage))
    send(ws, span(1, 0, attributes=usage))
    send(ws, span(0))
    totals = json.loads(traces.get(ws, name())["metadata"]["mlflow.trace.tokenUsage"])
    assert totals == {"input_tokens": 4, "output_tokens": 1, "total_tokens": 5}


def test_the_same_request_again_changes_nothing(ws: Workspace) -> None:
    assert send(ws, span(0), span(1, 0)) == 2
    before = len(ws.graph.events())
    assert send(ws, span(0), span(1, 0)) == 0
    assert len(ws.graph.events()) == before


def test_a_span_that_comes_again_changed_counts_as_it_came_last(ws: Workspace) -> None:
    send(ws, span(0, status="UNSET"))
    send(ws, span(0, status="OK", name="done"))
    ((_, spans),) = traces.with_spans(ws, [name()])
    assert [(each["name"], each["status"]) for each in spans] == [("done", "OK")]


def test_what_the_client_says_of_a_trace_counts_more_than_its_spans(ws: Workspace) -> None:
    given: dict[str, Any] = {
        "tags": {"mlflow.traceName": "mine", "a": "b"},
        "metadata": {"mlflow.trace.tokenUsage": "{}"},
    }
    start(ws, state="ERROR", request_preview="asked", **given)
    send(ws, span(0, attributes={"mlflow.spanInputs": "x", "mlflow.spanOutputs": "y"}), span(90, 0))
    state = traces.get(ws, name())
    assert (state["at_ms"], state["duration_ms"], state["state"]) == (START, 25, "ERROR")
    assert (state["request_preview"], state["response_preview"]) == ("asked", "y")
    assert state["tags"]["mlflow.traceName"] == "mine"
    assert state["metadata"] == {"mlflow.trace.tokenUsage": "{}"}


def test_a_trace_is_whole_when_all_its_spans_came(ws: Workspace) -> None:
    start(ws, metadata={"mlflow.trace.sizeStats": '{"num_spans": 2}'})
    for number, parent in ((0, None), (1, 0)):
        send(ws, span(number, parent))
        assert traces.is_whole(*traces.with_spans(ws, [name()])[0]) == (number == 1)


def test_an_unknown_or_deleted_experiment_takes_no_traces(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="no experiment with id 7"):
        send(ws, span(0), place=7)
    place = experiments.create(ws, "gone").id
    experiments.delete(ws, place)
    with pytest.raises(BadInput, match="is deleted; restore it first"):
        send(ws, span(0), place=place)


@pytest.mark.parametrize("wrong", ["", "../x", "a b", "x" * 129, "ü/", "a\x00"])
def test_a_trace_is_not_named_anyhow(ws: Workspace, wrong: str) -> None:
    with pytest.raises(BadInput, match="a trace cannot be named"):
        start(ws, trace_id=wrong)


EDITS = {
    "the state": ("UPDATE traces SET body = replace(body, 'step 0', 'step 9')", "its record is not what the log says"),
    "a copy": ("UPDATE traces SET state = 'ERROR'", "its state is not what its record says"),
    "the spans": (
        "UPDATE trace_spans SET body = replace(body, 'step 0', 'step 9')",
        "its spans of event 1 were edited",
    ),
    "its spans gone": ("DELETE FROM trace_spans", "its spans of event 1 are gone"),
    "it gone": ("DELETE FROM traces", "the log speaks of it, but its row is gone"),
    "another's spans": ("UPDATE trace_spans SET trace_id = 'tr-x'", "spans of event 1: its row is not in the log"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_trace_is_found_by_verify(ws: Workspace, edit: str) -> None:
    send(ws, span(0))
    assert ws.graph.verify() == []
    statement, said = EDITS[edit]
    with ws.graph._engine.begin() as link:  # type: ignore[attr-defined]  # behind the graph's back
        assert link.execute(sa.text(statement)).rowcount == 1
    seq = ws.graph.events(f"trace/{name()}")[-1].seq
    assert any(said.replace("event 1", f"event {seq}") in fault.what for fault in ws.graph.verify())


def test_a_workspace_of_schema_2_opens_and_takes_traces(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    from tidemill.core.graphs import migrate

    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
    root = tmp_path / "old.mill"
    open_workspace(root).close()
    (root / "graph.db").unlink()
    engine = sa.create_engine(f"sqlite:///{root / 'graph.db'}")
    with engine.begin() as link:
        config.attributes["connection"] = link
        command.upgrade(config, "2")
        assert not sa.inspect(link).has_table("traces")
    engine.dispose()
    ws = open_workspace(root)
    run = tracking.start(ws, tags={"a": "b"})
    send(ws, span(0))
    assert tracking.get(ws, run.run.id).tags["a"] == "b"
    assert found(ws, "") == [1]
    assert ws.graph.verify() == []
    ws.close()


def test_deleted_traces_leave_nothing_but_their_events(ws: Workspace) -> None:
    for number in (1, 2, 3):
        send(ws, span(number, trace=number))
    with_file = traces.get(ws, name(1))
    digest = ws.store.put(b"picture")
    committer_of(ws).call(lambda now: files.record(now, with_file["id"], [("a.png", digest, 7)], "me"))
    assert traces.delete(ws, 0, until_ms=START + 2, most=1) == 1
    assert traces.states(ws, [name(1)]) == []
    assert files.under(ws, name(1)) == []
    assert traces.delete(ws, 0, trace_ids=[name(2), "tr-none"]) == 1
    assert traces.delete(ws, 9, trace_ids=[name(3)]) == 0
    assert ws.graph.verify() == []
    assert found(ws, "") == [3]
    with pytest.raises(BadInput, match="must be specified"):
        traces.delete(ws, 0)
    send(ws, span(1, trace=1))  # what comes late makes it again
    assert ws.graph.verify() == []


def test_tags_runs_and_prompts_of_a_trace(ws: Workspace) -> None:
    send(ws, span(0))
    run = tracking.start(ws).run.id
    call = committer_of(ws).call
    call(traces.tagging(ws, name(), "a", "b"))
    assert traces.get(ws, name())["tags"]["a"] == "b"
    call(traces.untagging(ws, name(), "a"))
    with pytest.raises(NotFound, match=f"No trace tag with key 'a' for trace with ID '{name()}'"):
        call(traces.untagging(ws, name(), "a"))
    assert call(traces.linking(ws, [name(), "tr-none"], run)) == 1
    assert call(traces.linking(ws, [name()], run)) == 0
    with pytest.raises(NotFound, match="no run 'x'"):
        call(traces.linking(ws, [name()], "x"))
    call(traces.linking_prompts(ws, name(), ["hello/1"]))
    assert found(ws, f"run_id = '{run}'") == found(ws, "prompt = 'hello/1'") == [1]
    assert found(ws, "prompt = 'hello/2'") == []


def test_a_judgement_is_made_changed_overridden_and_taken_back(ws: Workspace) -> None:
    send(ws, span(0))
    call = committer_of(ws).call
    given = {"assessment_name": "right", "feedback": {"value": True}, "source": {"source_type": "HUMAN"}}
    first = call(assessments.creating(ws, name(), given))
    change = {"feedback": {"value": False}, "metadata": {"a": "b"}}
    call(assessments.updating(ws, name(), first["assessment_id"], change, ["feedback", "metadata"]))
    assert assessments.get(ws, name(), first["assessment_id"])["feedback"] == {"value": False}
    other = call(assessments.creating(ws, name(), {**given, "overrides": first["assessment_id"]}))
    assert assessments.get(ws, name(), first["assessment_id"])["valid"] is False
    assert found(ws, "feedback.right = 'true'") == [1]
    assert found(ws, "feedback.right = 'false'") == []
    call(assessments.deleting(ws, name(), other["assessment_id"]))
    call(assessments.deleting(ws, name(), other["assessment_id"]))
    assert found(ws, "feedback.right = 'false'") == [1]
    with pytest.raises(BadInput, match="Cannot update expectation value on an assessment that is an feedback"):
        call(assessments.updating(ws, name(), first["assessment_id"], {"expectation": {"value": 1}}, ["expectation"]))
    with pytest.raises(NotFound, match="Assessment with ID 'a-x' not found for trace"):
        assessments.get(ws, name(), "a-x")
    for wrong in ({"assessment_name": "", "feedback": {}}, {"assessment_name": "a"}, {**given, "expectation": {}}):
        with pytest.raises(BadInput):
            call(assessments.creating(ws, name(), wrong))
    assert ws.graph.verify() == []


FILTERS = {
    "": [4, 3, 2, 1],
    "status = 'ERROR'": [2],
    "trace.status != 'ERROR' AND attributes.timestamp_ms < 1700000000003": [1],
    "status = 'ERROR' OR name = 'step 4'": [4, 2],
    "NOT (status = 'ERROR')": [4, 3, 1],
    "NOT tags.team = 'red'": [4, 3],
    "name LIKE 'step %'": [4, 3, 2, 1],
    "name IN ('step 1', 'step 2')": [2, 1],
    "tags.`mlflow.traceName` ILIKE 'STEP 3'": [3],
    "tags.team = 'red'": [2, 1],
    "tags.team != 'red'": [3],
    "tags.team IS NULL": [4],
    "tags.team IS NOT NULL": [3, 2, 1],
    "tags.team LIKE 'r%'": [2, 1],
    "metadata.`mlflow.trace.session` = 's1'": [1],
    "request_metadata.`mlflow.trace.session` IS NULL": [4, 3, 2],
    "execution_time_ms >= 110": [2],
    "end_time > 1700000000100": [2],
    "request_id = '" + "tr-" + f"{3:032x}" + "'": [3],
    "span.name = 'inner' AND span.type = 'TOOL'": [1],
    "span.name = 'inner' AND span.type = 'LLM'": [],
    "span.name = 'inner' AND span.attributes.model = 'm1'": [1],
    "span.type = 'LLM' AND span.attributes.model = 'm1'": [],
    "span.status = 'ERROR'": [2],
    "span.attributes.model LIKE 'm%'": [1],
    "span.attributes.`a.b` = '7'": [3],
    "span.content LIKE '%wörds%'": [3],
    "text ILIKE '%WÖRDS%'": [3],
    "trace.text LIKE '%100\\%%'": [],
    "run_id IS NULL": [4, 3, 2],
    "client_request_id = 'c-1'": [1],
    "client_request_id IS NULL": [4, 3, 2],
    "feedback.score > 0.5": [1],
    "feedback.score <= 0.5": [2],
    "feedback.score = 0.8": [1],
    "feedback.score IS NULL": [4, 3],
    "feedback.right = 'true'": [2],
    "feedback.right > 0": [],
    "expectation.answer = '42'": [3],
    "expectation.answer != '42'": [],
    "issue.id = 'i-1'": [4],
    "feedback.score > 0.5 AND tags.team = 'red'": [1],
}


@pytest.fixture
def some(ws: Workspace) -> Workspace:
    """Four traces, each another."""
    run = tracking.start(ws).run.id
    inner = {"mlflow.spanType": "TOOL", "model": "m1"}
    send(ws, span(1, attributes={"mlflow.spanType": "LLM"}), span(9, 1, name="inner", attributes=inner))
    start(ws, 1, at_ms=START + 1, duration_ms=20, client_request_id="c-1", tags={"team": "red"},
          metadata={"mlflow.trace.session": "s1", "mlflow.sourceRun": run})  # fmt: skip
    send(ws, span(2, trace=2, status="ERROR"), span(102, 2, trace=2), resource={"team": "red"})
    send(ws, span(3, trace=3, attributes={"a.b": 7, "said": "in wörds"}), resource={"team": "blue"})
    send(ws, span(4, trace=4))
    for trace, given in (
        (1, {"assessment_name": "score", "feedback": {"value": 0.8}}),
        (2, {"assessment_name": "score", "feedback": {"value": 0.5}}),
        (2, {"assessment_name": "right", "feedback": {"value": True}}),
        (3, {"assessment_name": "answer", "expectation": {"value": 42.0}}),
        (4, {"assessment_name": "i-1", "issue": {"issue_name": "slow"}}),
    ):
        committer_of(ws).call(assessments.creating(ws, name(trace), given))
    return ws


def test_a_filter_finds_its_traces(some: Workspace) -> None:
    assert {each: found(some, each) for each in FILTERS} == FILTERS


ORDERS = {
    "timestamp_ms ASC": [1, 2, 3, 4],
    "execution_time DESC": [2, 1, 4, 3],
    "status ASC": [2, 4, 3, 1],
    "name DESC": [4, 3, 2, 1],
    "tags.team ASC": [3, 2, 1, 4],
    "tags.team DESC": [2, 1, 3, 4],
    "metadata.`mlflow.trace.session` DESC": [1, 4, 3, 2],
    "request_id ASC": [1, 2, 3, 4],
    "run_id ASC": [1, 4, 3, 2],
}


def test_traces_come_in_their_order_page_by_page(some: Workspace) -> None:
    assert {each: found(some, "", order_by=[each]) for each in ORDERS} == ORDERS
    paged: dict[str, list[int]] = {}
    for order in ORDERS:
        token: str | None = None
        while order not in paged or token is not None:
            page = searching.search(some, [0], order_by=[order], limit=1, token=token)
            paged.setdefault(order, []).extend(int(each["id"][3:], 16) for each in page.traces)
            token = page.token
    assert paged == ORDERS


@pytest.mark.parametrize(
    "wrong",
    ["nothing = 'x'", "status > 5", "status = 5", "span.nothing = 'x'", "span.content = 'x'", "text = 'x'",
     "span.attributes. = 'x'", "metrics.a = 1", "prompt LIKE 'x'", "status =", "timestamp_ms = 'x'",
     "issue.name = 'x'", "experiment_id = 5"],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(ws: Workspace, wrong: str) -> None:
    with pytest.raises(BadInput):
        searching.search(ws, [0], wrong)


def test_a_token_of_another_search_is_refused(some: Workspace) -> None:
    token = searching.search(some, [0], limit=1).token
    with pytest.raises(BadInput, match="belongs to another search"):
        searching.search(some, [0], "status = 'OK'", limit=1, token=token)
    assert searching.search(some, [5]).traces == ()
    assert searching.search(some, []).traces == ()
    with pytest.raises(BadInput, match="a page of 0 traces"):
        searching.search(some, [0], limit=0)
