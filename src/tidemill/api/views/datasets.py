"""Datasets: the list, and one dataset with its versions, columns and first rows."""

from __future__ import annotations

from tidemill.api.views.shaping import Shown, artifact_line, plain, run_line
from tidemill.core.types import DatasetVersion, Query, Run
from tidemill.project import Project

FIRST_ROWS = 8
USES = 20


def datasets(project: Project) -> Shown:
    """All datasets by name, each with its newest version."""
    newest: dict[str, DatasetVersion] = {}
    for found in project.ws.graph.find(Query("artifact", kind="dataset", limit=1_000_000)):
        if not isinstance(found, Run):
            newest.setdefault(found.name, DatasetVersion(found))
    return {"datasets": [_line(newest[name]) for name in sorted(newest)]}


def dataset(project: Project, name: str, *, version: int | None = None) -> Shown:
    """One dataset: its columns, clocks and first rows at a version (the newest by default), and all versions.

    Raises NotFound naming the nearest dataset, or the versions there are.
    """
    from tidemill.data import datasets as stored

    found = stored.get(project.ws, name, version)
    versions = stored.log(project.ws, name)
    # Not verified: this is a look, where a use would verify. Its columns are in the table's order; the meta's are not.
    first = stored.scan(project.ws, found, verify=False).head(FIRST_ROWS).collect()
    readers = [edge.run_id for edge in project.ws.graph.edges([found.id]) if edge.role == "in"]
    return {
        **_line(found),
        "key": found.key,
        "event_time": found.event_time,
        "known_time": found.known_time,
        "columns": {column: found.columns[column] for column in first.columns},
        "versions": [_line(each) for each in versions],
        "first_rows": [[plain(value) for value in row] for row in first.iter_rows()],
        "used_by": [run_line(_run(project, run_id)) for run_id in sorted(set(readers), reverse=True)[:USES]],
        "uses": len(set(readers)),
    }


def _line(version: DatasetVersion) -> Shown:
    meta = version.artifact.meta
    return {
        **artifact_line(version),
        "rows": version.rows,
        "added": meta.get("added"),
        "message": meta.get("message") or "",
        "n_columns": len(version.columns),
    }


def _run(project: Project, run_id: str) -> Run:
    found = project.ws.graph.get(run_id)
    assert isinstance(found, Run)
    return found
