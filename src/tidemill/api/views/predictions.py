"""One prediction: what was asked, who answered, and what proved true."""

from __future__ import annotations

from tidemill.api.views.deployments import find_artifact
from tidemill.api.views.shaping import Shown, artifact_line, finite, plain
from tidemill.core.types import Artifact, Prediction, Query
from tidemill.core.workspace import Workspace
from tidemill.project import Project


def prediction(project: Project, prediction_id: str) -> Shown:
    """The answer of that id with its model, its deployment's revision and its truth, if that is known.

    What came from personal columns is masked for who may not see them. Raises NotFound.
    """
    from tidemill.data.catalogue import shown
    from tidemill.watch import log

    ws = project.ws
    found = log.find(ws, prediction_id)
    model = find_artifact(ws, found.model_id)
    revision = revision_of(ws, found)
    rows = None if model is None else find_artifact(ws, str(model.meta.get("rows", "")))
    truth = _truth(ws, found)
    found = shown.prediction(ws, found)
    return {
        "id": found.id,
        "deployment": found.deployment,
        "revision": found.revision,
        "row_key": found.row_key,
        "at": found.at,
        "logged_at": found.logged_at,
        "role": found.role,
        "score": finite(found.score),
        "latency_ms": found.latency_s * 1000,
        "error": found.error,
        "features": plain(found.features),
        "model": None if model is None else artifact_line(model),
        "deployed": None if revision is None else artifact_line(revision),
        "training_rows": None if rows is None else {**artifact_line(rows), "rows": rows.meta.get("rows")},
        "truth": truth,
    }


def revision_of(ws: Workspace, found: Prediction) -> Artifact | None:
    """The deployment's revision that answered."""
    query = Query("artifact", kind="deployment", name=found.deployment, version=found.revision, limit=1)
    return next((each for each in ws.graph.find(query) if isinstance(each, Artifact)), None)


def _truth(ws: Workspace, found: Prediction) -> Shown | None:
    import polars as pl

    from tidemill.watch import truth

    if truth.newest(ws, found.deployment) is None:
        return None
    asked = pl.DataFrame({"id": [found.id], "row_key": [found.row_key]})
    for row in truth.beside(ws, found.deployment, asked).to_dicts():
        return {"value": finite(row["value"]), "known_at": plain(row["known_time"])}
    return None
