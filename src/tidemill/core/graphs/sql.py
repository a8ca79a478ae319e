"""The graph on SQLAlchemy Core: everything but how a transaction begins, which sqlite.py and postgres.py say."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import sqlalchemy as sa

from tidemill.core.errors import Conflict, NotFound
from tidemill.core.graphs import records, sqlbatch, sqlwalk, traced, tracked, verifying, walking
from tidemill.core.graphs.failing import readable_errors
from tidemill.core.graphs.schema import artifacts, edges, events, head, points, runs, trace_spans, traces
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import parse_time, utc_now
from tidemill.core.types import Artifact, Batch, Direction, Edge, Event, Fault, Json, Point, Query, Run, Trail

SHORT_ID = 8
CHUNK = 2000  # ids in one IN list: SQLite takes 32,766 variables a statement, PostgreSQL 65,535
BATCH_ROWS = 5000  # rows fetched at a time by verify, which reads every table

Opening = Callable[[sa.Engine], AbstractContextManager[sa.Connection]]


class SqlGraph:
    """See tidemill.core.graph.Graph. `writing` opens a transaction that holds the event chain's lock; `reading` opens
    one that sees one moment of the database; `free` overwrites or lets go of what rows held before they changed."""

    def __init__(
        self,
        engine: sa.Engine,
        writing: Opening,
        reading: Opening,
        *,
        free: Callable[[sa.Engine], None],
        wait_s: float,
    ) -> None:
        self._engine = engine
        self._writing = writing
        self._reading = reading
        self._free = free
        self._wait_s = wait_s
        # A forked child must not speak on its parent's connections: it forgets them and opens its own.
        mine = weakref.ref(engine)
        os.register_at_fork(after_in_child=lambda: _forget(mine()))

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

    def write(self, batch: Batch) -> tuple[Artifact, ...]:
        """Write many records in one transaction."""
        if not (batch.runs or batch.artifacts or batch.edges or batch.events):
            return ()
        with self._write() as link:
            made = sqlbatch.write(link, batch)
        return tuple(walking.bound(artifact, self) for artifact in made)

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        """Append metric points."""
        if points:
            with self.transaction() as now:
                now.log({run_id: points})

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
        with self._write() as link:
            if key is not None:
                before = link.execute(sa.select(events).where(events.c.key == key)).mappings().first()
                if before is not None:
                    return records.event_of(before)
            if expect is not None:
                newest = sa.func.coalesce(sa.func.max(events.c.seq), 0)
                last = link.execute(sa.select(newest).where(events.c.subject == subject)).scalar_one()
                if last != expect:
                    raise Conflict(
                        f"{subject} is at event {last}, not {expect}: somebody else was first; read it again, retry"
                    )
            return self._append(link, subject, kind, body, actor, key)

    def amend(self, rewrite: Callable[[str], str | None], *, reason: str, actor: str = "local") -> list[str]:
        """Rewrite records and events, then free the pages that held them."""
        records.check_event("erasure", "erasure", actor, None)
        changed: list[str] = []
        with self._write() as link:
            last = link.execute(sa.select(head.c.seq)).scalar_one()
            for table, key in ((runs, runs.c.id), (artifacts, artifacts.c.id), (events, events.c.seq)):
                for row in _pages(link, table, key, None if table is not events else last):
                    made = records.rewritten(table.name, row, rewrite)
                    if made is not None:
                        if table is runs:
                            tracked.again(link, [made])
                        link.execute(table.update().where(key == row[key.name]), made)
                        self._append(link, *records.erasure(table.name, made, reason), actor)
                        changed.append(records.erased_name(table.name, made))
            changed += traced.amend(
                link, rewrite, lambda subject, kind, body: self._append(link, subject, kind, body, actor), reason=reason
            )
            if changed:
                tracked.experiments_again(link)
                tracked.files_again(link)
        with readable_errors(self._engine, self._wait_s):
            self._free(self._engine)
        return changed

    # ------------------------------------------------------------------------------------------------ reading

    def get(self, node_id: str) -> Run | Artifact:
        """By id or unique prefix."""
        found: dict[str, Run | Artifact] = {}
        with self._read() as link:
            for table, parse in ((runs, self._run), (artifacts, self._artifact)):
                where = table.c.id == node_id
                if len(node_id) >= SHORT_ID:
                    where = (table.c.id >= node_id) & (table.c.id < records.after_prefix(node_id))
                statement = sa.select(table.c.id, table.c.body).where(where).order_by(table.c.id).limit(2)
                found |= {row.id: parse(row.body) for row in link.execute(statement)}
        if node_id in found:
            return found[node_id]
        if not found:
            raise NotFound(
                f"no run or artifact {node_id!r}; give its id, or the first {SHORT_ID} or more of its digits"
            )
        if len(found) > 1:
            raise NotFound(
                f"{node_id!r} begins more than one id, such as {' and '.join(list(found)[:2])}; give more digits"
            )
        return next(iter(found.values()))

    def find(self, query: Query) -> list[Any]:  # Any: runs or artifacts, as the query says
        """All that match, newest first."""
        if query.keys is not None and query == Query("run", keys=query.keys, status="done", limit=query.limit):
            # What each step of a pipeline asks: on the driver's connection it takes a quarter of the time.
            done = sqlbatch.done_by_key(self._engine, query.keys, query.limit)
            if done is not None:
                return [self._run(body) for body in done]
        table = runs if query.what == "run" else artifacts
        given = records.given(query)
        if not given.keys() <= set(table.c.keys()) or (query.keys is not None and table is artifacts):
            return []
        columns = _columns(table, query)
        where: list[sa.ColumnElement[bool]] = [columns[column] == value for column, value in given.items()]
        exact = query.kind is not None and not query.kind.endswith(".*")
        if query.kind is not None:
            where.append(_matches(columns["kind"], query.kind, "." if not exact else ""))
        # Versions count in the order of their commits; ids only nearly, where clocks of two machines differ.
        by_version = query.what == "artifact" and exact and query.name is not None
        order = artifacts.c.version if by_version else table.c.id
        if query.before is not None:
            at = sa.select(order).where(table.c.id == query.before).scalar_subquery() if by_version else query.before
            where.append(order < at)
        statement = sa.select(table.c.body).where(*where).order_by(order.desc()).limit(query.limit)
        with self._read() as link:
            if query.keys is not None:
                statement = statement.where(sqlbatch.among_keys(link, query.keys))
            if query.text:
                position = sa.func.strpos if link.dialect.name == "postgresql" else sa.func.instr
                statement = statement.where(position(table.c.name, query.text) > 0)
            bodies = link.execute(statement).scalars().all()
        return [self._run(body) if query.what == "run" else self._artifact(body) for body in bodies]

    def edges(self, node_ids: Sequence[str]) -> list[Edge]:
        """All edges that touch one of these."""
        with self._read() as link:
            found = {
                Edge(*row)
                for column in (edges.c.run_id, edges.c.artifact_id)
                for row in _rows(link, sa.select(edges), column, list(node_ids))
            }
        return sorted(found, key=lambda edge: (edge.run_id, edge.role, edge.artifact_id, edge.slot))

    def trail(self, node_id: str, direction: Direction, *, depth: int | None = None) -> Trail:
        """Walk down or up from a run or an artifact."""
        root = self.get(node_id)
        near, far = walking.sides(direction)
        with self._read() as link:
            first = [root.id]
            if isinstance(root, Artifact):
                start = sa.select(edges.c.run_id).where(edges.c.artifact_id == root.id, edges.c.role == near)
                first = list(link.execute(start.distinct().order_by(edges.c.run_id)).scalars())
            around = (
                (Edge(*row) for row in link.execute(sqlwalk.around(link, first, near, far, depth)).all())
                if first
                else ()
            )
            found = walking.walk(root, first, around, direction, depth)
            found_runs = _rows(link, sa.select(runs.c.id, runs.c.body), runs.c.id, found.runs)
            run_of = {row.id: self._run(row.body) for row in found_runs}
            made = _rows(link, sa.select(artifacts.c.id, artifacts.c.body), artifacts.c.id, found.artifacts)
            artifact_of = {row.id: self._artifact(row.body) for row in made}
        return walking.trail(root, direction, found, run_of, artifact_of)

    def series(self, run_id: str, key: str | None = None) -> list[Point]:
        """A run's metric points."""
        statement = sa.select(points.c.key, points.c.value, points.c.step, points.c.at).where(points.c.run_id == run_id)
        if key is not None:
            statement = statement.where(points.c.key == key)
        with self._read() as link:
            rows = link.execute(statement.order_by(points.c.key, points.c.step, points.c.at, points.c.value)).all()
        return [Point(row.key, row.value, row.step, parse_time(row.at)) for row in rows]

    def events(
        self, subject: str | None = None, *, kind: str | None = None, after: int = 0, last: int | None = None
    ) -> list[Event]:
        """Events in order."""
        statement = sa.select(events).where(events.c.seq > after)
        if subject is not None:
            statement = statement.where(_matches(events.c.subject, subject, "/"))
        if kind is not None:
            statement = statement.where(events.c.kind == kind)
        statement = statement.order_by(events.c.seq if last is None else events.c.seq.desc()).limit(last)
        with self._read() as link:
            found = [records.event_of(row) for row in link.execute(statement).mappings()]
        return found if last is None else found[::-1]

    def verify(self) -> list[Fault]:
        """Walk the chain and compare it with the rows."""
        with self._read() as link:

            def rows(table: sa.Table, *order: sa.ColumnElement[Any]) -> Iterator[Any]:  # Any: RowMapping
                statement = sa.select(table).order_by(*order).execution_options(yield_per=BATCH_ROWS)
                yield from link.execute(statement).mappings()

            return verifying.faults(
                chain=rows(events, events.c.seq),
                head=rows(head),
                runs=rows(runs, runs.c.id),
                artifacts=rows(artifacts, artifacts.c.id),
                edges=rows(edges),
                points=rows(points, points.c.batch),
                traces=rows(traces),
                spans=rows(trace_spans),
            )

    # ------------------------------------------------------------------------------------------------ for phases

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Many changes at once, and what was read between them; nothing of it where the body raises."""
        with self._write() as link:
            now = Transaction(link)
            yield now
            now.flush()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one moment of the tables of schema.py."""
        with self._read() as link:
            yield link

    def close(self) -> None:
        """Let go of connections."""
        self._engine.dispose()

    # ------------------------------------------------------------------------------------------------ inside

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with readable_errors(self._engine, self._wait_s), self._writing(self._engine) as link:
            yield link

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with readable_errors(self._engine, self._wait_s), self._reading(self._engine) as link:
            yield link

    def _run(self, body: str) -> Run:
        return records.run_of(body)

    def _artifact(self, body: str) -> Artifact:
        return walking.bound(records.artifact_of(body), self)

    def _append(
        self, link: sa.Connection, subject: str, kind: str, body: Json, actor: str, key: str | None = None
    ) -> Event:
        last = link.execute(sa.select(head.c.seq, head.c.hash)).one()
        event = Event(last.seq + 1, utc_now(), actor, subject, kind, body, last.hash, "", key)
        row = records.event_row(event)
        row["hash"] = records.event_hash(row)
        link.execute(events.insert(), row)
        link.execute(head.update(), {"seq": row["seq"], "hash": row["hash"]})
        return records.event_of(row)


