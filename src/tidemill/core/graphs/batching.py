"""What writing a batch comes to, whatever holds the graph: the rows to keep and the events that tell of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tidemill.core.errors import Conflict, NotFound
from tidemill.core.graphs import records
from tidemill.core.types import Artifact, Batch, Edge, Event, Json

Row = dict[str, Any]  # as in the tables of schema.py
Said = tuple[str, str, Json, str, str | None]  # an event: subject, kind, body, actor, key


@dataclass(frozen=True, slots=True)
class Known:
    """What a graph has of the things that a batch names.

    runs: id to (status, body). newest: (kind, name) to the newest artifact. artifacts: the ids that are there.
    keys: the keys of events that are there. edges: of the edges that it is given, those that are there.
    """

    runs: Mapping[str, tuple[str, str]]
    newest: Mapping[tuple[str, str], Artifact]
    artifacts: Collection[str]
    keys: Collection[str]
    edges: Callable[[Sequence[Edge]], Collection[Edge]]


@dataclass(frozen=True, slots=True)
class Asked:
    """The things that a batch names, in a fixed order: what to look up before it is written."""

    runs: list[str]
    names: list[tuple[str, str]]
    artifacts: list[str]
    keys: list[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write. runs: new ones and new states of known ones. made: the artifacts as recorded, in order."""

    runs: list[Row]
    artifacts: list[Row]
    edges: list[Edge]
    events: list[Said]
    made: tuple[Artifact, ...]


def asked(batch: Batch) -> Asked:
    """What a batch names."""
    named = [run.id for run in batch.runs]
    named += [artifact.run_id for _, artifact in batch.artifacts if artifact.run_id is not None]
    named += [edge.run_id for edge in batch.edges]
    fresh = {artifact.id for _, artifact in batch.artifacts}
    return Asked(
        runs=sorted(set(named)),
        names=sorted({(artifact.kind, artifact.name) for _, artifact in batch.artifacts}),
        artifacts=sorted({edge.artifact_id for edge in batch.edges} | fresh),
        keys=sorted({event.key for event in batch.events if event.key is not None}),
    )


def plan(batch: Batch, known: Known) -> Plan:
    """What writing the batch comes to. Raises what put_run, put, link and record raise."""
    states, run_events = _runs(batch, known)
    actors = _actors(batch, known)
    rows, places, made, artifact_events, outputs = _artifacts(batch, known, actors)
    edges = [
        *outputs,
        *(replace(edge, artifact_id=places.get(edge.artifact_id, edge.artifact_id)) for edge in batch.edges),
    ]
    fresh_ids = {row["id"] for row in rows}
    for edge in batch.edges:
        if edge.artifact_id not in places and edge.artifact_id not in known.artifacts:
            raise NotFound(f"no artifact {edge.artifact_id!r} to link; put it first")
    wanted = list(dict.fromkeys(edges))
    # Only a run and an artifact that were there before can have been linked before.
    old = [edge for edge in wanted if edge.run_id in known.runs and edge.artifact_id not in fresh_ids]
    there = set(known.edges(old)) if old else set()
    edges = [edge for edge in wanted if edge not in there]
    linked: list[Said] = [
        (f"run/{run_id}", "run.link", records.edges_body(some), actors[run_id], None)
        for run_id, some in records.by_run(edges).items()
    ]
    return Plan(
        list(states.values()), rows, edges, [*run_events, *artifact_events, *linked, *_events(batch, known)], made
    )


def chained(last_seq: int, last_hash: str, said: Iterable[Said], at: datetime) -> list[Row]:
    """The rows of events that follow the one with that seq and hash."""
    rows: list[Row] = []
    for subject, kind, body, actor, key in said:
        last_seq += 1
        row = records.event_row(Event(last_seq, at, actor, subject, kind, body, last_hash, "", key))
        last_hash = row["hash"] = records.event_hash(row)
        rows.append(row)
    return rows


def _runs(batch: Batch, known: Known) -> tuple[dict[str, Row], list[Said]]:
    """The last state of each run that changes, and an event for each change."""
    states: dict[str, Row] = {}
    events: list[Said] = []
    for run in batch.runs:
        row = records.run_row(run)
        before = states.get(run.id)
        status, body = (before["status"], before["body"]) if before else known.runs.get(run.id, ("running", None))
        if body == row["body"]:
            continue
        if status != "running" and run.kind not in records.CHANGING:
            raise Conflict(f"run {run.id} ended as {status!r}; an ended run cannot change, start another one")
        states[run.id] = row
        events.append(
            (f"run/{run.id}", f"run.{run.status}", {"digest": records.body_digest(row["body"])}, run.actor, None)
        )
    return states, events


def _actors(batch: Batch, known: Known) -> dict[str, str]:
    """The actor of each run that gets an artifact or an edge."""
    named = [artifact.run_id for _, artifact in batch.artifacts if artifact.run_id is not None]
    actors = {run.id: run.actor for run in batch.runs}
    for run_id in dict.fromkeys([*named, *(edge.run_id for edge in batch.edges)]):
        if run_id in actors:
            continue
        if run_id not in known.runs:
            raise NotFound(f"no run {run_id!r} to add to; put_run it first")
        actors[run_id] = str(json.loads(known.runs[run_id][1])["actor"])
    return actors


def _artifacts(
    batch: Batch, known: Known, actors: Mapping[str, str]
) -> tuple[list[Row], dict[str, str], tuple[Artifact, ...], list[Said], list[Edge]]:
    """Rows of new versions, the recorded id for each given one, the artifacts as recorded, events, edges to them."""
    newest, rows, places = dict(known.newest), [], {}
    made: list[Artifact] = []
    events: list[Said] = []
    outputs: list[Edge] = []
    taken: set[str] = set()
    for slot, given in batch.artifacts:
        before = newest.get((given.kind, given.name))
        if before is not None and records.same_content(before, given):
            kept = before
        else:
            if given.id in taken or given.id in known.artifacts:
                raise Conflict(f"artifact {given.id} is there already; give a new id: tidemill.core.ids.new_id()")
            kept = replace(given, version=1 if before is None else before.version + 1, graph=None)
            row = records.artifact_row(kept)
            rows.append(row)
            taken.add(kept.id)
            newest[kept.kind, kept.name] = kept
            actor = "local" if kept.run_id is None else actors[kept.run_id]
            events.append(
                (f"artifact/{kept.id}", "artifact.put", {"digest": records.body_digest(row["body"])}, actor, None)
            )
        places[given.id] = kept.id
        made.append(kept)
        if given.run_id is not None:
            outputs.append(Edge(given.run_id, kept.id, "out", slot))
    return rows, places, tuple(made), events, outputs


def _events(batch: Batch, known: Known) -> list[Said]:
    seen = set(known.keys)
    found: list[Said] = []
    for event in batch.events:
        records.check_event(event.subject, event.kind, event.actor, event.key)
        if event.key is None or event.key not in seen:
            found.append((event.subject, event.kind, event.body, event.actor, event.key))
        if event.key is not None:
            seen.add(event.key)
    return found
