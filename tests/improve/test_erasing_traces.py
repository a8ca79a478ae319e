"""A person is erased from traces: spans, tags, metadata, previews, judgements, files; the rest of them stays."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from erased_world import holders, told

from tidemill.core.graphs.committing import committer_of
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.improve import sweeping
from tidemill.improve.erasure import erasing
from tidemill.track import files
from tidemill.track.tracing import assessments, otlp, searching, traces

EMAIL, NAME = "yoko@example.org", "Yoko Ünal"
TRACE, OTHER = f"tr-{'0a' * 16}", f"tr-{'0b' * 16}"


@pytest.fixture(params=["local", "remote"])
def ws(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    if request.param == "remote":
        monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "state"))
        bucket: str = request.getfixturevalue("bucket")
        made = open_workspace(request.getfixturevalue("new_database")(), store=f"s3://{bucket}/mill")
    else:
        made = open_workspace(tmp_path / "w.mill")
    names = {"id": ["p1", "p2"], "email": [EMAIL, "other@example.com"], "name": [NAME, "Other Person"]}
    datasets.add(made, "people", pl.DataFrame(names), key="id")
    yield made
    made.close()


def left_in(ws: Workspace) -> list[str]:
    found = holders(ws.root, [EMAIL, NAME])
    if "://" in ws.url:
        found += ["the database"] if EMAIL in told(ws.url) else []
        found += [f"object {blob.digest}" for blob in ws.store.list() if EMAIL.encode() in ws.store.get(blob.digest)]
    return found


def test_nothing_of_the_person_is_left_of_traces(ws: Workspace) -> None:
    said = json.dumps({"to": EMAIL, "of": NAME})  # the name within JSON within JSON, its Ü escaped
    span = {
        "id": "01" * 8, "parent": None, "name": f"mail {EMAIL}", "start": 5, "end": 9, "status": "ERROR",
        "message": f"no {EMAIL}", "events": [{"name": "e", "at": 6, "attributes": {EMAIL: [NAME]}}],
        "attributes": {"id": EMAIL, "mlflow.spanInputs": said, "deep": [{"parent": {"actor": NAME}}], "n": 7},
        "links": [{"trace": OTHER, "id": "02" * 8, "attributes": {"kind": EMAIL}}],
    }  # fmt: skip
    call = committer_of(ws).call
    sent = otlp.Sent(TRACE, [span], {"of": EMAIL})
    call(traces.logging_spans(ws, 0, [sent, otlp.Sent(OTHER, [{**span, "name": "a", "message": "b", "events": [],
         "attributes": {"who": "other@example.com"}, "links": []}])]))  # fmt: skip
    call(traces.starting(ws, traces.Given(TRACE, 0, 5, 9, "OK", f"from {EMAIL}", f"q {EMAIL}", f"a {NAME}",
         {"who": EMAIL, EMAIL: "x"}, {"mlflow.trace.user": EMAIL})))  # fmt: skip
    judged = {"assessment_name": "right", "feedback": {"value": EMAIL}, "rationale": f"as {NAME} said",
              "source": {"source_type": "HUMAN", "source_id": EMAIL}, "metadata": {"k": EMAIL}}  # fmt: skip
    call(assessments.creating(ws, TRACE, judged))
    for path, data in (("traces.json", said.encode()), ("a.gz", gzip.compress(said.encode()))):
        digest = ws.store.put(data)
        call(lambda now, path=path, digest=digest: files.record(now, TRACE, [(path, digest, 1)], "me"))  # type: ignore[misc]
    assert left_in(ws) != []
    other = traces.with_spans(ws, [OTHER])
    erased = erasing.erase(ws, EMAIL, columns={"people": ["email"]})
    assert left_in(ws) == []
    assert erased.left == ()
    assert ws.graph.verify() == []
    assert traces.with_spans(ws, [OTHER]) == other
    ((state, (found,)),) = traces.with_spans(ws, [TRACE])
    assert (state["request_preview"], state["state"], state["at_ms"]) == ("q (erased)", "OK", 5)
    assert state["tags"]["who"] == "(erased)"
    assert found["attributes"]["n"] == 7
    assert found["attributes"]["deep"] == [{"parent": {"actor": "(erased)"}}]
    assert json.loads(found["attributes"]["mlflow.spanInputs"]) == {"to": "(erased)", "of": "(erased)"}
    assert [each["id"] for each in searching.search(ws, [0], "status = 'OK'").traces] == [TRACE]
    assert searching.search(ws, [0], "text LIKE '%yoko%'").traces == ()


def test_a_sweep_keeps_what_traces_refer_to_and_takes_what_they_gave_up(ws: Workspace) -> None:
    call = committer_of(ws).call
    kept, gone, named = (ws.store.put(text) for text in (b"kept", b"gone", b"named"))
    for trace_id, digest in ((TRACE, kept), (OTHER, gone)):
        span = {"id": "01" * 8, "parent": None, "name": "a", "start": 5, "end": 9, "status": "OK",
                "attributes": {"blob": named} if trace_id == TRACE else {}}  # fmt: skip
        call(traces.logging_spans(ws, 0, [otlp.Sent(trace_id, [span])]))
        call(lambda now, of=trace_id, digest=digest: files.record(now, of, [("a", digest, 4)], "me"))  # type: ignore[misc]
    traces.delete(ws, 0, trace_ids=[OTHER])
    sweeping.sweep(ws, older_than_s=0.0)
    assert (ws.store.has(kept), ws.store.has(named), ws.store.has(gone)) == (True, True, False)