def _forget(engine: sa.Engine | None) -> None:
    if engine is not None:
        engine.dispose(close=False)


def _columns(table: sa.Table, query: Query) -> dict[str, sa.ColumnElement[Any]]:
    """The columns to compare with, those of a poor index without it: SQLite would read all the runs that are done.

    Few runs have one key, few are running, nearly all are done.
    """
    first = "key" if query.key is not None or query.keys is not None else "status"
    few = first == "key" or query.status == "running"
    plain: dict[str, sa.ColumnElement[Any]] = {column.name: column for column in table.c}
    if query.status is None and not few:
        return plain
    hidden: dict[str, sa.ColumnElement[Any]] = {column.name: sa.func.coalesce(column, "") for column in table.c}
    if few:
        return {**hidden, first: plain[first]} if first in plain else plain
    others = (query.kind, query.name, query.parent)
    return {**plain, "status": hidden["status"]} if any(each is not None for each in others) else plain


def _matches(column: sa.ColumnElement[str], wanted: str, mark: str) -> sa.ColumnElement[bool]:
    """Exact, or the prefix before a final "*" that follows the mark."""
    if mark and wanted.endswith(f"{mark}*"):
        return (column >= wanted[:-1]) & (column < records.after_prefix(wanted[:-1]))
    return column == wanted


def _rows(
    link: sa.Connection, statement: sa.Select[Any], column: sa.ColumnElement[str], ids: Sequence[str]
) -> Iterator[Any]:
    for start in range(0, len(ids), CHUNK):
        yield from link.execute(statement.where(column.in_(ids[start : start + CHUNK]))).all()


def _pages(
    link: sa.Connection, table: sa.Table, key: sa.ColumnElement[Any], last: int | None
) -> Iterator[Mapping[str, Any]]:
    """All rows in order of their key, a page at a time: rows are changed while they are walked."""
    statement = sa.select(table).order_by(key).limit(BATCH_ROWS)
    if last is not None:
        statement = statement.where(key <= last)
    page = link.execute(statement).mappings().all()
    while page:
        yield from (dict(row) for row in page)
        page = link.execute(statement.where(key > page[-1][key.name])).mappings().all()
