"""From the edges around the runs that were reached to a trail in breadth-first order: shared by every graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidemill.core.graph import Graph
from tidemill.core.types import Artifact, Direction, Edge, Role, Run, Trail


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk met, as ids, nearest first; `edges` are those walked."""

    runs: tuple[str, ...]
    artifacts: tuple[str, ...]
    edges: tuple[Edge, ...]


def sides(direction: Direction) -> tuple[Role, Role]:
    """The role by which a walk comes to a run, and the one by which it leaves: down comes by "out", leaves by "in"."""
    return ("out", "in") if direction == "down" else ("in", "out")


def walk(
    root: Run | Artifact, first: Iterable[str], edges: Iterable[Edge], direction: Direction, depth: int | None
) -> Walk:
    """The walk from `root`; `first` are its nearest runs, `edges` all edges of all runs that can be reached from it."""
    near, far = sides(direction)
    leaving: dict[str, list[Edge]] = {}
    coming: dict[str, list[Edge]] = {}
    for edge in sorted(edges, key=lambda one: (one.run_id, one.artifact_id, one.role, one.slot)):
        if edge.role == far:
            leaving.setdefault(edge.run_id, []).append(edge)
        if edge.role == near:
            coming.setdefault(edge.artifact_id, []).append(edge)
    found_artifacts = dict.fromkeys([root.id] if isinstance(root, Artifact) else [])
    frontier = list(dict.fromkeys(first)) if depth is None or depth > 0 else []
    found_runs = dict.fromkeys(frontier)
    level = 1
    while frontier:
        reached = [edge.artifact_id for run_id in frontier for edge in leaving.get(run_id, ())]
        fresh = [one for one in dict.fromkeys(reached) if one not in found_artifacts]
        found_artifacts |= dict.fromkeys(fresh)
        frontier = []
        if depth is None or level < depth:
            ahead = dict.fromkeys(edge.run_id for one in fresh for edge in coming.get(one, ()))
            frontier = [run_id for run_id in ahead if run_id not in found_runs]
        found_runs |= dict.fromkeys(frontier)
        level += 1
    walked = [edge for run_id in found_runs for edge in leaving.get(run_id, ())]
    walked += [edge for one in found_artifacts for edge in coming.get(one, ()) if edge.run_id in found_runs]
    return Walk(tuple(found_runs), tuple(found_artifacts), tuple(walked))


def trail(
    root: Run | Artifact,
    direction: Direction,
    found: Walk,
    runs: Mapping[str, Run],
    artifacts: Mapping[str, Artifact],
) -> Trail:
    """The walk with its records; an id without a record (a tampered database) is left out."""
    return Trail(
        root.id,
        direction,
        tuple(runs[one] for one in found.runs if one in runs),
        tuple(artifacts[one] for one in found.artifacts if one in artifacts),
        tuple(edge for edge in found.edges if edge.run_id in runs and edge.artifact_id in artifacts),
    )


def bound(artifact: Artifact, graph: Graph) -> Artifact:
    """The artifact, able to answer `.trace()`; faster than dataclasses.replace, which a long trail would feel."""
    return Artifact(
        artifact.id,
        artifact.kind,
        artifact.name,
        artifact.version,
        artifact.digest,
        artifact.created_at,
        artifact.run_id,
        artifact.meta,
        graph,
    )
