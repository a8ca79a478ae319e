"""Many changes of a graph in one transaction, for phases that read between them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from tidemill.core.errors import NotFound
from tidemill.core.graphs import batching, records, sqlbatch, tracked
from tidemill.core.ids import utc_now
from tidemill.core.types import Artifact, Batch, Json, NewEvent, Point, Run

_DECODER = json.JSONDecoder()
_ACTOR = '{"actor":'  # how canonical JSON of a run begins


class Transaction:
    """A transaction that is open. link: its connection, for tables of one's own and for reading."""

    def __init__(self, link: sa.Connection) -> None:
        self.link = link
        self._said: list[batching.Said] = []
        self._seq: int | None = None  # of the last event in the table
        self._actors: dict[str, str] = {}

    def write(self, batch: Batch) -> tuple[Artifact, ...]:
        """See Graph.write; the artifacts are not bound to a graph."""
        self.flush()
        self._seq = None
        self._actors |= {run.id: run.actor for run in batch.runs}
        return sqlbatch.write(self.link, batch)

    def say(self, subject: str, kind: str, body: Json, actor: str) -> int:
        """Append an event; returns its number. Written with the others at the end."""
        records.check_event(subject, kind, actor, None)
        return self._append(subject, kind, body, actor)

    def record(self, event: NewEvent) -> None:
        """Append an event; one with a key once."""
        if event.key is None:
            self.say(event.subject, event.kind, event.body, event.actor)
        else:
            self.write(Batch(events=[event]))

    def log(self, points: Mapping[str, Sequence[Point]]) -> None:
        """Append metric points of runs; those that are there already stay. Raises NotFound for an unknown run."""
        actors = self._actors_of([run_id for run_id, some in points.items() if some])
        fresh: list[dict[str, Any]] = []
        for run_id, some in points.items():
            rows = list(
                {tuple(row.values()): row for row in (records.point_row(run_id, each) for each in some)}.values()
            )
            seq = self._next() if rows else 0
            new = sqlbatch.put_points(self.link, rows, seq) if rows else []
            if new:
                self._append(f"run/{run_id}", "run.log", records.points_body(new), actors[run_id])
                fresh += new
        tracked.points(self.link, fresh)

    def run(self, run_id: str) -> Run:
        """The run of that id, as it is in this transaction. Raises NotFound."""
        for _, _, body in sqlbatch.bodies(self.link, [run_id]):
            return records.run_of(body)
        raise NotFound(f"no run {run_id!r}")

    @contextmanager
    def part(self) -> Iterator[None]:
        """A part of the transaction that may fail alone: nothing of it stays where the body raises."""
        said = list(self._said)
        try:
            with self.link.begin_nested():
                yield
        except BaseException:
            self._said, self._seq = said, None
            self._actors.clear()
            raise

    def flush(self) -> None:
        """Write the events that were said."""
        if self._said:
            sqlbatch.put_events(self.link, self._said, utc_now())
            self._said, self._seq = [], None

    def _append(self, subject: str, kind: str, body: Json, actor: str) -> int:
        seq = self._next()
        self._said.append((subject, kind, body, actor, None))
        return seq

    def _next(self) -> int:
        if self._seq is None:
            self._seq = sqlbatch.last_seq(self.link)
        return self._seq + len(self._said) + 1

    def _actors_of(self, run_ids: Sequence[str]) -> Mapping[str, str]:
        unknown = [run_id for run_id in run_ids if run_id not in self._actors]
        if unknown:
            found = {run_id: _actor(body) for run_id, _, body in sqlbatch.bodies(self.link, unknown)}
            for missing in unknown:
                if missing not in found:
                    raise NotFound(f"no run {missing!r} to add to; put_run it first")
            self._actors |= found
        return self._actors


def _actor(body: str) -> str:
    if body.startswith(_ACTOR):
        return str(_DECODER.raw_decode(body, len(_ACTOR))[0])
    return str(json.loads(body)["actor"])
