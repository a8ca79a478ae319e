"""The graph in this process's memory, in plain dicts: for tests, notebooks and what need not outlive its process."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidemill.core.errors import Conflict, NotFound
from tidemill.core.graphs import batching, records, verifying, walking
from tidemill.core.ids import parse_time, utc_now
from tidemill.core.types import Artifact, Batch, Direction, Edge, Event, Fault, Json, Point, Query, Run, Trail

SHORT_ID = 8
Row = dict[str, Any]  # as in the tables of schema.py


class MemoryGraph:
    """See tidemill.core.graph.Graph. One lock makes each call one transaction; nothing survives the process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._runs: dict[str, Row] = {}
        self._artifacts: dict[str, Row] = {}
        self._versions: dict[tuple[str, str], list[str]] = {}  # (kind, name): artifact ids, version 1 first
        self._edges: dict[Edge, None] = {}
        self._by_node: dict[str, list[Edge]] = {}
        self._points: dict[tuple[Any, ...], Row] = {}
        self._events: list[Row] = []
        self._keys: dict[str, Row] = {}

    # ------------------------------------------------------------------------------------------------ writing

    def put_run(self, run: Run) -> Run:
        """Insert or advance a run."""
        self.write(Batch([run]))
        return run

    def put(self, artifact: Artifact, *, slot: str = "") -> Artifact:
        """Record an artifact; content makes versions, not calls."""
        return self.write(Batch(artifacts=[(slot, artifact)]))[0]

    def link(self, edges: Sequence[Edge]) -> None:
        """Add edges that are not there yet."""
        self.write(Batch(edges=edges))

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        """Append metric points."""
        rows = {_point(row): row for row in (records.point_row(run_id, point) for point in points)}
        if not rows:
            return
        with self._lock:
            actor, batch = self._actor(run_id), len(self._events) + 1
            fresh = {place: {**row, "batch": batch} for place, row in rows.items() if place not in self._points}
            if fresh:
                self._append(f"run/{run_id}", "run.log", records.points_body(fresh.values()), actor)
                self._points |= fresh

    def record(
        self,
        subject: str,
        kind: str,
        body: Json,
        *,
        actor: str = "local",
        key: str | None = None,
        expect: int | None = None,
    ) -> Event:
        """Append an event, once for each key, and only if nobody else was first."""
        records.check_event(subject, kind, actor, key)
        with self._lock:
            if key is not None and key in self._keys:
                return records.event_of(self._keys[key])
            last = next((row["seq"] for row in reversed(self._events) if row["subject"] == subject), 0)
            if expect is not None and last != expect:
                raise Conflict(
                    f"{subject} is at event {last}, not {expect}: somebody else was first; read it again, retry"
                )
            return self._append(subject, kind, body, actor, key)

    def write(self, batch: Batch) -> tuple[Artifact, ...]:
        """Write many records in one transaction."""
        with self._lock:
            asked = batching.asked(batch)
            known = batching.Known(
                runs={one: (row["status"], row["body"]) for one in asked.runs if (row := self._runs.get(one))},
                newest={
                    pair: self._artifact(self._versions[pair][-1]) for pair in asked.names if pair in self._versions
                },
                artifacts=self._artifacts.keys(),
                keys=self._keys.keys(),
                edges=lambda some: [edge for edge in some if edge in self._edges],
            )
            plan = batching.plan(batch, known)
            last_hash = self._events[-1]["hash"] if self._events else records.GENESIS
            said = batching.chained(len(self._events), last_hash, plan.events, utc_now())
            self._runs |= {row["id"]: row for row in plan.runs}
            for row in plan.artifacts:
                self._artifacts[row["id"]] = row
                self._versions.setdefault((row["kind"], row["name"]), []).append(row["id"])
            self._add_edges(plan.edges)
            self._events += said
            self._keys |= {row["key"]: row for row in said if row["key"] is not None}
        return tuple(walking.bound(artifact, self) for artifact in plan.made)

    def amend(self, rewrite: Callable[[str], str | None], *, reason: str, actor: str = "local") -> list[str]:
        """Rewrite records and events."""
        records.check_event("erasure", "erasure", actor, None)
        with self._lock:
            found = [
                (table, kept, key, made)
                for table, kept in (("runs", self._runs), ("artifacts", self._artifacts), ("events", self._by_seq()))
                for key, row in kept.items()
                if (made := records.rewritten(table, row, rewrite)) is not None
            ]
            for table, _, key, made in found:
                if table == "events":
                    self._events[int(key) - 1] = made
            for table, kept, key, made in found:
                if table != "events":
                    kept[key] = made
                self._append(*records.erasure(table, made, reason), actor)
            self._keys = {row["key"]: row for row in self._events if row["key"] is not None}
            self._versions = self._versions_of()
        return [records.erased_name(table, made) for table, _, _, made in found]

    # ------------------------------------------------------------------------------------------------ reading

    def get(self, node_id: str) -> Run | Artifact:
        """By id or unique prefix."""
        with self._lock:
            if node_id in self._runs or node_id in self._artifacts:
                return self._node(node_id)
            found = sorted(one for one in (*self._runs, *self._artifacts) if one.startswith(node_id))
            if not found or len(node_id) < SHORT_ID:
                raise NotFound(
                    f"no run or artifact {node_id!r}; give its id, or the first {SHORT_ID} or more of its digits"
                )
            if len(found) > 1:
                raise NotFound(
                    f"{node_id!r} begins more than one id, such as {' and '.join(found[:2])}; give more digits"
                )
            return self._node(found[0])

    def find(self, query: Query) -> list[Any]:  # Any: runs or artifacts, as the query says
        """All that match, newest first."""
        table = self._runs if query.what == "run" else self._artifacts
        wanted = records.given(query)
        exact = query.kind is not None and not query.kind.endswith(".*")
        order = "version" if query.what == "artifact" and exact and query.name is not None else "id"
        with self._lock:
            at: Any = query.before  # Any: an id, or the version of that id
            if at is not None and order == "version":
                at = table[at]["version"] if at in table else 0
            rows = [
                row
                for row in table.values()
                if all(name in row and row[name] == value for name, value in wanted.items())
                and (query.kind is None or records.is_kind(row["kind"], query.kind))
                and (query.keys is None or row.get("key") in query.keys)
                and (not query.text or query.text in row["name"])
                and (at is None or row[order] < at)
            ]
            rows.sort(key=lambda row: row[order], reverse=True)
            return [self._node(row["id"]) for row in rows[: query.limit]]

    def edges(self, node_ids: Sequence[str]) -> list[Edge]:
        """All edges that touch one of these."""
        with self._lock:
            found = {edge for one in node_ids for edge in self._by_node.get(one, ())}
        return sorted(found, key=lambda edge: (edge.run_id, edge.role, edge.artifact_id, edge.slot))

    def trail(self, node_id: str, direction: Direction, *, depth: int | None = None) -> Trail:
        """Walk down or up from a run or an artifact."""
        near, far = walking.sides(direction)
        with self._lock:
            root = self.get(node_id)
            first = [root.id]
            if isinstance(root, Artifact):
                first = sorted({edge.run_id for edge in self._by_node.get(root.id, ()) if edge.role == near})
            reached, frontier = set(first), list(first)
            while frontier:
                met = {edge.artifact_id for one in frontier for edge in self._by_node.get(one, ()) if edge.role == far}
                ahead = {edge.run_id for one in met for edge in self._by_node[one] if edge.role == near}
                frontier = list(ahead - reached)
                reached |= ahead
            around = {edge for one in reached for edge in self._by_node.get(one, ())}
            found = walking.walk(root, first, around, direction, depth)
            runs = {one: records.run_of(self._runs[one]["body"]) for one in found.runs}
            artifacts = {one: self._artifact(one) for one in found.artifacts}
        return walking.trail(root, direction, found, runs, artifacts)

    def series(self, run_id: str, key: str | None = None) -> list[Point]:
        """A run's metric points."""
        with self._lock:
            rows = [row for row in self._points.values() if row["run_id"] == run_id and key in (None, row["key"])]
        rows.sort(key=lambda row: (row["key"], row["step"], row["at"], math.isnan(row["value"]), row["value"]))
        return [Point(row["key"], row["value"], row["step"], parse_time(row["at"])) for row in rows]

    def events(
        self, subject: str | None = None, *, kind: str | None = None, after: int = 0, last: int | None = None
    ) -> list[Event]:
        """Events in order."""
        with self._lock:
            rows = [
                row
                for row in self._events[max(after, 0) :]
                if (subject is None or records.is_subject(row["subject"], subject)) and kind in (None, row["kind"])
            ]
        return [records.event_of(row) for row in (rows if last is None else rows[max(len(rows) - last, 0) :])]

    def verify(self) -> list[Fault]:
        """Walk the chain and compare it with the rows."""
        with self._lock:
            last = self._events[-1] if self._events else {"seq": 0, "hash": records.GENESIS}
            return verifying.faults(
                chain=self._events,
                head=[last],
                runs=self._runs.values(),
                artifacts=self._artifacts.values(),
                edges=[records.edge_row(edge) for edge in self._edges],
                points=sorted(self._points.values(), key=lambda row: row["batch"]),
            )

    def close(self) -> None:
        """Nothing to let go of."""

    # ------------------------------------------------------------------------------------------------ inside

    def _node(self, node_id: str) -> Run | Artifact:
        return records.run_of(self._runs[node_id]["body"]) if node_id in self._runs else self._artifact(node_id)

    def _artifact(self, artifact_id: str) -> Artifact:
        return walking.bound(records.artifact_of(self._artifacts[artifact_id]["body"]), self)

    def _actor(self, run_id: str) -> str:
        if run_id not in self._runs:
            raise NotFound(f"no run {run_id!r} to add to; put_run it first")
        return records.run_of(self._runs[run_id]["body"]).actor

    def _add_edges(self, fresh: Sequence[Edge]) -> None:
        for edge in fresh:
            self._edges[edge] = None
            self._by_node.setdefault(edge.run_id, []).append(edge)
            self._by_node.setdefault(edge.artifact_id, []).append(edge)

    def _by_seq(self) -> dict[str, Row]:
        return {str(row["seq"]): row for row in self._events}

    def _versions_of(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for row in sorted(self._artifacts.values(), key=lambda row: row["version"]):
            found.setdefault((row["kind"], row["name"]), []).append(row["id"])
        return found

    def _append(self, subject: str, kind: str, body: Json, actor: str, key: str | None = None) -> Event:
        prev = self._events[-1]["hash"] if self._events else records.GENESIS
        row = records.event_row(Event(len(self._events) + 1, utc_now(), actor, subject, kind, body, prev, "", key))
        row["hash"] = records.event_hash(row)
        self._events.append(row)
        if key is not None:
            self._keys[key] = row
        return records.event_of(row)


def _point(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["run_id"], row["key"], row["step"], row["at"], repr(row["value"]))  # repr: NaN is not equal to itself


def open_graph(url: str = "") -> MemoryGraph:  # noqa: ARG001  the extension point hands a url to every graph
    """A new, empty graph."""
    return MemoryGraph()
