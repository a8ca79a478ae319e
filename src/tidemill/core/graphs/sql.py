"""The graph on SQLAlchemy Core: everything but how a transaction begins, which sqlite.py and postgres.py say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tidemill.core.errors import Busy, Conflict, NoRoom, NotFound
from tidemill.core.graphs import records, verifying
from tidemill.core.graphs.schema import artifacts, edges, events, points, runs
from tidemill.core.ids import iso, parse_time, utc_now
from tidemill.core.types import Artifact, Direction, Edge, Event, Fault, Json, Point, Query, Run, Trail

SHORT_ID = 8
CHUNK = 400  # ids in one IN list: SQLite allows 32,766 variables, plans for small lists are better


class SqlGraph:
    """See tidemill.core.graph.Graph. `writing` opens the one write transaction, holding the chain's lock."""

    def __init__(
        self, engine: sa.Engine, writing: Callable[[sa.Engine], AbstractContextManager[sa.Connection]]
    ) -> None:
        self._engine = engine
        self._writing = writing

    # ------------------------------------------------------------------------------------------------ writing

    def put_run(self, run: Run) -> Run:
        """Insert or advance a run."""
        body = records.run_body(run)
        row = {
            "id": run.id,
            "kind": run.kind,
            "name": run.name,
            "status": run.status,
            "key": run.key,
            "parent": run.parent,
            "body": body,
        }
        with self._write() as link:
            before = link.execute(sa.select(runs.c.status, runs.c.body).where(runs.c.id == run.id)).first()
            if before is None:
                link.execute(runs.insert().values(**row))
            elif before.body == body:
                return run
            elif before.status != "running":
                raise Conflict(
                    f"run {run.id} ended as {before.status!r}; an ended run cannot change, start another one"
                )
            else:
                link.execute(runs.update().where(runs.c.id == run.id).values(**row))
            self._append(link, f"run/{run.id}", f"run.{run.status}", {"digest": records.body_digest(body)}, run.actor)
        return run

    def put(self, artifact: Artifact, *, slot: str = "") -> Artifact:
        """Record an artifact; content makes versions, not calls."""
        with self._write() as link:
            newest = link.execute(
                sa.select(artifacts.c.body)
                .where(artifacts.c.kind == artifact.kind, artifacts.c.name == artifact.name)
                .order_by(artifacts.c.version.desc())
                .limit(1)
            ).scalar()
            last = None if newest is None else records.artifact_of(newest)
            if last is not None and last.digest == artifact.digest and records.same_meta(last, artifact):
                made = last
            else:
                made = replace(artifact, version=1 if last is None else last.version + 1, graph=None)
                body = records.artifact_body(made)
                link.execute(
                    artifacts.insert().values(
                        id=made.id,
                        kind=made.kind,
                        name=made.name,
                        version=made.version,
                        digest=made.digest,
                        run_id=made.run_id,
                        body=body,
                    )
                )
                self._append(
                    link, f"artifact/{made.id}", "artifact.put", {"digest": records.body_digest(body)}, "local"
                )
            if artifact.run_id is not None:
                self._link(link, [Edge(artifact.run_id, made.id, "out", slot)])
        return replace(made, graph=self)

    def link(self, edges: Sequence[Edge]) -> None:
        """Add edges that are not there yet."""
        if edges:
            with self._write() as link:
                self._link(link, edges)

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        """Append metric points."""
        if not points:
            return
        rows = [{"run_id": run_id, **records.point_row(point)} for point in points]
        with self._write() as link:
            self._insert_new(link, _points, rows)
            body = {"points": [[row["key"], row["step"], row["at"], row["value"]] for row in rows]}
            self._append(link, f"run/{run_id}", "run.log", body, "local")

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
        with self._write() as link:
            if key is not None:
                before = link.execute(sa.select(events).where(events.c.key == key)).first()
                if before is not None:
                    return _event(before)
            if expect is not None:
                last = link.execute(
                    sa.select(sa.func.coalesce(sa.func.max(events.c.seq), 0)).where(events.c.subject == subject)
                ).scalar_one()
                if last != expect:
                    raise Conflict(
                        f"{subject} is at event {last}, not {expect}: somebody else was first; read it again"
                    )
            return self._append(link, subject, kind, body, actor, key)

    # ------------------------------------------------------------------------------------------------ reading

    def get(self, node_id: str) -> Run | Artifact:
        """By id or unique prefix."""
        with self._read() as link:
            found: list[Run | Artifact] = []
            for table, parse in ((runs, records.run_of), (artifacts, records.artifact_of)):
                where = table.c.id == node_id
                if SHORT_ID <= len(node_id) < 32:
                    where = table.c.id.like(records.like_prefix(node_id), escape="\\")
                rows = link.execute(sa.select(table.c.body).where(where).limit(2))
                found += [self._bound(parse(row.body)) for row in rows]
        if not found:
            raise NotFound(f"no run or artifact {node_id!r}; give its id, or its first {SHORT_ID} digits or more")
        if len(found) > 1:
            raise NotFound(f"{node_id!r} begins the ids of more than one run or artifact; give more of its digits")
        return found[0]

    def find(self, query: Query) -> list[Any]:  # Any: runs or artifacts, as the query says
        """All that match, newest first."""
        table = runs if query.what == "run" else artifacts
        where: list[sa.ColumnElement[bool]] = []
        if query.kind is not None:
            where.append(_is_kind(table.c.kind, query.kind))
        same = {"name": query.name, "key": query.key, "status": query.status, "parent": query.parent}
        same |= {"digest": query.digest, "run_id": query.run}
        if query.version is not None:
            where.append(artifacts.c.version == query.version)
        for column, value in same.items():
            if value is not None:
                if column not in table.c:
                    return []
                where.append(table.c[column] == value)
        if query.text:
            where.append(table.c.name.like(f"%{records.like_prefix(query.text)}", escape="\\"))
        if query.before is not None:
            where.append(table.c.id < query.before)
        statement = sa.select(table.c.body).where(*where).order_by(table.c.id.desc()).limit(query.limit)
        with self._read() as link:
            bodies = link.execute(statement).scalars().all()
        parse = records.run_of if query.what == "run" else records.artifact_of
        return [self._bound(parse(body)) for body in bodies]

    def edges(self, node_ids: Sequence[str]) -> list[Edge]:
        """All edges that touch one of these."""
        found: dict[Edge, None] = {}
        with self._read() as link:
            for start in range(0, len(node_ids), CHUNK):
                part = list(node_ids[start : start + CHUNK])
                for column in (edges.c.run_id, edges.c.artifact_id):
                    for row in link.execute(sa.select(edges).where(column.in_(part))):
                        found[Edge(row.run_id, row.artifact_id, row.role, row.slot)] = None
        return sorted(found, key=lambda edge: (edge.run_id, edge.role, edge.artifact_id, edge.slot))

    def trail(self, node_id: str, direction: Direction, *, depth: int | None = None) -> Trail:
        """Walk down or up from a run or an artifact."""
        root = self.get(node_id)
        near, far = ("out", "in") if direction == "down" else ("in", "out")
        with self._read() as link:
            first = [root.id] if isinstance(root, Run) else _runs_of(link, root.id, near)
            reached = _reach(link, first, near, far, depth)
            walked = _edges_of(link, reached)
            artifact_ids = {edge.artifact_id for edge in walked if edge.role == far}
            if isinstance(root, Artifact):
                artifact_ids.add(root.id)
            kept = [edge for edge in walked if edge.role == far or edge.artifact_id in artifact_ids]
            if isinstance(root, Run):
                kept = list(walked) if depth is None else kept
            found_runs = {row.id: records.run_of(row.body) for row in _rows(link, runs, list(reached))}
            found = {row.id: records.artifact_of(row.body) for row in _rows(link, artifacts, sorted(artifact_ids))}
        ordered = [found_runs[run_id] for run_id in reached if run_id in found_runs]
        seen = {root.id: None} if isinstance(root, Artifact) else {}
        by_run: dict[str, list[str]] = {}
        for edge in kept:
            by_run.setdefault(edge.run_id, []).append(edge.artifact_id)
        for run in ordered:
            seen |= dict.fromkeys(by_run.get(run.id, []))
        listed = tuple(replace(found[one], graph=self) for one in seen if one in found)
        edges_kept = tuple(edge for edge in kept if edge.artifact_id in found)
        return Trail(root.id, direction, tuple(ordered), listed, edges_kept)

    def series(self, run_id: str, key: str | None = None) -> list[Point]:
        """A run's metric points."""
        where = [points.c.run_id == run_id, *([points.c.key == key] if key is not None else [])]
        order = (points.c.key, points.c.step, points.c.at)
        with self._read() as link:
            rows = link.execute(sa.select(points).where(*where).order_by(*order)).all()
        return [Point(row.key, row.value, row.step, parse_time(row.at)) for row in rows]

    def events(
        self, subject: str | None = None, *, kind: str | None = None, after: int = 0, last: int | None = None
    ) -> list[Event]:
        """Events in order."""
        where = [events.c.seq > after]
        if subject is not None and subject.endswith("/*"):
            where.append(events.c.subject.like(records.like_prefix(subject[:-1]), escape="\\"))
        elif subject is not None:
            where.append(events.c.subject == subject)
        if kind is not None:
            where.append(events.c.kind == kind)
        statement = sa.select(events).where(*where)
        with self._read() as link:
            if last is not None:
                return [_event(row) for row in link.execute(statement.order_by(events.c.seq.desc()).limit(last))][::-1]
            return [_event(row) for row in link.execute(statement.order_by(events.c.seq))]

    def verify(self) -> list[Fault]:
        """Walk the chain and compare it with the rows."""
        with self._read() as link:
            rows: dict[str, Iterator[Any]] = {
                table.name: iter(link.execute(sa.select(table)).all()) for table in (runs, artifacts, edges, points)
            }
            chain = (_event(row) for row in link.execute(sa.select(events).order_by(events.c.seq)))
            return verifying.faults(chain, rows["runs"], rows["artifacts"], rows["edges"], rows["points"])

    def close(self) -> None:
        """Let go of connections."""
        self._engine.dispose()

    # ------------------------------------------------------------------------------------------------ inside

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        try:
            with self._writing(self._engine) as link:
                yield link
        except OperationalError as error:
            raise _readable(error) from error

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as link:
                yield link
        except OperationalError as error:
            raise _readable(error) from error

    def _bound(self, node: Run | Artifact) -> Run | Artifact:
        return replace(node, graph=self) if isinstance(node, Artifact) else node

    def _link(self, link: sa.Connection, wanted: Sequence[Edge]) -> None:
        rows = [{"run_id": e.run_id, "artifact_id": e.artifact_id, "role": e.role, "slot": e.slot} for e in wanted]
        if self._insert_new(link, edges, rows):
            self._append(link, f"run/{wanted[0].run_id}", "run.link", records.edges_body(wanted), "local")

    def _insert_new(self, link: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> int:
        """Insert the rows that are not there; the dialects share ON CONFLICT DO NOTHING."""
        from sqlalchemy.dialects import postgresql, sqlite

        dialect: Any = postgresql if link.dialect.name == "postgresql" else sqlite
        return int(link.execute(dialect.insert(table).on_conflict_do_nothing(), rows).rowcount)

    def _append(  # noqa: PLR0917  the fields of an event, in their order
        self, link: sa.Connection, subject: str, kind: str, body: Json, actor: str, key: str | None = None
    ) -> Event:
        last = link.execute(sa.select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)).first()
        seq, prev = (1, records.GENESIS) if last is None else (last.seq + 1, last.hash)
        at, text = utc_now(), records.event_body(body)
        row = {
            "seq": seq,
            "at": iso(at),
            "actor": actor,
            "subject": subject,
            "kind": kind,
            "body": text,
            "prev": prev,
            "hash": (made := records.event_hash(prev, seq, (iso(at), actor, subject, kind, text))),
            "key": key,
        }
        link.execute(events.insert().values(**row))
        return Event(seq, at, actor, subject, kind, json.loads(text), prev, made, key)


