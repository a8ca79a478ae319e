"""The joints: from a prediction down to rows and code, and from a row up to every model and prediction it touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from tidemill.core.errors import NotFound
from tidemill.core.types import Artifact, Query, Run, Trail
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue import shown
from tidemill.train.rowids import holds_row
from tidemill.watch import log, truth

Json = dict[str, Any]  # Any: JSON values


def prediction_trace(ws: Workspace, prediction_id: str) -> Json:
    """All behind one answer, as a tree: deployment, model, runs, datasets, row ids, labels, code.

    What came from personal columns is masked for who may not see them.
    """
    found = log.find(ws, prediction_id)
    (deployed,) = ws.graph.find(
        Query("artifact", kind="deployment", name=found.deployment, version=found.revision, limit=1)
    )
    assert isinstance(deployed, Artifact)
    model = ws.graph.get(found.model_id)
    assert isinstance(model, Artifact)
    known = truth.truths(ws, found.deployment).filter(pl.col("ref").is_in([found.id, found.row_key]))
    found = shown.prediction(ws, found)
    return {
        "prediction": found.id,
        "row": found.row_key,
        "score": found.score,
        "asked_for": found.at,
        "logged_at": found.logged_at,
        "role": found.role,
        "truth": known["value"].to_list()[-1] if known.height else None,
        "features": dict(found.features),
        "deployment": deployed.label,
        "model": model.label,
        "tree": tree(ws.graph.trail(model.id, "down")),
    }


def tree(trail: Trail) -> Json:
    """A trail as nested mappings: an artifact has the run that made it, a run its inputs; each is told once."""
    artifacts = {artifact.id: artifact for artifact in trail.artifacts}
    runs = {run.id: run for run in trail.runs}
    far = "in" if trail.direction == "down" else "out"
    beside: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for edge in trail.edges:
        if edge.role == far:
            after.setdefault(edge.run_id, []).append(edge.artifact_id)
        else:
            beside.setdefault(edge.artifact_id, []).append(edge.run_id)
    told: set[str] = set()

    def of_run(run: Run) -> Json:
        node: Json = {"run": f"{run.kind} {run.name}", "id": run.id, "code": run.code, "environment": run.environment}
        node |= {"params": dict(run.params), "metrics": dict(run.metrics), "status": run.status}
        if run.id in told:
            return {"run": node["run"], "id": run.id, "told": "above"}
        told.add(run.id)
        children = [of_artifact(artifacts[one]) for one in dict.fromkeys(after.get(run.id, [])) if one in artifacts]
        return {**node, "artifacts": children}

    def of_artifact(artifact: Artifact) -> Json:
        node: Json = {"artifact": artifact.label, "id": artifact.id, "digest": artifact.digest}
        node |= {name: artifact.meta[name] for name in ("rows", "message", "what") if name in artifact.meta}
        if artifact.id in told:
            return {"artifact": artifact.label, "id": artifact.id, "told": "above"}
        told.add(artifact.id)
        makers = [of_run(runs[one]) for one in dict.fromkeys(beside.get(artifact.id, [])) if one in runs]
        return {**node, "runs": makers}

    if trail.root in runs:
        return of_run(runs[trail.root])
    return of_artifact(artifacts[trail.root])


def row_impact(ws: Workspace, dataset: str, key: str) -> Json:
    """What one row touched: dataset versions that hold it, models trained on it, the answers about it."""
    versions = []
    for version in reversed(datasets.log(ws, dataset)):
        keys = datasets.scan(ws, version, columns=[version.key], verify=False)
        held = keys.filter(pl.col(version.key).cast(pl.String) == key)
        if held.select(pl.len()).collect().item():
            versions.append(version)
    if not versions:
        raise NotFound(f"no version of dataset {dataset!r} holds row {key!r}; see `tidemill dataset show {dataset}`")
    models = [model for model in _models(ws) if _trained_on(ws, model, key)]
    answers: list[Json] = []
    counts: Json = {}
    for deployment in log.deployments(ws):
        seen = log.predictions(ws, deployment, columns=["id", "row_key", "revision", "model_id", "role", "score", "at"])
        mine = seen.filter(pl.col("row_key") == key)
        answers += [{"deployment": deployment, **row, "at": row["at"].isoformat()} for row in mine.to_dicts()]
        counts[deployment] = {model.label: seen.filter(pl.col("model_id") == model.id).height for model in models}
    return {
        "dataset": dataset,
        "row": key,
        "versions": [version.artifact.label for version in versions],
        "models": [model.label for model in models],
        "answers_of_these_models": counts,
        "answers_about_this_row": answers,
    }


def _models(ws: Workspace) -> list[Artifact]:
    found = ws.graph.find(Query("artifact", kind="model", limit=100_000))
    return [model for model in reversed(found) if isinstance(model, Artifact)]


def _trained_on(ws: Workspace, model: Artifact, key: str) -> bool:
    rows_id = model.meta.get("rows")
    if rows_id is None:
        return False
    rows = ws.graph.get(str(rows_id))
    return isinstance(rows, Artifact) and holds_row(ws, rows, key)


def lines(node: Mapping[str, Any], depth: int = 0) -> list[str]:
    """A tree of `tree` as indented lines."""
    pad = "  " * depth
    if "run" in node:
        more = f" code {node['code'][:12]}" if node.get("code") else ""
        told = " (above)" if node.get("told") else ""
        shown = json.dumps(node["params"], default=str)[:80] if node.get("params") else ""
        out = [f"{pad}run {node['run']} [{node['id'][:12]}]{more} {shown}{told}".rstrip()]
        children = node.get("artifacts", [])
    else:
        rows = f", {node['rows']:,} rows" if isinstance(node.get("rows"), int) else ""
        told = " (above)" if node.get("told") else ""
        out = [f"{pad}{node['artifact']} {node.get('digest', '')[:12]}{rows}{told}".rstrip()]
        children = node.get("runs", [])
    for child in children:
        out += lines(child, depth + 1)
    return out
