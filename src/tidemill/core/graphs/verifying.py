"""Whether the event chain is whole, and whether the rows are what their events say.

The chain is after Haber and Stornetta, How to time-stamp a digital document, 1991: each event holds the hash of the
one before it. It has no key: who can rewrite every later event and the head row can forge it. Keep a hash elsewhere
(`tidemill audit log` prints it) against that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

from tidemill.core.errors import Corrupt
from tidemill.core.graphs import records, traced
from tidemill.core.types import Fault

Row = Mapping[str, Any]
Edges = dict[tuple[str, ...], int]
GONE = "the log speaks of it, but its row is gone"
NOT_LOGGED = "its row is not in the log"


def faults(
    *,
    chain: Iterable[Row],
    head: Iterable[Row],
    runs: Iterable[Row],
    artifacts: Iterable[Row],
    edges: Iterable[Row],
    points: Iterable[Row],
    traces: Iterable[Row] = (),
    spans: Iterable[Row] = (),
) -> list[Fault]:
    """All that is wrong. Rows are as the tables in schema.py; the chain by seq, the points by batch."""
    found: list[Fault] = []
    said: dict[str, tuple[str, str]] = {}  # subject: (kind of its last event, digest)
    linked: Edges = {}
    batches: dict[int, tuple[str, Row]] = {}
    of_traces = traced.Said()
    placed: list[tuple[int, Fault]] = []  # by seq
    changed: dict[int, str] = {}  # seq: the hash of an event's content where it is not the one that it has
    erased: dict[int, str] = {}  # seq: the hash that the content of an erased event has
    prev, seq = records.GENESIS, 0
    for row in chain:
        placed += [(row["seq"], fault) for fault in _chain_faults(row, prev, seq)]
        content = records.event_hash(row)
        if content != row["hash"]:
            changed[row["seq"]] = content
        prev, seq = row["hash"], row["seq"]
        if row["kind"] == records.ERASED:
            _remember_erased(row, erased)
        elif row["kind"].startswith(records.RESERVED):
            _remember(row, said, linked, batches)
        elif row["kind"] in (traced.PUT, traced.DELETED, traced.ERASED):
            of_traces.remember(row)
    placed += _erasure_faults(changed, erased)
    found += [fault for _, fault in sorted(placed, key=lambda pair: pair[0])]
    found += _head_faults(list(head), prev, seq)
    found += _record_faults("run", runs, said, lambda body: records.run_row(records.run_of(body)))
    found += _record_faults("artifact", artifacts, said, lambda body: records.artifact_row(records.artifact_of(body)))
    found += [Fault(subject, GONE) for subject in said]
    for row in edges:
        edge = (row["run_id"], row["artifact_id"], row["role"], row["slot"])
        if linked.pop(edge, None) is None:
            found.append(Fault(_edge(edge), NOT_LOGGED))
    found += [Fault(_edge(edge), GONE) for edge in linked]
    found += _point_faults(points, batches)
    return found + of_traces.faults(traces, spans, gone=GONE, not_logged=NOT_LOGGED)


def corrupt(where: str, text: str) -> Corrupt:
    """The error for a database that cannot be read at all."""
    return Corrupt(f"{where} cannot be read ({text}); restore it from a backup")


def _remember(row: Row, said: dict[str, tuple[str, str]], linked: Edges, batches: dict[int, tuple[str, Row]]) -> None:
    try:
        body = json.loads(row["body"])
        if row["kind"] == "run.link":
            linked.update((tuple(edge), row["seq"]) for edge in body["edges"])
        elif row["kind"] == "run.log":
            batches[row["seq"]] = (row["subject"], {"points": body["points"], "digest": body["digest"]})
        else:
            said[row["subject"]] = (row["kind"], body["digest"])
    except (ValueError, KeyError, TypeError):
        return  # an edited event: its hash has told so already, and its row will be missed


def _chain_faults(row: Row, prev: str, seq: int) -> list[Fault]:
    where = f"event {row['seq']}"
    found = []
    if row["seq"] != seq + 1:
        found.append(Fault(where, f"follows event {seq}: events between them were removed or moved"))
    elif row["prev"] != prev:
        found.append(Fault(where, f"does not follow event {seq}: one of the two was edited, removed or moved"))
    return found


def _remember_erased(row: Row, erased: dict[int, str]) -> None:
    try:
        body = json.loads(row["body"])
        if int(body["seq"]) < row["seq"]:
            erased[int(body["seq"])] = str(body["digest"])
    except (ValueError, KeyError, TypeError):
        return  # an edited event, as its hash has told


def _erasure_faults(changed: dict[int, str], erased: dict[int, str]) -> list[tuple[int, Fault]]:
    """An event has the content that its hash says, or the last one that an erasure has left of it; nothing else."""
    found = []
    for seq in sorted(changed.keys() | erased.keys()):
        if seq not in erased:
            found.append((seq, Fault(f"event {seq}", "was edited: its hash does not match its content")))
        elif changed.get(seq) != erased[seq]:
            found.append((seq, Fault(f"event {seq}", "was edited: it is not what its erasure left of it")))
    return found


def _head_faults(rows: list[Row], prev: str, seq: int) -> list[Fault]:
    if len(rows) != 1:
        return [Fault("head", f"there are {len(rows)} rows that name the newest event; there must be one")]
    if (rows[0]["seq"], rows[0]["hash"]) != (seq, prev):
        return [Fault(f"event {rows[0]['seq']}", f"was the newest one, but the log ends with event {seq}")]
    return []


def _record_faults(
    prefix: str, rows: Iterable[Row], said: dict[str, tuple[str, str]], row_of: Callable[[str], dict[str, Any]]
) -> list[Fault]:
    found = []
    for row in rows:
        subject = f"{prefix}/{row['id']}"
        _, expected = said.pop(subject, ("", ""))
        if not expected:
            found.append(Fault(subject, NOT_LOGGED))
        elif records.body_digest(row["body"]) != expected:
            found.append(Fault(subject, "was edited: its record is not what the log says"))
        else:  # the body is as it was written; are the columns that queries use still copies of it?
            wrong = sorted(name for name, value in row_of(row["body"]).items() if row[name] != value)
            found += (
                [Fault(subject, f"was edited: its {', '.join(wrong)} is not what its record says")] if wrong else []
            )
    return found


def _point_faults(rows: Iterable[Row], batches: dict[int, tuple[str, Row]]) -> list[Fault]:
    found = []
    for batch, some in groupby(rows, key=lambda row: row["batch"]):
        members = list(some)
        subject, expected = batches.pop(batch, (f"run/{members[0]['run_id']}", {}))
        if not expected:
            found.append(Fault(subject, f"{len(members)} metric points of batch {batch} are not in the log"))
        elif records.points_body(members) != expected:
            what = f"its metric points of event {batch} were edited, added or removed"
            found.append(Fault(subject, f"{what}: {expected['points']} were logged, {len(members)} are there"))
    return found + [
        Fault(subject, f"its metric points of event {batch} are gone") for batch, (subject, _) in batches.items()
    ]


def _edge(edge: tuple[str, ...]) -> str:
    run_id, artifact_id, role, slot = edge
    return f"edge run/{run_id} {role} artifact/{artifact_id}" + (f" as {slot!r}" if slot else "")
