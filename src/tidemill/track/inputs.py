"""What a client says that a run read: a dataset by name, digest and source; an artifact "dataset.input", and an edge.

Where the digest or the source is that of a version that this workspace knows, the run is joined with the version too,
so that traces lead through it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from tidemill.core.graphs.committing import Operation
from tidemill.core.graphs.schema import artifacts, edges
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import new_id, utc_now
from tidemill.core.types import Artifact, Batch, Edge

KIND = "dataset.input"
CONTEXT = "mlflow.data.context"
_OURS = re.compile(r"tidemill://(?:.*/)?([^/@?#]+)@(\d+)")


@dataclass(frozen=True, slots=True)
class Input:
    """A dataset as a client describes it. tags: of its use by the run; "mlflow.data.context" says for what."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def logging(run_id: str, given: Sequence[Input]) -> Operation[None]:
    """Record what the run read. Raises NotFound for an unknown run."""

    def operation(now: Transaction) -> None:
        now.run(run_id)
        made: list[tuple[str, Artifact]] = []
        joined: list[Edge] = []
        for each in given:
            meta = {"source_type": each.source_type, "source": each.source, "schema": each.schema,
                    "profile": each.profile, "tags": dict(each.tags)}  # fmt: skip
            artifact = Artifact(new_id(), KIND, each.name, 0, each.digest, utc_now(), None, meta)
            made.append(("", artifact))
            slot = each.tags.get(CONTEXT, "")
            joined.append(Edge(run_id, artifact.id, "in", slot))
            joined += [Edge(run_id, version, "in", slot) for version in _known(now.link, each)]
        now.write(Batch(artifacts=made, edges=joined))

    return operation


def of_runs(link: sa.Connection, run_ids: Sequence[str]) -> dict[str, list[Input]]:
    """What each of these runs read, by their ids."""
    found: dict[str, list[Input]] = {}
    for start in range(0, len(run_ids), 1000):
        statement = (
            sa.select(edges.c.run_id, artifacts.c.name, artifacts.c.digest, artifacts.c.body)
            .join(artifacts, artifacts.c.id == edges.c.artifact_id)
            .where(edges.c.run_id.in_(run_ids[start : start + 1000]), edges.c.role == "in", artifacts.c.kind == KIND)
            .order_by(edges.c.run_id, artifacts.c.id)
        )
        for row in link.execute(statement):
            meta: dict[str, Any] = json.loads(row.body)["meta"]
            found.setdefault(row.run_id, []).append(Input(row.name, row.digest, **meta))
    return found


def _known(link: sa.Connection, given: Input) -> list[str]:
    """The ids of versions of datasets here that this is."""
    wanted = (artifacts.c.kind == "dataset") & (artifacts.c.digest == given.digest)
    found = _OURS.search(given.source)
    if found is not None:
        named = (artifacts.c.name == found[1]) & (artifacts.c.version == int(found[2]))
        wanted = wanted | ((artifacts.c.kind == "dataset") & named)
    return list(link.execute(sa.select(artifacts.c.id).where(wanted)).scalars())
