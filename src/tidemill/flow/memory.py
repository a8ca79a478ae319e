"""What is remembered of nodes that ended: of an execution itself, and of the newest finished one of its pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.core.types import Query, Run
from tidemill.core.workspace import Workspace
from tidemill.flow.nodes import Node
from tidemill.flow.values import Output


@dataclass(frozen=True, slots=True)
class Found:
    """An output, and the run that made it."""

    output: Output
    run: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """Outputs by cache key, and by node and what it is known by again."""

    by_key: Mapping[str, Found]
    by_node: Mapping[tuple[str, str], Found]

    def find(self, node: Node) -> Found | None:
        """The output of that node, done before with the same arguments (and code, where it has a key)."""
        return self.by_node.get((node.id, node.key or node.again))


def of_execution(ws: Workspace, run_id: str) -> Remembered:
    """What an execution has done so far; one statement."""
    by_key: dict[str, Found] = {}
    by_node: dict[tuple[str, str], Found] = {}
    for event in ws.graph.events(f"flow/{run_id}", kind="nodes"):
        for told in event.body["nodes"]:
            if told["state"] in ("done", "cached") and "output" in told and "run" in told:
                found = Found(Output.of_json(told["output"]), told["run"])
                by_node[told["node"], told.get("key") or told.get("again", "")] = found
                if told.get("key"):
                    by_key[told["key"]] = found
    return Remembered(by_key, by_node)


def of_pipeline(ws: Workspace, name: str) -> Remembered:
    """What the newest finished execution of that pipeline did; two statements."""
    for run in ws.graph.find(Query("run", kind="flow.pipeline", name=name, status="done", limit=1)):
        assert isinstance(run, Run)
        return of_execution(ws, run.id)
    return Remembered({}, {})
