"""A batch in SQL: as many statements for a thousand records as for one.

What is looked up goes in as one JSON text: an IN list has a limit, and makes another statement of each length. The
statements are text: building and compiling them by SQLAlchemy took as long as all that SQLite does with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any, NamedTuple

import sqlalchemy as sa

from tidemill.core.graphs import batching, records, tracked
from tidemill.core.graphs.schema import artifacts, edges, events, points, runs
from tidemill.core.ids import utc_now
from tidemill.core.types import Artifact, Batch, Edge


class Statements(NamedTuple):
    """Texts for one dialect; `?` is a parameter."""

    runs: str
    artifacts: str
    keys: str
    edges: str
    put_runs: str
    put_artifacts: str
    put_edges: str
    put_events: str
    put_points: str
    head: str
    put_head: str
    among_keys: str
    done_by_key: str


def write(link: sa.Connection, batch: Batch) -> tuple[Artifact, ...]:
    """Write the batch in the transaction that `link` is in, which holds the chain's lock."""
    say = _statements(link.dialect.name)
    known = _known(link, say, batching.asked(batch))
    plan = batching.plan(batch, known)
    if not plan.events:
        return plan.made
    for statement, table, rows in (
        (say.put_runs, runs, plan.runs),
        (say.put_artifacts, artifacts, plan.artifacts),
        (say.put_edges, edges, [records.edge_row(edge) for edge in plan.edges]),
    ):
        _put(link, statement, table, rows)
    tracked.project(link, plan.runs, {run_id: body for run_id, (_, body) in known.runs.items()})
    put_events(link, plan.events, utc_now())
    return plan.made


def put_events(link: sa.Connection, said: Sequence[batching.Said], at: datetime) -> None:
    """Append events to the chain."""
    say = _statements(link.dialect.name)
    seq, last_hash = link.exec_driver_sql(say.head).one()
    rows = batching.chained(seq, last_hash, said, at)
    _put(link, say.put_events, events, rows)
    link.exec_driver_sql(say.put_head, (rows[-1]["seq"], rows[-1]["hash"]))


def last_seq(link: sa.Connection) -> int:
    """The number of the newest event."""
    return int(link.exec_driver_sql(_statements(link.dialect.name).head).one()[0])


def put_points(link: sa.Connection, rows: Sequence[batching.Row], seq: int) -> Sequence[batching.Row]:
    """Insert metric points that are not there, as those of event `seq`; returns those."""
    sqlite = link.dialect.name == "sqlite"
    given = [
        (
            row["run_id"],
            row["key"],
            row["step"],
            row["at"],
            "nan" if sqlite and row["value"] != row["value"] else row["value"],
            seq,
        )
        for row in rows
    ]
    say_points = _statements(link.dialect.name).put_points
    done = link.exec_driver_sql(say_points, given)
    if done.rowcount == len(rows):
        return rows
    found = link.execute(sa.select(points).where(points.c.batch == seq)).mappings()
    return [{name: row[name] for name in ("run_id", "key", "step", "at", "value")} for row in found]


def bodies(link: sa.Connection, run_ids: Sequence[str]) -> list[tuple[str, str, str]]:
    """(id, status, body) of those runs that are there."""
    asked = _statements(link.dialect.name).runs
    return [(row[0], row[1], row[2]) for row in link.exec_driver_sql(asked, (_json(run_ids),))]


def among_keys(link: sa.Connection, keys: Sequence[str]) -> sa.TextClause:
    """The condition that a run's cache key is one of these, however many they are."""
    return sa.text(_statements(link.dialect.name).among_keys).bindparams(tidemill_keys=_json(keys))


def done_by_key(engine: sa.Engine, keys: Sequence[str], limit: int) -> list[str] | None:
    """The bodies of the newest finished runs with one of these cache keys; one statement, in no transaction of ours.

    None where the driver says an error: asked in the ordinary way, it is told readably.
    """
    statement = _statements(engine.dialect.name).done_by_key
    try:
        raw = engine.raw_connection()
        try:
            cursor = raw.cursor()
            cursor.execute(statement, (_json(keys), limit))
            found = [str(row[0]) for row in cursor.fetchall()]
            cursor.close()
        finally:
            raw.close()
    except (sa.exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error):
        return None
    return found


