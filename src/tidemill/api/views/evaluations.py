"""Evaluations: one with all that it found, and the newest of a model."""

from __future__ import annotations

from tidemill.api.views.shaping import Shown, artifact_line, plain, run_line
from tidemill.core.errors import NotFound
from tidemill.core.types import Artifact, Run
from tidemill.core.workspace import Workspace
from tidemill.project import Project


def evaluation(project: Project, report_id: str) -> Shown:
    """One evaluation: its report, of which models it is, and what it read. Raises NotFound.

    Values of personal columns are masked for who may not see them.
    """
    from tidemill.serve import registry

    ws = project.ws
    found = ws.graph.get(report_id)
    if not isinstance(found, Artifact):
        raise NotFound(f"{report_id} is a run, and no evaluation; /runs/{report_id} shows it")
    shown = _shown(ws, found)
    fit_run = found.meta["fit_run"]
    run = ws.graph.get(str(found.run_id))
    assert isinstance(run, Run)
    return {
        **shown,
        "models": [
            {"name": each.name, "version": each.version}
            for each in registry.models(ws)
            if each.artifact.meta.get("run") == fit_run
        ],
        "fit_run": fit_run,
        "run": run_line(run),
        "made_of": _read(ws, run),
        "others": [line for line in of_fit(ws, fit_run) if line["id"] != found.id],
    }


def of_fit(ws: Workspace, fit_run: str) -> list[Shown]:
    """A line for each evaluation of that fit and of what was registered from it, newest first."""
    from tidemill.train.scoring.evaluating import evaluations

    lines = []
    for each in evaluations(ws, fit_run):
        lines.append({**artifact_line(each), "rows": each.meta["rows"], "model": each.meta["model"]})
    return lines


def newest_of(ws: Workspace, fit_run: str | None) -> Shown | None:
    """The newest evaluation of a fit as its page shows it; None where there is none."""
    from tidemill.train.scoring.evaluating import evaluations

    found = evaluations(ws, fit_run) if fit_run else []
    return _shown(ws, found[0]) if found else None


def _shown(ws: Workspace, artifact: Artifact) -> Shown:
    from tidemill.data.catalogue import shown
    from tidemill.train.scoring.evaluating import read

    report = shown.evaluation(ws, artifact.id, read(ws, artifact).report)
    found: Shown = plain(report)
    return {**artifact_line(artifact), "report": found}


def _read(ws: Workspace, run: Run) -> list[Shown]:
    lines = []
    for edge in ws.graph.edges([run.id]):
        artifact = ws.graph.get(edge.artifact_id)
        if edge.role == "in" and isinstance(artifact, Artifact):
            lines.append({"slot": edge.slot, **artifact_line(artifact)})
    return sorted(lines, key=lambda line: str(line["slot"]))
