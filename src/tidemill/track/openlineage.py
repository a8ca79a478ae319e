"""Runs as OpenLineage events, to a file or to a collector.

Each run gives a START event and, once it has ended, one of COMPLETE, FAIL and ABORT. A job is the kind and name of a
run; each artifact is a dataset of the same kind and name, its version a facet. Source: OpenLineage specification 2-0-2
and its facets, in the versions named below.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from tidemill.core.errors import BadInput, NoRoom, NotFound, TidemillError
from tidemill.core.ids import canonical_json, iso, new_id
from tidemill.core.outbound import Outbound, shown
from tidemill.core.types import Artifact, Edge, Query, Run
from tidemill.core.workspace import MARKER, Workspace

SPEC = "https://openlineage.io/spec"
CORE = f"{SPEC}/2-0-2/OpenLineage.json#/$defs"
FACETS = {
    "parent": "1-2-0/ParentRunFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
    "schema": "1-2-0/SchemaDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "documentation": "1-1-0/DocumentationDatasetFacet",
    "ownership": "1-0-1/OwnershipDatasetFacet",
    "tags": "1-0-0/TagsDatasetFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
}
ENDS = {"done": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT"}
ALL = 10_000_000
BATCH = 500

State = Literal["START", "COMPLETE", "FAIL", "ABORT"]
Json = dict[str, Any]  # Any: JSON values


def event_of(ws: Workspace, run: Run, *, state: State | None = None) -> Json:
    """One event of the run: of its end, or of its start while it runs. state: "START" for the start of an ended run.

    Raises BadInput for an end that the run did not come to.
    """
    return _Teller(ws).event(run, state)


def events_of(ws: Workspace, run: Run) -> list[Json]:
    """All events of the run: START, and its end if it has ended."""
    return list(_Teller(ws).events([run]))


def export(
    ws: Workspace,
    target: str | os.PathLike[str],
    *,
    runs: Iterable[Run] | None = None,
    private: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Json:
    """Write the events of runs (all by default, oldest first) to a file or send them to a collector.

    target: a file, one event a line (ndjson), written whole or not at all; or http(s)://..., the collector's address,
    such as https://collector.example/api/v1/lineage: one POST an event. private: the collector may have a private
    address. headers: such as Authorization; never recorded. Returns {"events", "runs", "target"}. Run ids are the same
    at each export, so a collector that gets a run twice knows it. Raises NoRoom, and what `core.outbound` raises.
    """
    chosen = list(runs) if runs is not None else _oldest_first(ws)
    told = _Teller(ws).events(chosen)
    text = os.fspath(target)
    if "://" in text:
        with Outbound(text, private=private, headers=headers) as collector:
            count = 0
            for each in told:
                collector.post(canonical_json(each))
                count += 1
        return {"events": count, "runs": len(chosen), "target": shown(text)}
    return {"events": _write(Path(text), told), "runs": len(chosen), "target": text}


def _oldest_first(ws: Workspace) -> list[Run]:
    found = ws.graph.find(Query("run", limit=ALL))
    return [run for run in reversed(found) if isinstance(run, Run)]


def _write(path: Path, events: Iterable[Json]) -> int:
    draft = path.with_name(f".{path.name}.{new_id()}")
    count = 0
    try:
        with draft.open("wb") as file:
            for each in events:
                file.write(canonical_json(each) + b"\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except TidemillError:
        raise
    except OSError as error:
        raise NoRoom(f"cannot write {path}: {error.strerror}; name a file in a folder that can be written") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return count


class _Teller:
    """Tells runs as events; what it has looked up once it keeps."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.producer = f"urn:tidemill:{installed('tidemill')}"
        self.namespace = f"tidemill:{_workspace_id(ws)}"
        self.artifacts: dict[str, Artifact | None] = {}
        self.governance: dict[str, Mapping[str, Any]] = {}
        self.edges: dict[str, list[Edge]] = {}

    def events(self, runs: Iterable[Run]) -> Iterator[Json]:
        """START and end of each."""
        left = list(runs)
        for start in range(0, len(left), BATCH):
            batch = left[start : start + BATCH]
            self._look_up([run.id for run in batch])
            for run in batch:
                yield self.event(run, "START")
                if run.status in ENDS:
                    yield self.event(run, None)

    def _look_up(self, run_ids: Sequence[str]) -> None:
        """The edges of many runs by one question: 822 runs are told in 0.6 s, one by one in 4 s."""
        self.edges = {run_id: [] for run_id in run_ids}
        for edge in self.ws.graph.edges(run_ids):
            if edge.run_id in self.edges:
                self.edges[edge.run_id].append(edge)

    def event(self, run: Run, state: State | None) -> Json:
        """One event."""
        told = state or ENDS.get(run.status, "START")
        if told not in ("START", ENDS.get(run.status)):
            raise BadInput(f"run {run.id} is {run.status}; it has no event {told}, only START and its own end")
        ended = told != "START"
        inputs, outputs = self._datasets(run) if ended else (self._datasets(run)[0], [])
        at = run.ended_at if ended and run.ended_at is not None else run.started_at
        return {
            "eventType": told,
            "eventTime": iso(at),
            "run": {"runId": str(UUID(run.id)), "facets": self._run_facets(run, ended=ended)},
            "job": {"namespace": self.namespace, "name": _job(run), "facets": self._job_facets(run)},
            "inputs": inputs,
            "outputs": outputs,
            "producer": self.producer,
            "schemaURL": f"{CORE}/RunEvent",
        }

    def _run_facets(self, run: Run, *, ended: bool) -> Json:
        mine: Json = {
            "actor": run.actor,
            "code": run.code,
            "environment": run.environment,
            "params": dict(run.params),
            "tags": dict(run.tags),
        }
        if ended:  # as text: JSON has no word for an infinite loss
            metrics = {key: value if abs(value) < float("inf") else str(value) for key, value in run.metrics.items()}
            mine |= {"metrics": metrics, "cpu_s": run.cpu_s}
        facets = {"tidemill_run": self._own("RunFacet", mine)}
        parent = self._parent(run)
        if parent is not None:
            facets["parent"] = self._facet(
                "parent",
                {
                    "run": {"runId": str(UUID(parent.id))},
                    "job": {"namespace": self.namespace, "name": _job(parent)},
                },
            )
        if ended and run.error is not None:
            facets["errorMessage"] = self._facet(
                "errorMessage", {"message": run.error, "programmingLanguage": "PYTHON"}
            )
        return facets

    def _job_facets(self, run: Run) -> Json:
        kind = {"processingType": "BATCH", "integration": "TIDEMILL", "jobType": run.kind.upper().replace(".", "_")}
        return {"jobType": self._facet("jobType", kind)}

    def _parent(self, run: Run) -> Run | None:
        if run.parent is None:
            return None
        try:
            found = self.ws.graph.get(run.parent)
        except NotFound:
            return None
        return found if isinstance(found, Run) else None

    def _datasets(self, run: Run) -> tuple[list[Json], list[Json]]:
        inputs: dict[str, Json] = {}
        outputs: dict[str, Json] = {}
        if run.id not in self.edges:
            self._look_up([run.id])
        for edge in self.edges[run.id]:
            artifact = self._artifact(edge.artifact_id)
            if artifact is None:
                continue
            told: Json = {"namespace": self.namespace, "name": f"{artifact.kind}/{artifact.name}"}
            told["facets"] = self._dataset_facets(artifact)
            if edge.role == "in":
                inputs.setdefault(artifact.id, told)
            else:
                rows = artifact.meta.get("added", artifact.meta.get("rows"))
                if isinstance(rows, int):
                    told["outputFacets"] = {"outputStatistics": self._facet("outputStatistics", {"rowCount": rows})}
                outputs.setdefault(artifact.id, told)
        return list(inputs.values()), list(outputs.values())

    def _artifact(self, node_id: str) -> Artifact | None:
        if node_id not in self.artifacts:
            found = self.ws.graph.get(node_id)
            self.artifacts[node_id] = found if isinstance(found, Artifact) else None
        return self.artifacts[node_id]

    def _dataset_facets(self, artifact: Artifact) -> Json:
        facets = {
            "version": self._facet("version", {"datasetVersion": str(artifact.version)}),
            "tidemill_artifact": self._own("DatasetFacet", {"id": artifact.id, "digest": artifact.digest}),
        }
        columns = artifact.meta.get("columns")
        if isinstance(columns, Mapping):
            fields = [{"name": name, "type": str(kind)} for name, kind in columns.items()]
            facets["schema"] = self._facet("schema", {"fields": fields})
        if artifact.kind == "dataset":
            facets |= self._governed(artifact.name)
        return facets

    def _governed(self, dataset: str) -> Json:
        """What people said about the dataset: the last event of "governance/<dataset>" (see catalogue.governance)."""
        if dataset not in self.governance:
            said = self.ws.graph.events(f"governance/{dataset}", kind="set", last=1)
            self.governance[dataset] = said[0].body if said else {}
        body = self.governance[dataset]
        facets: Json = {}
        if body.get("description"):
            facets["documentation"] = self._facet("documentation", {"description": body["description"]})
        owners = [
            {"name": f"user:{body[part]}", "type": part.upper()} for part in ("owner", "steward") if body.get(part)
        ]
        if owners:
            facets["ownership"] = self._facet("ownership", {"owners": owners})
        tags = [
            {"key": tag.partition(":")[0], "value": tag.partition(":")[2] or "true", "source": "USER", "field": column}
            for column, each in sorted(dict(body.get("tags") or {}).items())
            for tag in each
        ]
        if tags:
            facets["tags"] = self._facet("tags", {"tags": tags})
        return facets

    def _facet(self, name: str, value: Json) -> Json:
        number, _, title = FACETS[name].partition("/")
        where = f"{SPEC}/facets/{number}/{title}.json#/$defs/{title}"
        return {"_producer": self.producer, "_schemaURL": where, **value}

    def _own(self, base: str, value: Json) -> Json:
        """A facet of our own: the specification asks only for what each facet has."""
        return {"_producer": self.producer, "_schemaURL": f"{CORE}/{base}", **value}


def _job(run: Run) -> str:
    return f"{run.kind}/{run.name}"


def _workspace_id(ws: Workspace) -> str:
    """The id in the workspace's marker, which moves with its folder; of a database, one made of its address."""
    if "://" in ws.url:
        return ws.root.name
    return str(json.loads((ws.root / MARKER).read_text()).get("id", ws.root.name))
