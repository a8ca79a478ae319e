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
    "Monitor": "watch.monitor",
    "Matrix": "core.types",
    "ModelVersion": "core.types",
    "Project": "project",
    "Rows": "data.rows",
    "Run": "core.types",
    "TidemillError": "core.errors",
    "Trail": "core.types",
    "better": "improve.loop",
    "between": "core.checks",
    "choice": "train.ranges",
    "dates": "core.recipe",
    "drop_duplicates": "prepare.cleaning",
    "drop_where_null": "prepare.cleaning",
    "fill": "core.recipe",
    "fill_from": "prepare.cleaning",
    "floats": "train.ranges",
    "ints": "train.ranges",
    "keep": "core.recipe",
    "log": "train.ranges",
    "matches": "core.checks",
    "not_null": "core.checks",
    "null_outside": "prepare.cleaning",
    "one_hot": "core.recipe",
    "one_of": "core.checks",
    "open": "project",
    "ordinal": "core.recipe",
    "recipe": "core.recipe",
    "scale": "core.recipe",
    "unique": "core.checks",
    "warn": "core.checks",
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
    "Rows",
    "Run",
    "TidemillError",
    "Trail",
    "better",
    "between",
    "choice",
    "dates",
    "drop_duplicates",
    "drop_where_null",
    "fill",
    "fill_from",
    "floats",
    "ints",
    "keep",
    "log",
    "matches",
    "not_null",
    "null_outside",
    "one_hot",
    "one_of",
    "open",
    "ordinal",
    "recipe",
    "scale",
    "unique",
    "warn",
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
    from tidemill.improve.loop import better
    from tidemill.prepare.cleaning import drop_duplicates, drop_where_null, fill_from, null_outside
    from tidemill.project import Loop, Project, open
    from tidemill.train.ranges import choice, floats, ints, log
    from tidemill.watch.monitor import Monitor


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tidemill' has no attribute {name!r}")
    found = getattr(import_module(f"tidemill.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
