"""What an erasure has left of tables and blobs: events by which an old reference is followed to what is there now.

Records are amended in place (Graph.amend), so who reads the graph finds the new digests. These events are for who holds
an old reference: a running process, a note, a notebook. They are asked only when something is not as was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tidemill.core.types import Pinned

if TYPE_CHECKING:
    from tidemill.core.graph import Graph

SUBJECT = "amended"


def record_tables(graph: Graph, left: Mapping[Pinned, Pinned], *, actor: str) -> None:
    """Record what is left of each version of tables."""
    for pinned in left.values():
        subject = f"{SUBJECT}/{pinned.table}@{pinned.version}"
        body = {"rows": pinned.rows, "digest": pinned.digest}
        graph.record(subject, "amended.table", body, actor=actor, key=f"{subject}/{pinned.rows}/{pinned.digest}")


def record_blobs(graph: Graph, left: Mapping[str, str | None], *, actor: str) -> None:
    """Record what took the place of each blob, None for nothing."""
    for old, new in left.items():
        subject = f"{SUBJECT}/{old}"
        graph.record(subject, "amended.blob", {"digest": new}, actor=actor, key=f"{subject}/{new}")


def table(graph: Graph, pinned: Pinned) -> Pinned | None:
    """What an erasure left of that version, None where none has touched it. Takes the place of the version's marks."""
    for event in graph.events(f"{SUBJECT}/{pinned.table}@{pinned.version}", last=1):
        return Pinned(pinned.table, pinned.version, int(event.body["rows"]), str(event.body["digest"]))
    return None


def blob(graph: Graph, digest: str) -> str | None:
    """The digest of what took a blob's place, through as many erasures as there were; None for nothing."""
    for event in graph.events(f"{SUBJECT}/{digest}", last=1):
        new = event.body["digest"]
        return None if new is None else blob(graph, str(new)) or str(new)
    return None
