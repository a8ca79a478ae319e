"""Whether the event chain is whole, and whether the rows are what their events say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemill.core.graphs import records
from tidemill.core.ids import iso
from tidemill.core.types import Event, Fault


def faults(
    chain: Iterable[Event], runs: Iterable[Any], artifacts: Iterable[Any], edges: Iterable[Any], points: Iterable[Any]
) -> list[Fault]:
    """All that is wrong. Rows have the attributes of the tables in schema.py; events come in order of seq."""
    found: list[Fault] = []
    said: dict[str, str] = {}
    linked: set[tuple[Any, ...]] = set()
    logged: set[tuple[Any, ...]] = set()
    prev, seq = records.GENESIS, 0
    for event in chain:
        found += _link_faults(event, prev, seq)
        prev, seq = event.hash, event.seq
        if "digest" in event.body and event.kind.startswith(("run.", "artifact.")):
            said[event.subject] = event.body["digest"]
        elif event.kind == "run.link":
            linked |= {tuple(edge) for edge in event.body["edges"]}
        elif event.kind == "run.log":
            run_id = event.subject.removeprefix("run/")
            logged |= {(run_id, *point) for point in event.body["points"]}
    for prefix, rows in (("run", runs), ("artifact", artifacts)):
        found += _record_faults(prefix, rows, said)
    found += [Fault(subject, "the log speaks of it, but its row is gone") for subject in said]
    have = {(row.run_id, row.artifact_id, row.role, row.slot) for row in edges}
    found += [Fault(f"edge {edge}", "its row is not in the log") for edge in sorted(have - linked)]
    found += [Fault(f"edge {edge}", "the log speaks of it, but its row is gone") for edge in sorted(linked - have)]
    kept = {(row.run_id, row.key, row.step, row.at, row.value) for row in points}
    found += [Fault(f"metric {point}", "its row is not in the log") for point in sorted(kept - logged)]
    found += [Fault(f"metric {point}", "the log speaks of it, but its row is gone") for point in sorted(logged - kept)]
    return found


def _link_faults(event: Event, prev: str, seq: int) -> list[Fault]:
    where = f"event {event.seq}"
    if event.seq != seq + 1:
        return [Fault(where, f"follows event {seq}: events between them were removed or moved")]
    if event.prev != prev:
        return [Fault(where, "does not follow the event before it: one was edited, removed or moved")]
    said = (iso(event.at), event.actor, event.subject, event.kind, records.event_body(event.body))
    expected = records.event_hash(event.prev, event.seq, said)
    return [] if event.hash == expected else [Fault(where, "was edited: its hash does not match its content")]


def _record_faults(prefix: str, rows: Iterable[Any], said: dict[str, str]) -> list[Fault]:
    found = []
    for row in rows:
        subject = f"{prefix}/{row.id}"
        expected = said.pop(subject, None)
        if expected is None:
            found.append(Fault(subject, "its row is not in the log"))
        elif records.body_digest(row.body) != expected:
            found.append(Fault(subject, "was edited: its row is not what the log says"))
    return found
