"""Runs and artifacts that the graphs' suite makes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tidemill.core.graph import Graph
from tidemill.core.ids import digest, new_id
from tidemill.core.types import Artifact, Edge, Run, Trail

AT = datetime(2013, 4, 1, 12, 30, tzinfo=UTC)


def a_run(name: str = "flights", *, kind: str = "data.import", key: str | None = None, run_id: str = "") -> Run:
    """A run that has begun."""
    return Run(run_id or new_id(), kind, name, "running", AT, key=key)


def ended(run: Run) -> Run:
    """The run, done."""
    return replace(run, status="done", ended_at=AT + timedelta(seconds=2), metrics={"rows": 3.0}, cpu_s=0.5)


def an_artifact(content: str, name: str = "flights", *, kind: str = "dataset", run: Run | None = None) -> Artifact:
    """An artifact with that content."""
    made_by = None if run is None else run.id
    return Artifact(new_id(), kind, name, 0, digest(content.encode()), AT, made_by, {"note": content})


def a_chain(graph: Graph, length: int) -> tuple[list[Run], list[Artifact]]:
    """A line of runs: the first makes an artifact, each later one reads the one before and makes the next."""
    runs: list[Run] = []
    made: list[Artifact] = []
    for place in range(length):
        runs.append(graph.put_run(a_run(f"step{place}", kind="flow.step")))
        if made:
            graph.link([Edge(runs[-1].id, made[-1].id, "in", "data")])
        made.append(graph.put(an_artifact(f"content {place}", f"thing{place}", run=runs[-1])))
    return runs, made


def ids(trail: Trail) -> tuple[list[str], list[str]]:
    """The ids of a trail's runs and artifacts."""
    return [run.id for run in trail.runs], [artifact.id for artifact in trail.artifacts]