_points = points  # `log` has a parameter of that name


def _is_kind(column: sa.ColumnElement[str], kind: str) -> sa.ColumnElement[bool]:
    if kind.endswith(".*"):
        return column.like(records.like_prefix(kind[:-1]), escape="\\")
    return column == kind


def _event(row: Any) -> Event:
    return Event(
        row.seq, parse_time(row.at), row.actor, row.subject, row.kind, json.loads(row.body), row.prev, row.hash, row.key
    )


def _runs_of(link: sa.Connection, artifact_id: str, role: str) -> list[str]:
    where = (edges.c.artifact_id == artifact_id, edges.c.role == role)
    return list(link.execute(sa.select(edges.c.run_id).where(*where).distinct().order_by(edges.c.run_id)).scalars())


def _reach(link: sa.Connection, first: list[str], near: str, far: str, depth: int | None) -> dict[str, None]:
    """The runs reached from `first`, nearest first: run -> artifacts on its far side -> runs near those.

    One recursive statement gives the pairs (run, next run); the order is then found in memory.
    """
    if not first or (depth is not None and depth < 1):
        return {}
    start = sa.select(edges.c.run_id.label("run_id")).where(edges.c.run_id.in_(first)).distinct()
    reach = start.cte("reach", recursive=True)
    here, there = edges.alias("here"), edges.alias("there")
    step = (
        sa.select(there.c.run_id)
        .join_from(reach, here, (here.c.run_id == reach.c.run_id) & (here.c.role == far))
        .join(there, (there.c.artifact_id == here.c.artifact_id) & (there.c.role == near))
    )
    reach = reach.union(step)
    pairs = (
        sa.select(here.c.run_id, there.c.run_id.label("next_id"))
        .join_from(reach, here, (here.c.run_id == reach.c.run_id) & (here.c.role == far))
        .join(there, (there.c.artifact_id == here.c.artifact_id) & (there.c.role == near))
        .distinct()
        .order_by(here.c.run_id, there.c.run_id)
    )
    onward: dict[str, list[str]] = {}
    for row in link.execute(pairs):
        onward.setdefault(row.run_id, []).append(row.next_id)
    reached = dict.fromkeys(first)
    frontier, level = list(first), 1
    while frontier and (depth is None or level < depth):
        ahead = dict.fromkeys(one for run_id in frontier for one in onward.get(run_id, ()) if one not in reached)
        reached |= ahead
        frontier, level = list(ahead), level + 1
    return reached


def _edges_of(link: sa.Connection, run_ids: dict[str, None]) -> list[Edge]:
    found = [
        Edge(row.run_id, row.artifact_id, row.role, row.slot)
        for row in _rows(link, edges, list(run_ids), column=edges.c.run_id)
    ]
    order = {run_id: place for place, run_id in enumerate(run_ids)}
    return sorted(found, key=lambda edge: (order[edge.run_id], edge.role, edge.artifact_id, edge.slot))


def _rows(
    link: sa.Connection, table: sa.Table, ids: list[str], *, column: sa.ColumnElement[str] | None = None
) -> Iterator[Any]:
    wanted = table.c.id if column is None else column
    for start in range(0, len(ids), CHUNK):
        yield from link.execute(sa.select(table).where(wanted.in_(ids[start : start + CHUNK])))


def _readable(error: OperationalError) -> Exception:
    text = str(error.orig)
    if "locked" in text or "busy" in text:
        return Busy("the workspace's database was locked by another process for 30 s; see who holds it, then try again")
    if "full" in text or "readonly" in text or "disk I/O" in text or "unable to open" in text:
        return NoRoom(f"the workspace's database cannot be written ({text}); free space or rights, then run it again")
    return error
