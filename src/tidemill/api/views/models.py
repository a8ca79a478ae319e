"""Models: the list with aliases, and one version with its card, scores, slices and calibration."""

from __future__ import annotations

import json

from tidemill.api.views.evaluations import newest_of, of_fit
from tidemill.api.views.shaping import Shown, artifact_line, event_line, event_time, numbers, plain
from tidemill.core.errors import NotFound, TidemillError
from tidemill.core.types import Artifact, ModelVersion, Run
from tidemill.core.workspace import Workspace
from tidemill.project import Project


def models(project: Project) -> Shown:
    """All models by name: versions newest first, and where the aliases point."""
    from tidemill.serve import registry

    named: dict[str, list[ModelVersion]] = {}
    for found in registry.models(project.ws):
        named.setdefault(found.name, []).append(found)
    lines = []
    for name in sorted(named):
        aliases = registry.aliases(project.ws, name)
        lines.append({"name": name, "aliases": aliases, "versions": [_line(each, aliases) for each in named[name]]})
    return {"models": lines}


def model(project: Project, name: str, version: str) -> Shown:
    """One model version. version: a number, or an alias such as "champion". Raises NotFound naming what there is.

    files: of one that was registered with files alone, which has no package and no signature.
    test: scores on the test rows beside those of the constant prior; slices; calibration. signature: "verified", or
    why it is not. Values of personal columns are masked for who may not see them.
    """
    from tidemill.data.catalogue import shown
    from tidemill.serve import packages, registry

    ws = project.ws
    found = registry.get(ws, name, version)
    meta = found.artifact.meta
    report = _report(ws, found)
    try:
        manifest, signature = packages.read_manifest(ws, found.package), "verified"
        card = ws.store.get(manifest["blobs"]["card"]).decode()
    except TidemillError as error:
        card, signature = "", str(error) if "package" in meta else ""
    aliases = registry.aliases(ws, name)
    card, slices = shown.model(ws, found.id, card=card, slices=report.get("slices", []))
    return {
        **_line(found, aliases),
        "estimator": meta.get("estimator"),
        "fit": meta.get("fit"),
        "params": plain(meta.get("params", {})),
        "target": meta.get("target"),
        "train_rows": meta.get("train_rows"),
        "package": meta.get("package"),
        "source": meta.get("source"),
        "files": [{"path": path, "digest": digest, "size": size} for path, digest, size in meta.get("files", ())],
        "format": meta.get("format"),
        "signature": signature,
        "card": card,
        "test": {
            "rows": report.get("rows"),
            "looks": report.get("looks"),
            "metrics": numbers(report.get("metrics", found.metrics)),
            "baseline": numbers(report.get("baseline", {})),
        },
        "slices": plain(slices),
        "calibration": plain(report.get("calibration", [])),
        "made_of": _made_of(ws, found),
        "fit_run": meta.get("run"),
        "evaluation": newest_of(ws, meta.get("run")),
        "evaluations": of_fit(ws, str(meta.get("run", ""))),
        "history": [
            {**event_line(event), "happened_at": event_time(event), "alias": event.subject.rpartition("@")[2]}
            for event in reversed(ws.graph.events("model/*", kind="alias"))
            if event.subject.startswith(f"model/{found.name}@")
        ],
        "versions": [each.version for each in registry.models(ws, name)],
    }


def _line(found: ModelVersion, aliases: dict[str, int]) -> Shown:
    return {
        **artifact_line(found),
        "aliases": sorted(alias for alias, version in aliases.items() if version == found.version),
        "metrics": numbers(found.metrics),
        "data_time": found.artifact.meta.get("data_time"),
    }


def _report(ws: Workspace, found: ModelVersion) -> Shown:
    """The evaluation's report; empty where the model was registered without one."""
    try:
        made = ws.graph.get(str(found.artifact.meta["report"]))
        assert isinstance(made, Artifact)
        report: Shown = json.loads(ws.store.get(made.digest))
    except (KeyError, NotFound, ValueError):
        return {}
    return report


def _made_of(ws: Workspace, found: ModelVersion) -> list[Shown]:
    """What its registration read: recipe, profile, row ids, evaluation."""
    if found.artifact.run_id is None:
        return []
    run = ws.graph.get(found.artifact.run_id)
    assert isinstance(run, Run)
    lines = []
    for edge in ws.graph.edges([run.id]):
        artifact = ws.graph.get(edge.artifact_id)
        if edge.role == "in" and isinstance(artifact, Artifact):
            lines.append({"slot": edge.slot, **artifact_line(artifact)})
    return sorted(lines, key=lambda line: str(line["slot"]))
