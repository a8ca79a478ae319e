"""The graph of runs and artifacts, and the event log under every change: what an implementation must do.

Contract
    Threads and processes: any method may be called from any thread of any process at once.
    Atomicity: each call is one transaction; when it returns, its effect survives kill -9.
    Order: `find` and `events` are ordered by id and by seq; versions of a (kind, name) count 1, 2, 3 without a gap.
    Log: every change appends an Event in the same transaction, chained by hash (see Event); `verify` walks the chain
        and compares each event with the row that it speaks of: an edited, removed or reordered row is found.
    Erasure: `amend` is the one way in which a record changes after the fact, and it leaves events that say so.
    Errors: NotFound for an unknown id, Conflict where `expect` does not hold or a finished run is changed, Busy after
    30 s of waiting for a lock, WrongFormat for a database of a newer format.

`tidemill.testing.graphs` is the public suite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tidemill.core.types import Artifact, Batch, Direction, Edge, Event, Fault, Json, Point, Query, Run, Trail


class Graph(Protocol):
    """Runs, artifacts, edges, metric series and events."""

    def put_run(self, run: Run) -> Run:
        """Insert the run, or replace its state while it is "running"; a finished run cannot change (Conflict).

        Event: subject "run/<id>", kind "run.<status>", body with the digest of the run's canonical JSON.
        """
        ...

    def put(self, artifact: Artifact, *, slot: str = "") -> Artifact:
        """Record an artifact as an output of `artifact.run_id` (if any), with the next version of its (kind, name).

        Its `version` field is ignored. If the newest version of (kind, name) has the same digest and meta, that one is
        returned (and linked as an output of the run): content makes versions, not calls.
        """
        ...

    def link(self, edges: Sequence[Edge]) -> None:
        """Add edges; one that is there already stays as it is."""
        ...

    def write(self, batch: Batch) -> tuple[Artifact, ...]:
        """Write many records in one transaction, as put_run, put, link and record would one by one, in that order.

        Returns the artifacts as recorded, in order. An edge that names the id of an artifact of the batch leads to what
        was recorded for it. In SQL the number of statements does not grow with the number of records.
        """
        ...

    def get(self, node_id: str) -> Run | Artifact:
        """The run or artifact of that id (or of a unique prefix of at least 8 digits); NotFound otherwise."""
        ...

    def find(self, query: Query) -> list[Run] | list[Artifact]:
        """All that match, newest first: by id; artifacts of one exact kind and name by version."""
        ...

    def edges(self, node_ids: Sequence[str]) -> list[Edge]:
        """All edges that touch one of these runs or artifacts."""
        ...

    def trail(self, node_id: str, direction: Direction, *, depth: int | None = None) -> Trail:
        """Walk down (artifact -> the run that made it -> its inputs ...) or up. depth counts runs; None is all.

        One recursive statement: 20,000 edges take milliseconds.
        """
        ...

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        """Append metric points; the same (key, step, at, value) twice is kept once."""
        ...

    def series(self, run_id: str, key: str | None = None) -> list[Point]:
        """A run's metric points, by key, step, time, value (NaN last)."""
        ...

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
        """Append an event. An event with the same `key` is returned as it is; Conflict if `expect` (a seq, 0 for none)
        is not the seq of the subject's last event."""
        ...

    def events(
        self, subject: str | None = None, *, kind: str | None = None, after: int = 0, last: int | None = None
    ) -> list[Event]:
        """Events in order, of one subject (exact, or a prefix ending in "/*") and kind if given; `last`: the last n."""
        ...

    def verify(self) -> list[Fault]:
        """All that is wrong with the chain and the rows it speaks of; empty is good."""
        ...

    def amend(self, rewrite: Callable[[str], str | None], *, reason: str, actor: str = "local") -> list[str]:
        """Erase: give every record to `rewrite`, keep what it returns in its place; None leaves it. Ids stay.

        A run or artifact comes as its JSON; its new text is told by an event "run.erased" or "artifact.erased" with
        the new digest. An event comes as the JSON list [subject, actor, key, body]; it keeps its place and its hash in
        the chain, and a later event "event.erased" names it and the hash of what is left of it: `verify` accepts
        exactly that. What was there before is gone from the disk, not only from answers. Returns the ids, and
        "event <seq>" of events, that changed; all in one transaction. Raises BadInput for a text that is no such
        record, Busy where other programs keep the old pages in use.
        """
        ...

    def close(self) -> None:
        """Let go of connections; the graph cannot be used afterwards."""
        ...
