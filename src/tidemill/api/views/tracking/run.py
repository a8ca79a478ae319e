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


def series(values: list[curves.Value]) -> list[list[Any]]:
    """[step, value] pairs; of more than SERIES points, the extremes of as many columns."""
    if len(values) > SERIES:
        return [[int(x), y] for x, y in curves.line(values, "step", start_s=0, smooth=0, most=SERIES)]
    return [[each.step, finite(each.value)] for each in values]


def _chart(key: str, values: list[curves.Value], across: Any, start_s: float, smooth: float) -> Shown:
    return {
        "key": key,
        "points": len(values),
        "last": finite(values[-1].value),
        "step": values[-1].step,
        "lowest": min((each.value for each in values if finite(each.value) is not None), default=None),
        "highest": max((each.value for each in values if finite(each.value) is not None), default=None),
        "line": [[x, y] for x, y in curves.line(values, across, start_s=start_s, smooth=smooth, most=POINTS)],
        "raw": [] if not smooth else
        [[x, y] for x, y in curves.line(values, across, start_s=start_s, smooth=0, most=POINTS)],
    }  # fmt: skip
