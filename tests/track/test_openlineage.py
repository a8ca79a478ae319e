"""Runs as OpenLineage events: every one valid against the specification, to a file and to a collector."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from tidemill.core.errors import BadInput, NoRoom, NotFound, Refused, ServerFailed
from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data.catalogue import governance
from tidemill.track import openlineage, runs

Json = dict[str, Any]


def need(properties: Json, *required: str, more: Json | None = None) -> Json:
    """An object of the specification: what it has, and what of that must be there."""
    return {"type": "object", "properties": properties, "required": list(required), **(more or {})}


# What the specification 2-0-2 asks of a run event (OpenLineage.json), and what the facets in use ask, by the versions
# that a facet names in its _schemaURL. Checked besides with the models of the client openlineage-python 1.54.0.
TEXT: Json = {"type": "string"}
FACET = need({"_producer": TEXT, "_schemaURL": TEXT}, "_producer", "_schemaURL")
FACETS = {"type": "object", "additionalProperties": FACET}
RUN = need({"runId": TEXT, "facets": FACETS}, "runId")
JOB = need({"namespace": TEXT, "name": TEXT, "facets": FACETS}, "namespace", "name")
DATASET = need({**JOB["properties"], "inputFacets": FACETS, "outputFacets": FACETS}, "namespace", "name")
EVENT = need(
    {
        "eventTime": TEXT,
        "producer": TEXT,
        "schemaURL": TEXT,
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "run": RUN,
        "job": JOB,
        "inputs": {"type": "array", "items": DATASET},
        "outputs": {"type": "array", "items": DATASET},
    },
    *("eventTime", "producer", "schemaURL", "run", "job"),
)
OF_FACETS: dict[str, Json] = {
    "1-2-0/ParentRunFacet": need({"run": RUN, "job": JOB}, "run", "job"),
    "1-0-1/ErrorMessageRunFacet": need(
        {"message": TEXT, "programmingLanguage": TEXT}, "message", "programmingLanguage"
    ),
    "2-0-4/JobTypeJobFacet": need(
        {"processingType": TEXT, "integration": TEXT, "jobType": TEXT}, "processingType", "integration"
    ),
    "1-2-0/SchemaDatasetFacet": need(
        {"fields": {"type": "array", "items": need({"name": TEXT, "type": TEXT, "description": TEXT}, "name")}}
    ),
    "1-0-1/DatasetVersionDatasetFacet": need({"datasetVersion": TEXT}, "datasetVersion"),
    "1-1-0/DocumentationDatasetFacet": need({"description": TEXT}, "description"),
    "1-0-1/OwnershipDatasetFacet": need(
        {"owners": {"type": "array", "items": need({"name": TEXT, "type": TEXT}, "name")}}
    ),
    "1-0-0/TagsDatasetFacet": need(
        {
            "tags": {
                "type": "array",
                "items": need({"key": TEXT, "value": TEXT, "source": TEXT, "field": TEXT}, "key", "value"),
            }
        }
    ),
    "1-0-2/OutputStatisticsOutputDatasetFacet": need(
        {"rowCount": {"type": "integer"}, "size": {"type": "integer"}, "fileCount": {"type": "integer"}}
    ),
}


def facets_of(event: Json) -> Iterator[tuple[str, Json]]:
    for part in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        for key in ("facets", "inputFacets", "outputFacets"):
            yield from part.get(key, {}).items()


def check(event: Json) -> None:
    """Raise unless the event is valid: its shape, and the formats uuid, date-time and uri."""
    Draft202012Validator(EVENT).validate(event)
    UUID(event["run"]["runId"])
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    for name, facet in facets_of(event):
        where = urlsplit(facet["_schemaURL"])
        assert (where.scheme, where.netloc) == ("https", "openlineage.io"), name
        if not name.startswith("tidemill_"):
            version, _, title = where.path.removeprefix("/spec/facets/").removesuffix(".json").partition("/")
            assert where.fragment == f"/$defs/{title}"
            Draft202012Validator(OF_FACETS[f"{version}/{title}"]).validate(facet)
    for uri in (event["producer"], event["schemaURL"], *(facet["_producer"] for _, facet in facets_of(event))):
        assert urlsplit(uri).scheme, uri


def named(ws: Workspace, kind: str, name: str) -> Run:
    (found,) = runs.find(ws, kind=kind, name=name)
    return found


def test_the_check_finds_what_is_wrong(story: Workspace) -> None:
    good = openlineage.event_of(story, named(story, "train.fit", "tree"))
    check(good)
    for spoil in (
        lambda event: event.pop("eventTime"),
        lambda event: event["run"].pop("runId"),
        lambda event: event["inputs"][0].pop("name"),
        lambda event: event["run"]["facets"]["parent"].pop("job"),
        lambda event: event["job"]["facets"]["jobType"].pop("_producer"),
        lambda event: event.update(eventType="DONE"),
    ):
        bad = json.loads(json.dumps(good))
        spoil(bad)
        with pytest.raises(Exception, match=r"required|is not one of"):
            check(bad)


def test_every_run_gives_valid_events_a_start_and_its_end(story: Workspace) -> None:
    governance.describe(story, "people", owner="ada", steward="bob", description="All customers.")
    governance.tag(story, "people", "email", "pii:email")
    told = {}
    for run in runs.find(story):
        events = openlineage.events_of(story, run)
        for event in events:
            check(event)
        told[f"{run.kind} {run.name}"] = [event["eventType"] for event in events]
    assert told == {
        "train.fit bush": ["START", "FAIL"],
        "train.fit tree": ["START", "COMPLETE"],
        "train.tune search": ["START", "COMPLETE"],
        "data.import people": ["START", "COMPLETE"],
    }


def test_an_event_tells_what_was_read_and_made(story: Workspace, people: DatasetVersion) -> None:
    governance.describe(story, "people", owner="ada", description="All customers.")
    governance.tag(story, "people", "email", "pii:email")
    run = named(story, "train.fit", "tree")
    event = openlineage.event_of(story, run)
    assert event["eventType"] == "COMPLETE"
    assert event["run"]["runId"].replace("-", "") == run.id
    assert event["job"]["name"] == "train.fit/tree"
    parent = event["run"]["facets"]["parent"]
    assert parent["run"]["runId"].replace("-", "") == run.parent
    assert parent["job"]["name"] == "train.tune/search"
    mine = event["run"]["facets"]["tidemill_run"]
    assert (mine["params"], mine["metrics"]) == ({"depth": 3}, {"auc": 0.9, "loss": "inf", "odd": "nan"})
    (read,), (made,) = event["inputs"], event["outputs"]
    assert (read["name"], made["name"]) == ("dataset/people", "model/churn")
    facets = read["facets"]
    assert facets["version"]["datasetVersion"] == "1"
    assert facets["schema"]["fields"][1] == {"name": "email", "type": "String"}
    assert facets["ownership"]["owners"] == [{"name": "user:ada", "type": "OWNER"}]
    assert facets["documentation"]["description"] == "All customers."
    assert facets["tags"]["tags"] == [{"key": "pii", "value": "email", "source": "USER", "field": "email"}]
    assert facets["tidemill_artifact"]["digest"] == people.digest
    imported = openlineage.event_of(story, named(story, "data.import", "people"))
    assert imported["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 2


def test_a_failed_run_tells_its_error_and_a_cancelled_one_aborts(story: Workspace) -> None:
    event = openlineage.event_of(story, named(story, "train.fit", "bush"))
    assert event["run"]["facets"]["errorMessage"]["message"] == "ValueError: no luck"
    with pytest.raises(KeyboardInterrupt), recorded(story, "train.fit", "vine"):
        raise KeyboardInterrupt
    assert openlineage.event_of(story, named(story, "train.fit", "vine"))["eventType"] == "ABORT"


def test_a_running_run_has_a_start_only(ws: Workspace) -> None:
    with recorded(ws, "train.fit", "oak") as run:
        (event,) = openlineage.events_of(ws, run.run)
        check(event)
        assert event["eventType"] == "START"
        with pytest.raises(BadInput, match=r"is running; it has no event COMPLETE, only START and its own end"):
            openlineage.event_of(ws, run.run, state="COMPLETE")


def test_a_moved_workspace_keeps_its_namespace_and_another_has_another(story: Workspace, tmp_path: Path) -> None:
    event = openlineage.event_of(story, named(story, "train.fit", "tree"))
    story.close()
    moved = tmp_path / "moved.mill"
    story.root.rename(moved)
    again = open_workspace(moved)
    assert openlineage.event_of(again, named(again, "train.fit", "tree")) == event
    again.close()
    other = open_workspace(tmp_path / "b.mill")
    with recorded(other, "train.fit", "tree") as run:
        assert openlineage.event_of(other, run.run)["job"]["namespace"] != event["job"]["namespace"]
    other.close()


# ------------------------------------------------------------------------------------------------------- export


def test_a_file_has_one_event_a_line_oldest_run_first(story: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "events.ndjson"
    assert openlineage.export(story, target) == {"events": 8, "runs": 4, "target": str(target)}
    events = [json.loads(line) for line in target.read_text().splitlines()]
    for event in events:
        check(event)
    assert [event["job"]["name"] for event in events][::2] == [
        "data.import/people",
        "train.tune/search",
        "train.fit/tree",
        "train.fit/bush",
    ]
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["events.ndjson"]  # no draft stays


def test_a_file_is_written_whole_or_not_at_all(story: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "events.ndjson"
    target.write_text("before\n")
    broken = Run("no uuid", "train.fit", "x", "done", named(story, "train.fit", "tree").started_at)
    with pytest.raises(ValueError, match="badly formed"):
        openlineage.export(story, target, runs=[*runs.find(story), broken])
    assert target.read_text() == "before\n"
    with pytest.raises(
        NoRoom, match=r"cannot write .*events\.ndjson: No such file or directory; name a file in a folder"
    ):
        openlineage.export(story, tmp_path / "nowhere" / "events.ndjson")


class Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.got.append(  # type: ignore[attr-defined]
            (self.path, self.headers["Authorization"], self.rfile.read(int(self.headers["Content-Length"])))
        )
        self.send_response(201 if self.path == "/api/v1/lineage" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@pytest.fixture
def collector() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    made.got = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_collector_gets_one_post_an_event(story: Workspace, collector: ThreadingHTTPServer) -> None:
    url = f"http://127.0.0.1:{collector.server_port}/api/v1/lineage"
    done = openlineage.export(story, url, private=True, headers={"Authorization": "Bearer secret"})
    assert done == {"events": 8, "runs": 4, "target": url}
    got = collector.got  # type: ignore[attr-defined]
    assert {(path, token) for path, token, _ in got} == {("/api/v1/lineage", "Bearer secret")}
    for _, _, body in got:
        check(json.loads(body))
    openlineage.export(story, url, private=True)
    assert [body for _, _, body in got[:8]] == [body for _, _, body in got[8:]]  # the same ids at each export


def test_a_collector_inside_must_be_allowed_and_its_refusal_is_told(
    story: Workspace, collector: ThreadingHTTPServer
) -> None:
    url = f"http://127.0.0.1:{collector.server_port}"
    with pytest.raises(Refused, match=r"leads to 127\.0\.0\.1, which is not a public address"):
        openlineage.export(story, f"{url}/api/v1/lineage")
    with pytest.raises(ServerFailed, match=r"/other answered 404"):
        openlineage.export(story, f"{url}/other", private=True)
    with pytest.raises(NotFound, match=r"has no address"):
        openlineage.export(story, "https://nowhere.invalid/")