def _known(link: sa.Connection, say: Statements, asked: batching.Asked) -> batching.Known:
    found: dict[str, tuple[str, str]] = {}
    if asked.runs:
        rows = link.exec_driver_sql(say.runs, (_json(asked.runs),))
        found = {run_id: (status, body) for run_id, status, body in rows}
    newest: dict[tuple[str, str], Artifact] = {}
    there: set[str] = set()
    if asked.names or asked.artifacts:
        for one, body in link.exec_driver_sql(say.artifacts, (_json(asked.names), _json(asked.artifacts))):
            if one is not None:
                there.add(one)
            elif body is not None:
                made = records.artifact_of(body)
                newest[made.kind, made.name] = made
    keys: Sequence[str] = []
    if asked.keys:
        keys = link.exec_driver_sql(say.keys, (_json(asked.keys),)).scalars().all()
    return batching.Known(found, newest, there, keys, partial(_linked, link, say))


def _linked(link: sa.Connection, say: Statements, some: Sequence[Edge]) -> set[Edge]:
    """Of these edges, those that are there."""
    rows = [(edge.run_id, edge.artifact_id, edge.role, edge.slot) for edge in some]
    return {Edge(*row) for row in link.exec_driver_sql(say.edges, (_json(rows),))}


def _put(link: sa.Connection, statement: str, table: sa.Table, rows: Sequence[batching.Row]) -> None:
    if rows:
        names = table.c.keys()
        link.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in rows])


def _json(value: Any) -> str:  # Any: lists of text
    return json.dumps(value, ensure_ascii=False)


@cache
def _statements(dialect: str) -> Statements:
    if dialect == "postgresql":
        among = "= ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(? AS jsonb))))"
        field = "listed.value->>{}"
        listed = "jsonb_array_elements(CAST(? AS jsonb)) AS listed(value)"
    else:
        among = "IN (SELECT value FROM json_each(?))"
        field = "json_extract(listed.value, '$[{}]')"
        listed = "json_each(?) AS listed"
    names = runs.c.keys()
    kind, name = field.format(0), field.format(1)
    same = " AND ".join(f"e.{column} = {field.format(place)}" for place, column in enumerate(edges.c.keys()))
    linked, joined = "e.run_id, e.artifact_id, e.role, e.slot", f"{listed} JOIN edges AS e ON {same}"
    if dialect == "postgresql":  # OFFSET 0 keeps it to one look-up an edge; see sqlwalk
        one = f"SELECT {linked} FROM edges AS e WHERE {same} OFFSET 0"  # noqa: S608  as above
        joined = f"{listed} CROSS JOIN LATERAL ({one}) AS e"
    changed = ", ".join(f"{column} = excluded.{column}" for column in names if column != "id")
    made = Statements(
        runs=f"SELECT id, status, body FROM runs WHERE id {among}",  # noqa: S608  names are ours, values are parameters
        # (null, the body of the newest version of a name), and (an id that is there, null): one statement.
        artifacts=f"SELECT NULL, (SELECT a.body FROM artifacts AS a WHERE a.kind = {kind}"  # noqa: S608  as above
        f" AND a.name = {name} ORDER BY a.version DESC LIMIT 1) FROM {listed}"
        f" UNION ALL SELECT artifacts.id, NULL FROM artifacts WHERE artifacts.id {among}",
        keys=f"SELECT key FROM events WHERE key {among}",  # noqa: S608  as above
        edges=f"SELECT {linked} FROM {joined}",  # noqa: S608  as above
        put_runs=f"{_insert(runs)} ON CONFLICT (id) DO UPDATE SET {changed}",
        put_artifacts=_insert(artifacts),
        put_edges=_insert(edges),
        put_events=_insert(events),
        put_points=f"{_insert(points)} ON CONFLICT DO NOTHING",
        head="SELECT seq, hash FROM head",
        put_head="UPDATE head SET seq = ?, hash = ?",
        among_keys=f"runs.key {among.replace('?', ':tidemill_keys')}",
        # coalesce: else SQLite may go through all that is done.
        done_by_key=f"SELECT body FROM runs WHERE key {among} AND coalesce(status, '') = 'done'"  # noqa: S608  as above
        " ORDER BY id DESC LIMIT ?",
    )
    return made if dialect == "sqlite" else Statements(*(text.replace("?", "%s") for text in made))


def _insert(table: sa.Table) -> str:
    names = table.c.keys()
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608  as above
