"""Recorded runs: found, shown, and many in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from tidemill.core.errors import NotFound
from tidemill.core.ids import iso
from tidemill.core.types import Artifact, Query, Run
from tidemill.core.workspace import Workspace


def find(ws: Workspace, *, kind: str | None = None, name: str | None = None, limit: int = 100) -> list[Run]:
    """Recorded runs, newest first. kind: exact, or a prefix such as "train.*"."""
    return [found for found in ws.graph.find(Query("run", kind=kind, name=name, limit=limit)) if isinstance(found, Run)]


def get(ws: Workspace, run_id: str) -> Run:
    """The run of that id (or its first 8 digits or more); NotFound otherwise."""
    found = ws.graph.get(run_id)
    if not isinstance(found, Run):
        raise NotFound(f"{run_id!r} is the artifact {found.label}, no run; see `tidemill trace {run_id}`")
    return found


def describe(ws: Workspace, run_id: str) -> dict[str, Any]:
    """A run and the artifacts that it read and made, as JSON values."""
    found = get(ws, run_id)
    artifacts = []
    for edge in ws.graph.edges([found.id]):
        artifact = ws.graph.get(edge.artifact_id)
        if isinstance(artifact, Artifact):
            artifacts.append({"role": edge.role, "slot": edge.slot, "label": artifact.label, "id": artifact.id})
    value = {spec.name: getattr(found, spec.name) for spec in fields(Run)}
    value |= {"started_at": iso(found.started_at), "ended_at": None if found.ended_at is None else iso(found.ended_at)}
    value |= {name: dict(value[name]) for name in ("params", "metrics", "tags")}
    points = [
        {"key": point.key, "step": point.step, "at": iso(point.at), "value": point.value}
        for point in ws.graph.series(found.id)
    ]
    return {**value, "duration_s": found.duration_s, "artifacts": artifacts, "series": points}


def compare(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row a run, with the parameters and metrics that any of them has; params are prefixed "params."."""
    params = sorted({name for each in runs for name in each.params})
    metrics = sorted({name for each in runs for name in each.metrics})
    return [
        {
            "id": each.id,
            "kind": each.kind,
            "name": each.name,
            "status": each.status,
            "duration_s": each.duration_s,
            **{f"params.{name}": each.params.get(name) for name in params},
            **{name: each.metrics.get(name) for name in metrics},
        }
        for each in runs
    ]
