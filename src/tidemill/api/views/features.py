"""Feature views: the list, and one view with its sources and what its online stores hold."""

from __future__ import annotations

from tidemill.api.views.shaping import Shown, artifact_line, run_line
from tidemill.core.types import Artifact, Query, Run
from tidemill.data.feature_store.views import KIND, View
from tidemill.project import Project


def feature_views(project: Project) -> Shown:
    """All feature views by name, each with its newest definition."""
    newest: dict[str, Artifact] = {}
    for found in project.ws.graph.find(Query("artifact", kind=KIND, limit=100_000)):
        if isinstance(found, Artifact):
            newest.setdefault(found.name, found)
    return {"views": [_line(project, newest[name]) for name in sorted(newest)]}


def feature_view(project: Project, name: str) -> Shown:
    """One feature view: its sources, features and materializations. NotFound names the nearest."""
    from tidemill.data.feature_store import views

    view = views.get(project.ws, name)
    artifact = next(
        each
        for each in project.ws.graph.find(Query("artifact", kind=KIND, name=name, limit=1))
        if isinstance(each, Artifact)
    )
    runs = project.ws.graph.find(Query("run", kind="data.materialize", name=name, limit=20))
    return {
        **_line(project, artifact),
        "definition": view.body(),
        "materialized": [run_line(each) for each in runs if isinstance(each, Run)],
    }


def _line(project: Project, artifact: Artifact) -> Shown:
    from tidemill.data.feature_store import views

    view: View = views.get(project.ws, artifact.name)
    return {
        **artifact_line(artifact),
        "entities": list(view.entities),
        "features": list(view.features),
        "datasets": [source.dataset for source in view.sources],
    }
