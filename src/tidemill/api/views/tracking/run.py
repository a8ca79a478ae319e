"""What trackers show of one run beside its record: curves of its metrics, its files, its experiment."""

from __future__ import annotations

from typing import Any

from tidemill.api.views.shaping import Shown, finite
from tidemill.api.views.tracking import media
from tidemill.api.views.tracking.table import SYSTEM
from tidemill.core.errors import NotFound
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.types import Run
from tidemill.project import Project
from tidemill.track import curves, experiments, tracking

POINTS = 300  # of a curve: a drawing of so many pixels
SERIES = 2000  # of a curve's points as data


def tracked(project: Project, run: Run, *, across: str, smooth: float) -> Shown | None:
    """None for a run that trackers do not show. across, smooth: see `curves.line`."""
    if not isinstance(project.ws.graph, SqlGraph) or not run.kind.startswith(("track.", "train.")):
        return None
    try:
        found = tracking.get(project.ws, run.id)
        experiment = experiments.get(project.ws, found.experiment)
    except NotFound:
        return None
    logged = curves.read(project.ws, [run.id]).get(run.id, {})
    start_s = found.start_ms / 1000
    charts = [_chart(key, values, across, start_s, smooth) for key, values in logged.items() if len(values) > 1]
    return {
        "experiment": {"id": experiment.id, "name": experiment.name},
        "stage": found.stage,
        "owner": found.owner,
        "tags": dict(found.tags),
        "latest": {key: {"value": finite(last.value), "step": last.step} for key, last in found.metrics.items()},
        "across": across,
        "smooth": smooth,
        "charts": [each for each in charts if not each["key"].startswith(SYSTEM)],
        "system": [each for each in charts if each["key"].startswith(SYSTEM)],
        "series": {key: series(values) for key, values in logged.items() if len(values) > 1},
        "media": media.shown(project, run.id),
    }


def series(logged: curves.Logged) -> list[list[Any]]:
    """[step, value] pairs; of more than SERIES points, the extremes of as many columns."""
    if len(logged) > SERIES:
        return [[int(x), y] for x, y in curves.line(logged, "step", start_s=0, smooth=0, most=SERIES)]
    return [[step, finite(value)] for step, value in zip(logged.steps.tolist(), logged.values, strict=True)]


def _chart(key: str, logged: curves.Logged, across: Any, start_s: float, smooth: float) -> Shown:
    import numpy as np

    known = logged.values[np.isfinite(logged.values)]
    lines = [
        curves.line(logged, across, start_s=start_s, smooth=each, most=POINTS) for each in dict.fromkeys((smooth, 0.0))
    ]
    return {
        "key": key,
        "points": len(logged),
        "last": finite(logged.values[-1]),
        "step": int(logged.steps[-1]),
        "lowest": float(known.min()) if len(known) else None,
        "highest": float(known.max()) if len(known) else None,
        "line": [[x, y] for x, y in lines[0]],
        "raw": [[x, y] for x, y in lines[1]] if smooth else [],
    }
