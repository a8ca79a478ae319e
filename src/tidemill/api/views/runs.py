"""Runs: a page of the list, and one run with all that is recorded of it."""

from __future__ import annotations

import json
from typing import Any

from tidemill.api.views.shaping import Shown, artifact_line, numbers, plain, run_line
from tidemill.api.views.tracking.run import tracked
from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.ids import iso
from tidemill.core.types import Artifact, Query, Run, Status
from tidemill.core.workspace import Workspace
from tidemill.project import Project

STATUSES: tuple[Status, ...] = ("running", "done", "failed", "cancelled")
CONTENT_BYTES = 64 * 1024  # a report of more is named, not shown
INSIDE = 200  # runs inside a run that are shown
MOST = 1_000


def runs(
    project: Project,
    *,
    kind: str | None = None,
    name: str | None = None,
    status: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Shown:
    """A page of runs, newest first. kind: exact, or a prefix such as "train.*". before: the id in `next` of the page
    before. limit: 1 to 1,000."""
    if status and status not in STATUSES:
        raise BadInput(f"status {status!r} is not known; allowed: {', '.join(STATUSES)}.{nearest(status, STATUSES)}")
    if not 1 <= limit <= MOST:
        raise BadInput(f"limit {limit} is out of range; allowed: 1 to {MOST}")
    query = Query(
        "run",
        kind=kind or None,
        name=name or None,
        status=status or None,
        before=before or None,
        limit=limit + 1,
    )
    found = [run for run in project.ws.graph.find(query) if isinstance(run, Run)]
    shown = found[:limit]
    return {
        "kind": kind,
        "name": name,
        "status": status,
        "limit": limit,
        "runs": [run_line(run) for run in shown],
        "next": shown[-1].id if len(found) > limit else None,
    }


def run(project: Project, run_id: str, *, across: str = "step", smooth: float = 0.0) -> Shown:
    """One run: parameters, metrics, series, inputs, outputs, the runs inside it, its code and environment.

    run_id: or its first 8 digits or more. across, smooth: of the curves in `tracked`, which is what trackers show
    (None of other runs). `series` holds at most 2,000 points of a metric there. Raises NotFound.
    """
    found = find_run(project, run_id)
    shown = tracked(project, found, across=across, smooth=smooth)
    graph = project.ws.graph
    inputs, outputs = _beside(project.ws, found)
    inside = [each for each in graph.find(Query("run", parent=found.id, limit=INSIDE)) if isinstance(each, Run)]
    return {
        **run_line(found),
        "ended_at": None if found.ended_at is None else iso(found.ended_at),
        "key": found.key,
        "params": plain(found.params),
        "tags": plain(found.tags),
        "parent": None if found.parent is None else _parent(project, found.parent),
        "inputs": inputs,
        "outputs": outputs,
        "inside": [run_line(each) for each in reversed(inside)],
        "series": _series(project.ws, found) if shown is None else shown.pop("series"),
        "tracked": shown,
        "code": {"digest": found.code, "text": _text(project.ws, found.code)},
        "environment": _environment(project.ws, found.environment),
        "metrics": numbers(found.metrics),
    }


def find_run(project: Project, run_id: str) -> Run:
    """The run of that id; NotFound says what the id is instead, or which runs are newest."""
    try:
        found = project.ws.graph.get(run_id)
    except NotFound as error:
        newest = ", ".join(f"{each.id} ({each.kind} {each.name})" for each in project.lineage.runs(limit=3))
        raise NotFound(f"{error}. The newest runs are: {newest or 'none'}. See /runs.") from error
    if isinstance(found, Artifact):
        raise NotFound(f"{run_id!r} is no run but the artifact {found.label}; see /trace/{found.id}")
    return found


def _beside(ws: Workspace, run: Run) -> tuple[list[Shown], list[Shown]]:
    """What the run read and what it made, each with its slot; small reports with their content."""
    sides: dict[str, list[Shown]] = {"in": [], "out": []}
    for edge in ws.graph.edges([run.id]):
        artifact = ws.graph.get(edge.artifact_id)
        assert isinstance(artifact, Artifact)
        line = {"slot": edge.slot, **artifact_line(artifact)}
        if edge.role == "out" and artifact.kind == "report":
            line["content"] = _content(ws, artifact)
        sides[edge.role].append(line)
    return tuple(sorted(side, key=lambda line: (line["slot"], line["id"])) for side in sides.values())  # type: ignore[return-value]  # two sides


def _content(ws: Workspace, artifact: Artifact) -> Any:  # Any: a JSON value
    try:
        data = ws.store.get(artifact.digest)
        return plain(json.loads(data)) if len(data) <= CONTENT_BYTES else None
    except (NotFound, ValueError):
        return None


def _parent(project: Project, parent: str) -> Shown:
    found = project.ws.graph.get(parent)
    assert isinstance(found, Run)
    return {"id": found.id, "kind": found.kind, "name": found.name}


def _series(ws: Workspace, run: Run) -> dict[str, list[list[float | None]]]:
    """Metric series of more than one point: [step, value] pairs."""
    found: dict[str, list[list[float | None]]] = {}
    for key, points in ((key, value) for key, value in _grouped(ws, run).items() if len(value) > 1):
        found[key] = points
    return found


def _grouped(ws: Workspace, run: Run) -> dict[str, list[list[float | None]]]:
    grouped: dict[str, list[list[float | None]]] = {}
    for point in ws.graph.series(run.id):
        value = numbers({"value": point.value})["value"]
        grouped.setdefault(point.key, []).append([point.step, value])
    return grouped


def _text(ws: Workspace, digest: str | None) -> str | None:
    try:
        return None if digest is None else ws.store.get(digest).decode()
    except (NotFound, UnicodeDecodeError):
        return None


def _environment(ws: Workspace, digest: str | None) -> Shown:
    text = _text(ws, digest)
    try:
        described = {} if text is None else json.loads(text)
    except ValueError:
        described = {}
    return {"digest": digest, **plain(described)}
