"""The trace of an id: all that a run, an artifact or a prediction came from (or led to), as nodes and links."""

from __future__ import annotations

from tidemill.api.views.predictions import revision_of
from tidemill.api.views.shaping import Shown, artifact_line, plain, run_line
from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.types import Artifact, Direction, Prediction, Run
from tidemill.project import Project

DIRECTIONS = ("down", "up")


def trace(project: Project, node_id: str, *, direction: str = "down", depth: int | None = None) -> Shown:
    """Nodes in breadth-first order from the root, and links (from, to, slot) leading away from it.

    node_id: of a run, an artifact or a prediction. direction: "down" to what it came from, "up" to what came from it.
    depth: counts runs; None is all. Raises NotFound, BadInput.
    """
    if direction not in DIRECTIONS:
        raise BadInput(
            f"direction {direction!r} is not known; allowed: down (what it came from), up (what came from it)."
            f"{nearest(direction, DIRECTIONS)}"
        )
    way: Direction = "down" if direction == "down" else "up"
    asked, start = _root(project, node_id)
    trail = project.ws.graph.trail(start.id, way, depth=depth)
    artifacts = {each.id: artifact_node(each) for each in trail.artifacts}
    runs = {each.id: run_node(each) for each in trail.runs}
    first = artifact_node(start) if isinstance(start, Artifact) else run_node(start)
    nodes = {start.id: first, **artifacts, **runs}
    links = []
    for edge in trail.edges:
        made = edge.role == "out"
        # Away from the root: downwards an artifact leads to the run that made it, and a run to what it read.
        above, below = (edge.artifact_id, edge.run_id) if made == (way == "down") else (edge.run_id, edge.artifact_id)
        if above in nodes and below in nodes:
            links.append({"from": above, "to": below, "slot": edge.slot})
    root = start.id
    if isinstance(asked, Prediction):
        root = asked.id
        label = f"prediction {asked.id[:12]}"
        node = {"id": asked.id, "what": "prediction", "kind": "prediction", "name": asked.row_key, "label": label}
        nodes = {root: {**node, "href": f"/predictions/{root}"}, **nodes}
        links = [{"from": root, "to": start.id, "slot": "answered by"}, *links]
    return {
        "root": root,
        "direction": way,
        "depth": depth,
        "node": _details(asked),
        "nodes": list(nodes.values()),
        "links": links,
        "n_runs": len(runs),
        "n_artifacts": len(artifacts),
    }


def artifact_node(artifact: Artifact) -> Shown:
    """An artifact as a node. href: the page that shows it best."""
    return {**artifact_line(artifact), "what": "artifact", "href": _href(artifact)}


def run_node(run: Run) -> Shown:
    """A run as a node."""
    line = run_line(run)
    keys = ("id", "kind", "name", "status", "started_at")
    kept = {key: line[key] for key in keys}
    return {**kept, "what": "run", "label": f"{run.kind} {run.name}", "href": f"/runs/{run.id}"}


def _href(artifact: Artifact) -> str:
    if artifact.kind == "dataset":
        return f"/datasets/{artifact.name}?version={artifact.version}"
    if artifact.kind == "model":
        return f"/models/{artifact.name}/{artifact.version}"
    if artifact.kind == "deployment":
        return f"/deployments/{artifact.name}"
    return f"/trace/{artifact.id}"


def _root(project: Project, node_id: str) -> tuple[Run | Artifact | Prediction, Run | Artifact]:
    """What was asked for, and the node of the graph where its trail starts."""
    from tidemill.data.catalogue import shown
    from tidemill.watch import log

    try:
        found = project.ws.graph.get(node_id)
    except NotFound as error:
        try:
            answered = log.find(project.ws, node_id)
        except NotFound:
            raise NotFound(f"no run, artifact or prediction {node_id!r}: {error}") from error
        revision = revision_of(project.ws, answered)
        if revision is None:
            raise NotFound(
                f"prediction {node_id} was answered by revision {answered.revision} of {answered.deployment!r}, which "
                "is not recorded; run `tidemill audit verify`"
            ) from error
        return shown.prediction(project.ws, answered), revision
    return found, found


def _details(asked: Run | Artifact | Prediction) -> Shown:
    if isinstance(asked, Artifact):
        return {**artifact_node(asked), "meta": plain(asked.meta)}
    if isinstance(asked, Run):
        return {**run_node(asked), "params": plain(asked.params)}
    return {"what": "prediction", "id": asked.id, "label": f"prediction {asked.id[:12]}", "row_key": asked.row_key,
            "deployment": asked.deployment, "at": asked.at}  # fmt: skip
