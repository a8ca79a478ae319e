"""Tidemill: the whole machine-learning lifecycle in one package, every prediction traceable to the rows behind it.

    import tidemill as tm

    mill = tm.open("departures.mill")

Names are imported when first used: `import tidemill` itself loads no DataFrame, learning or web library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Alert": "core.types",
    "Artifact": "core.types",
    "DatasetVersion": "core.types",
    "Deployment": "core.types",
    "Event": "core.types",
    "Loop": "project",
    "Matrix": "core.types",
    "ModelVersion": "core.types",
    "Monitor": "watch.monitor",
    "Project": "project",
    "Report": "train.reporting",
    "Rows": "data.rows",
    "Run": "core.types",
    "TidemillError": "core.errors",
    "Trail": "core.types",
    "approve": "flow.pipelines",
    "better": "improve.loop",
    "between": "core.checks",
    "candidates": "train.selecting.candidates",
    "choice": "train.ranges",
    "cron": "flow.scheduling.schedules",
    "dates": "core.recipe",
    "drop_duplicates": "prepare.cleaning",
    "drop_where_null": "prepare.cleaning",
    "every": "flow.scheduling.schedules",
    "fill": "core.recipe",
    "fill_from": "prepare.cleaning",
    "floats": "train.ranges",
    "given": "train.ranges",
    "ints": "train.ranges",
    "keep": "core.recipe",
    "log": "train.ranges",
    "matches": "core.checks",
    "not_null": "core.checks",
    "null_outside": "prepare.cleaning",
    "on_alert": "flow.scheduling.schedules",
    "on_dataset": "flow.scheduling.schedules",
    "on_webhook": "flow.scheduling.schedules",
    "one_hot": "core.recipe",
    "one_of": "core.checks",
    "open": "project",
    "ordinal": "core.recipe",
    "pipeline": "flow.pipelines",
    "recipe": "core.recipe",
    "scale": "core.recipe",
    "secret": "flow.pipelines",
    "step": "flow.steps",
    "sub": "flow.pipelines",
    "unique": "core.checks",
    "value": "flow.refs",
    "warn": "core.checks",
    "when": "flow.pipelines",
}

__all__ = [
    "Alert",
    "Artifact",
    "DatasetVersion",
    "Deployment",
    "Event",
    "Loop",
    "Matrix",
    "ModelVersion",
    "Monitor",
    "Project",
    "Report",
    "Rows",
    "Run",
    "TidemillError",
    "Trail",
    "approve",
    "better",
    "between",
    "candidates",
    "choice",
    "cron",
    "dates",
    "drop_duplicates",
    "drop_where_null",
    "every",
    "fill",
    "fill_from",
    "floats",
    "given",
    "ints",
    "keep",
    "log",
    "matches",
    "not_null",
    "null_outside",
    "on_alert",
    "on_dataset",
    "on_webhook",
    "one_hot",
    "one_of",
    "open",
    "ordinal",
    "pipeline",
    "recipe",
    "scale",
    "secret",
    "step",
    "sub",
    "unique",
    "value",
    "warn",
    "when",
]

if TYPE_CHECKING:
    from tidemill.core.checks import between, matches, not_null, one_of, unique, warn
    from tidemill.core.errors import TidemillError
    from tidemill.core.recipe import dates, fill, keep, one_hot, ordinal, recipe, scale
    from tidemill.core.types import (
        Alert,
        Artifact,
        DatasetVersion,
        Deployment,
        Event,
        Matrix,
        ModelVersion,
        Run,
        Trail,
    )
    from tidemill.data.rows import Rows
    from tidemill.flow.pipelines import approve, pipeline, secret, sub, when
    from tidemill.flow.refs import value
    from tidemill.flow.scheduling.schedules import cron, every, on_alert, on_dataset, on_webhook
    from tidemill.flow.steps import step
    from tidemill.improve.loop import better
    from tidemill.prepare.cleaning import drop_duplicates, drop_where_null, fill_from, null_outside
    from tidemill.project import Loop, Project, open
    from tidemill.train.ranges import choice, floats, given, ints, log
    from tidemill.train.reporting import Report
    from tidemill.train.selecting.candidates import candidates
    from tidemill.watch.monitor import Monitor


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tidemill' has no attribute {name!r}")
    found = getattr(import_module(f"tidemill.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
