"""What is remembered of nodes that ended: of an execution itself, and of the newest finished one of its pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tidemill.core.types import Query, Run
from tidemill.core.workspace import Workspace
from tidemill.flow import values
from tidemill.flow.executing.nodes import Node
from tidemill.flow.values import Output


@dataclass(frozen=True, slots=True)
class Found:
    """An output, and the run that made it."""

    output: Output
    run: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """Outputs by cache key, and by node and what it is known by again."""

    by_key: Mapping[str, Found] = field(default_factory=dict)
    by_node: Mapping[tuple[str, str], Found] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)  # node to what it is known by, where it stands as ended well

    def find(self, node: Node) -> Found | None:
        """The output of that node, done before with the same arguments (and code, where it has a key)."""
        return self.by_node.get((node.id, node.key or node.again))

    def stands(self, node: Node) -> bool:
        """Whether the records say already that the node ended so."""
        return self.told.get(node.id) == (node.key or node.again)


class Known:
    """What is known of nodes before they run, as far as its values are there still.

    Of the execution itself where it is resumed, of the newest finished one of its pipeline, of any under the same key.
    """

    def __init__(self, ws: Workspace, record: Run, *, resumed: bool) -> None:
        self._ws = ws
        self._done = of_execution(ws, record.id) if resumed else Remembered()
        self._newest = of_pipeline(ws, record.name)
        self._fresh = frozenset(json.loads(record.tags.get("fresh", "[]")))

    def is_fresh(self, node: Node) -> bool:
        """Whether it was asked that the node be computed anew, or one that it depends on."""
        if not self._fresh:
            return False
        return (
            node.id in self._fresh or node.id.rpartition("[")[0] in self._fresh or any(dep.fresh for dep in node.deps)
        )

    def before(self, node: Node) -> Found | None:
        """What this execution had of it before it was resumed."""
        return self._there(self._done.find(node))

    def stands(self, node: Node) -> bool:
        """Whether the records say already that the node ended so."""
        return self._done.stands(node)

    def of_newest(self, node: Node) -> Found | None:
        """What the pipeline's newest finished execution had; no statement."""
        return None if node.fresh or node.key is None else self._there(self._newest.by_key.get(node.key))

    def of_any(self, node: Node) -> Found | None:
        """What any execution gave under its key; one statement."""
        return None if node.fresh or node.key is None else self._there(of_key(self._ws, node.key))

    def _there(self, found: Found | None) -> Found | None:
        return found if found is not None and values.is_there(found.output, self._ws) else None


def of_execution(ws: Workspace, run_id: str) -> Remembered:
    """What an execution has done so far; one statement."""
    by_key: dict[str, Found] = {}
    by_node: dict[tuple[str, str], Found] = {}
    standing: dict[str, str] = {}
    for event in ws.graph.events(f"flow/{run_id}", kind="nodes"):
        for told in event.body["nodes"]:
            standing.pop(told["node"], None)
            if told["state"] in ("done", "cached") and "output" in told and "run" in told:
                found = Found(Output.of_json(told["output"]), told["run"])
                known_by = standing[told["node"]] = told.get("key") or told.get("again", "")
                by_node[told["node"], known_by] = found
                if told.get("key"):
                    by_key[told["key"]] = found
    return Remembered(by_key, by_node, standing)


def of_pipeline(ws: Workspace, name: str) -> Remembered:
    """What the newest finished execution of that pipeline did; two statements."""
    for run in ws.graph.find(Query("run", kind="flow.pipeline", name=name, status="done", limit=1)):
        assert isinstance(run, Run)
        return of_execution(ws, run.id)
    return Remembered()


def of_key(ws: Workspace, key: str) -> Found | None:
    """What any execution gave under that key; one statement."""
    for run in ws.graph.find(Query("run", keys=(key,), status="done", limit=1)):
        assert isinstance(run, Run)
        if "output" in run.params:
            return Found(Output.of_json(run.params["output"]), run.id)
    return None
