"""`mill.lineage`: what came from what, and the log under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.core.errors import NotFound
from tidemill.core.types import Artifact, Deployment, Event, Fault, Query, Run, Trail
from tidemill.core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Lineage:
    """Runs, artifacts, and what joins them."""

    ws: Workspace

    def get(self, node_id: str) -> Run | Artifact:
        """The run or artifact of that id, or of its first 8 digits or more."""
        return self.ws.graph.get(node_id)

    def runs(self, *, kind: str | None = None, name: str | None = None, limit: int = 100) -> list[Run]:
        """Recorded runs, newest first. kind: exact, or a prefix such as "train.*"."""
        from tidemill.track import runs

        return runs.find(self.ws, kind=kind, name=name, limit=limit)

    def describe_run(self, run_id: str) -> dict[str, Any]:
        """A run with the artifacts that it read and made, as JSON values."""
        from tidemill.track import runs

        return runs.describe(self.ws, run_id)

    def artifact(self, kind: str, name: str, version: int | None = None) -> Artifact:
        """The artifact of that kind and name, newest by default."""
        for found in self.ws.graph.find(Query("artifact", kind=kind, name=name, version=version, limit=1)):
            assert isinstance(found, Artifact)
            return found
        raise NotFound(
            f"no {kind} {name!r}" + (f" version {version}" if version else "") + "; see `tidemill runs list`"
        )

    def prediction(self, prediction_id: str) -> dict[str, Any]:
        """All behind one answer: deployment, model, runs, dataset versions, row ids, code, as a tree."""
        from tidemill.improve import lineage

        return lineage.prediction_trace(self.ws, prediction_id)

    def row(self, dataset: str, key: str) -> dict[str, Any]:
        """What one row touched: dataset versions, models trained on it, answers about it."""
        from tidemill.improve import lineage

        return lineage.row_impact(self.ws, dataset, key)

    def tree(self, trail: Trail) -> dict[str, Any]:
        """A trail as nested mappings."""
        from tidemill.improve import lineage

        return lineage.tree(trail)

    def lines(self, tree: Mapping[str, Any]) -> list[str]:
        """That as indented lines."""
        from tidemill.improve import lineage

        return lineage.lines(tree)

    def trace(self, what: str) -> Trail:
        """All that an artifact, run or prediction came from, down to imports.

        what: an id, a dataset's version such as "trips@2", or what a list shows, "model/churn@3".
        """
        return self.ws.graph.trail(self._node(what), "down")

    def impact(self, what: str) -> Trail:
        """All that came from an artifact or run."""
        return self.ws.graph.trail(self._node(what), "up")

    def _node(self, what: str) -> str:
        from tidemill.watch import log

        if "@" in what:
            return self._named(what).id
        try:
            return self.ws.graph.get(what).id
        except NotFound:
            prediction = log.find(self.ws, what)
            return Deployment(self.artifact("deployment", prediction.deployment, prediction.revision)).id

    def _named(self, what: str) -> Artifact:
        """The artifact of "name@version" (a dataset's) or "kind/name@version"."""
        from tidemill.data import datasets
        from tidemill.serve import registry

        kind, slash, rest = what.partition("/")
        kind, rest = (kind, rest) if slash else ("dataset", what)
        name, _, version = rest.rpartition("@")
        if kind == "dataset":
            return datasets.resolve(self.ws, rest).artifact
        if kind == "model":
            return registry.get(self.ws, name, version).artifact
        return self.artifact(kind, name, int(version) if version.isdigit() else None)

    def events(self, subject: str | None = None) -> list[Event]:
        """The audit log, of one subject or of all."""
        return self.ws.graph.events(subject)

    def verify(self) -> list[Fault]:
        """All that is wrong with the audit log and the records; empty is good."""
        return self.ws.graph.verify()
