"""What an artifact came from, cleanings included: the way that tags and limits of use take.

A run that reads and makes artifacts joins them by edges. A cleaning ("prepare.clean") makes a report only: its rows go
on in memory until they are imported. The report has the name that the cleaned rows are imported under, so a dataset
counts as made of what cleanings of its name have read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.core.types import Artifact, Query
from tidemill.core.workspace import Workspace

DATASET = "dataset"
ALL = 100_000


@dataclass(frozen=True, slots=True)
class Upstream:
    """artifacts: all that it came from and itself, by id. inputs: of each, the ids of those that it was made of."""

    artifacts: Mapping[str, Artifact]
    inputs: Mapping[str, tuple[str, ...]]

    @property
    def datasets(self) -> set[str]:
        """The names of the datasets among them."""
        return {each.name for each in self.artifacts.values() if each.kind == DATASET}


def upstream(ws: Workspace, artifact: Artifact) -> Upstream:
    """Walk down from an artifact, through runs and cleanings, to the first imports."""
    artifacts: dict[str, Artifact] = {artifact.id: artifact}
    inputs: dict[str, dict[str, None]] = {}
    cleaned: dict[str, list[str]] = {}
    left, walked = [artifact.id], set[str]()
    while left:
        root = left.pop()
        if root in walked:
            continue
        trail = ws.graph.trail(root, "down")
        artifacts |= {each.id: each for each in trail.artifacts}
        walked |= {each.id for each in trail.artifacts} | {root}
        read: dict[str, list[str]] = {}
        for edge in trail.edges:
            if edge.role == "in":
                read.setdefault(edge.run_id, []).append(edge.artifact_id)
        for edge in trail.edges:
            if edge.role == "out":
                inputs.setdefault(edge.artifact_id, {}).update(dict.fromkeys(read.get(edge.run_id, [])))
        for name in {each.name for each in trail.artifacts if each.kind == DATASET} - set(cleaned):
            cleaned[name] = _cleaned_from(ws, name)
            left += cleaned[name]
    for each in artifacts.values():
        if each.kind == DATASET and cleaned.get(each.name):
            inputs.setdefault(each.id, {}).update(dict.fromkeys(cleaned[each.name]))
    known = {made: tuple(one for one in of if one in artifacts and one != made) for made, of in inputs.items()}
    return Upstream(artifacts, known)


def _cleaned_from(ws: Workspace, dataset: str) -> list[str]:
    """The ids of what cleanings of that name read."""
    reports = ws.graph.find(Query("artifact", kind="report", name=dataset, limit=ALL))
    return [
        str(each.meta["dataset"])
        for each in reports
        if isinstance(each, Artifact) and each.meta.get("what") == "cleaning" and "dataset" in each.meta
    ]
