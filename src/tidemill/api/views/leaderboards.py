"""Leaderboards: the list of them, and one with every candidate, its rivals and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.api.views.shaping import Shown, artifact_line, plain, run_line
from tidemill.core.types import Artifact, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.project import Project

SHOWN = 200  # leaderboards of a list, and of the same name


def leaderboards(project: Project) -> Shown:
    """The newest leaderboard of each name, newest first: its best, its score with an interval, its looks."""
    from tidemill.train.selecting.leaderboard import listed

    found = listed(project.ws)
    return {"leaderboards": [_line(project, each) for each in found[:SHOWN]], "in_all": len(found)}


def leaderboard(project: Project, which: str) -> Shown:
    """One leaderboard: by the id of its report or its run, or the newest of a name. Raises NotFound.

    `lines`: its candidates, best first, those that failed last; each with `registered`: models that were fitted by the
    same code for the same target on the same data (same_params: also with the same parameters). Row ids of leaks are
    left out where the settings' actor may not see the datasets' row ids.
    """
    from tidemill.train.selecting import boards
    from tidemill.train.selecting.leaderboard import find, recorded_as

    ws = project.ws
    report = find(ws, which)
    board = project.leaderboard.read(report.id)
    run = ws.graph.get(board.run)
    assert isinstance(run, Run)
    read = [artifact for artifact in _read(ws, run) if artifact.kind == "dataset"]
    inside = ws.graph.find(Query("run", kind="train.candidate", parent=run.id, limit=1_000))
    failed = {each.name: each for each in inside if isinstance(each, Run) and each.status != "done"}
    made = _registered(ws)
    value = plain(board.as_json())
    for line in value["lines"]:
        fit = ws.graph.get(line["run"]) if line["run"] else failed.get(line["name"])
        line["run"] = None if fit is None else fit.id
        line["tied"] = line["rank"] == 1 and len(board.tied) > 1
        line["place"] = boards.place_of(board, board.line(line["name"]))
        line["registered"] = _from(fit, made, board.target, {each.id for each in read})
    return {
        **artifact_line(report),
        "board": {**value, "findings": _findings(ws, value["findings"], read)},
        "tied": len(board.tied),
        "at": artifact_line(report)["created_at"],
        "run": run_line(run),
        "made_of": [{"slot": "", **artifact_line(each)} for each in read],
        "others": [
            {**artifact_line(each), "best": each.meta.get("best")}
            for each in recorded_as(ws, board.name, limit=SHOWN)
            if each.id != report.id
        ],
    }


def _line(project: Project, report: Artifact) -> Shown:
    board = project.leaderboard.read(report.id)
    best = board.best.standing
    return {
        **artifact_line(report),
        "board": board.name,
        "kind_of_task": board.kind,
        "target": board.target,
        "score": board.score,
        "direction": board.direction,
        "best": board.best.name,
        "value": plain(best.value) if best else None,
        "low": best.low if best else None,
        "high": best.high if best else None,
        "tied": len(board.tied),
        "candidates": len(board.lines),
        "failed": sum(bool(line.error) for line in board.lines),
        "rows": board.rows,
        "looks": board.looks.get("times"),
        "leaks": sum(finding.severity == "error" for finding in board.findings),
        "run": board.run,
    }


def _registered(ws: Workspace) -> list[tuple[Shown, Run, set[str]]]:
    """Each registered model whose fit is recorded: its name and version, the fit's run, and the datasets it read."""
    from tidemill.serve import registry

    found = []
    for each in registry.models(ws):
        fit_run = each.artifact.meta.get("run")
        if fit_run is None:
            continue
        run = ws.graph.get(str(fit_run))
        assert isinstance(run, Run)
        read = {artifact.id for artifact in _read(ws, run) if artifact.kind == "dataset"}
        line = {"name": each.name, "version": each.version, "label": each.artifact.label}
        found.append((line, run, read))
    return found


def _from(fit: object, made: list[tuple[Shown, Run, set[str]]], target: str | None, datasets: set[str]) -> list[Shown]:
    """The models that were fitted as this candidate was."""
    if not isinstance(fit, Run) or fit.code is None:
        return []
    params = _params(fit.params)
    return [
        {**line, "same_params": _params(run.params) == params}
        for line, run, read in made
        if (run.code, run.name, run.params.get("target")) == (fit.code, fit.name, target) and read and read <= datasets
    ]


def _params(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of the fit itself."""
    return {name: value for name, value in given.items() if name not in ("target", "task", "classes")}


def _findings(ws: Workspace, findings: list[Shown], datasets: list[Artifact]) -> list[Shown]:
    from tidemill.data.catalogue.shown import columns_of

    hidden = {column for each in datasets for column in columns_of(ws, each.id)}
    keys = {str(each.meta.get("key")) for each in datasets}
    if not hidden:
        return findings
    masked = []
    for each in findings:
        pairs = [] if keys & hidden else each["pairs"]
        text = each["text"]
        if each["kind"] == "time" and each["column"] in hidden:  # it tells the last training row's time
            text = f"{each['rows']:,} held-out rows ({each['share']:.1%}) are not later than the last training row"
        masked.append({**each, "pairs": pairs, "text": text})
    return masked


def _read(ws: Workspace, run: Run) -> list[Artifact]:
    """What a run read, once each."""
    found: dict[str, Artifact] = {}
    for edge in ws.graph.edges([run.id]):
        artifact = ws.graph.get(edge.artifact_id) if edge.role == "in" else None
        if isinstance(artifact, Artifact):
            found[artifact.id] = artifact
    return sorted(found.values(), key=lambda each: (each.name, each.id))
