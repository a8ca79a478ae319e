"""The seven extension points: a stranger's plugin and our own defaults come through the same door.

A distribution adds one with an entry point of group "tidemill.<point>"; the name is what users write:

    [project.entry-points."tidemill.drift_test"]
    energy = "my_package.energy:Energy"
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from tidemill.core.errors import BadInput, nearest

ExtensionPoint = Literal["store", "graph", "engine", "sampler", "drift_test", "model_format", "value_format"]

# Ours are named here rather than as entry points so that a source checkout works before it is installed.
BUILT_IN: dict[str, dict[str, str]] = {
    "store": {
        "file": "tidemill.core.stores.folder:open_store",
        "memory": "tidemill.core.stores.memory:open_store",
        "s3": "tidemill.core.stores.s3:open_store",
    },
    "graph": {
        "sqlite": "tidemill.core.graphs.sqlite:open_graph",
        "postgresql": "tidemill.core.graphs.postgres:open_graph",
        "memory": "tidemill.core.graphs.memory:open_graph",
    },
    "engine": {
        "here": "tidemill.flow.engines.here:open_engine",
        "pool": "tidemill.flow.engines.pool:open_engine",
        "ray": "tidemill.flow.engines.ray:open_engine",
    },
    "sampler": {
        "tpe": "tidemill.train.tuning.samplers:tpe",
        "random": "tidemill.train.tuning.samplers:random",
    },
    "drift_test": {
        "g": "tidemill.watch.drift:g_test",
        "psi": "tidemill.watch.drift:psi_test",
    },
    "model_format": {
        "onnx": "tidemill.serve.formats.onnx:OnnxFormat",
    },
    "value_format": {},  # ours are chosen by type, in tidemill.flow.formats
}


def names(point: ExtensionPoint) -> list[str]:
    """The names known at this point, ours and the installed plugins', sorted."""
    return sorted({*BUILT_IN[point], *(entry.name for entry in _installed(point))})


def load(point: ExtensionPoint, name: str) -> Any:  # Any: each point's protocol is checked where it is used
    """The object that `name` stands for at this point; an installed plugin wins over a built-in of the same name."""
    for entry in _installed(point):
        if entry.name == name:
            return entry.load()
    if name in BUILT_IN[point]:
        module, _, attribute = BUILT_IN[point][name].partition(":")
        return getattr(import_module(module), attribute)
    known = names(point)
    raise BadInput(f"no {point.replace('_', ' ')} {name!r}; known are {', '.join(known)}.{nearest(name, known)}")


@cache
def _installed(point: ExtensionPoint) -> tuple[EntryPoint, ...]:
    """The plugins at this point. Asking all distributions takes 20 ms, and a monitor asks twice a day."""
    return tuple(entry_points(group=f"tidemill.{point}"))
