"""Records to canonical JSON and back, and the hash of an event: shared by every graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from tidemill.core.ids import canonical_json, digest, iso, parse_time
from tidemill.core.types import Artifact, Edge, Point, Run

GENESIS = "0" * 64


def run_body(run: Run) -> str:
    """A run as canonical JSON."""
    return canonical_json({spec.name: getattr(run, spec.name) for spec in fields(Run)}).decode()


def run_of(body: str) -> Run:
    """A run from its canonical JSON."""
    values: dict[str, Any] = json.loads(body)
    values["started_at"] = parse_time(values["started_at"])
    values["ended_at"] = None if values["ended_at"] is None else parse_time(values["ended_at"])
    return Run(**values)


def artifact_body(artifact: Artifact) -> str:
    """An artifact as canonical JSON."""
    values = {spec.name: getattr(artifact, spec.name) for spec in fields(Artifact) if spec.name != "graph"}
    return canonical_json(values).decode()


def artifact_of(body: str) -> Artifact:
    """An artifact from its canonical JSON."""
    values: dict[str, Any] = json.loads(body)
    values["created_at"] = parse_time(values["created_at"])
    return Artifact(**values)


def body_digest(body: str) -> str:
    """The digest of a record's canonical JSON."""
    return digest(body.encode())


def edges_body(edges: Sequence[Edge]) -> dict[str, Any]:
    """Edges as the body of an event."""
    return {"edges": [[edge.run_id, edge.artifact_id, edge.role, edge.slot] for edge in edges]}


def event_hash(prev: str, seq: int, said: Sequence[str]) -> str:
    """SHA-256 over the previous hash, the number and (at, actor, subject, kind, body), as canonical JSON."""
    return digest(canonical_json([prev, seq, *said]))


def event_body(body: Mapping[str, Any]) -> str:
    """The body of an event as canonical JSON."""
    return canonical_json(body).decode()


def point_row(point: Point) -> dict[str, Any]:
    """A metric point as a row, without its run."""
    return {"key": point.key, "step": point.step, "at": iso(point.at), "value": float(point.value)}


def same_meta(one: Artifact, other: Artifact) -> bool:
    """Whether two artifacts say the same of their content."""
    return canonical_json(dict(one.meta)) == canonical_json(dict(other.meta))


def like_prefix(text: str) -> str:
    """A LIKE pattern (escape character backslash) for all that begins with the text."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
