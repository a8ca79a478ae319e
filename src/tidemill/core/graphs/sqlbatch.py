"""A batch in SQL: as many statements for a thousand records as for one.

What is looked up goes in as one JSON text: an IN list has a limit, and makes another statement of each length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tidemill.core.graphs import batching, records
from tidemill.core.graphs.schema import artifacts, edges, events, head, runs
from tidemill.core.ids import utc_now
from tidemill.core.types import Artifact, Batch, Edge

Columns = Sequence[sa.ColumnElement[str]]


def write(link: sa.Connection, batch: Batch) -> tuple[Artifact, ...]:
    """Write the batch in the transaction that `link` is in, which holds the chain's lock."""
    plan = batching.plan(batch, _known(link, batching.asked(batch)))
    if not plan.events:
        return plan.made
    if plan.runs:
        link.execute(_put_runs(link), plan.runs)
    if plan.artifacts:
        link.execute(artifacts.insert(), plan.artifacts)
    if plan.edges:
        link.execute(edges.insert(), [records.edge_row(edge) for edge in plan.edges])
    last = link.execute(sa.select(head.c.seq, head.c.hash)).one()
    rows = batching.chained(last.seq, last.hash, plan.events, utc_now())
    link.execute(events.insert(), rows)
    link.execute(head.update(), {"seq": rows[-1]["seq"], "hash": rows[-1]["hash"]})
    return plan.made


def among(link: sa.Connection, column: sa.ColumnElement[Any], values: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether the column is one of these, however many they are."""
    (value,), listed = _listed(link, [[value] for value in values], "among", 1)
    return column.in_(sa.select(value).select_from(listed))


def _known(link: sa.Connection, asked: batching.Asked) -> batching.Known:
    found: dict[str, tuple[str, str]] = {}
    if asked.runs:
        statement = sa.select(runs.c.id, runs.c.status, runs.c.body).where(among(link, runs.c.id, asked.runs))
        found = {row.id: (row.status, row.body) for row in link.execute(statement)}
    newest: dict[tuple[str, str], Artifact] = {}
    there: set[str] = set()
    for row in link.execute(_artifacts(link, asked)) if asked.names or asked.artifacts else ():
        if row.id is not None:
            there.add(row.id)
        elif row.body is not None:
            made = records.artifact_of(row.body)
            newest[made.kind, made.name] = made
    keys: Sequence[str] = []
    if asked.keys:
        keys = link.execute(sa.select(events.c.key).where(among(link, events.c.key, asked.keys))).scalars().all()
    return batching.Known(found, newest, there, keys, partial(_linked, link))


def _artifacts(link: sa.Connection, asked: batching.Asked) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """(None, the body of the newest version of a name), and (an id that is there, None): one statement."""
    parts: list[sa.Select[Any]] = []
    if asked.names:
        (kind, name), listed = _listed(link, asked.names, "names", 2)
        newest = (
            sa.select(artifacts.c.body)
            .where(artifacts.c.kind == kind, artifacts.c.name == name)
            .order_by(artifacts.c.version.desc())
            .limit(1)
            .correlate(listed)
            .scalar_subquery()
        )
        parts.append(sa.select(sa.null().label("id"), newest.label("body")).select_from(listed))
    if asked.artifacts:
        here = among(link, artifacts.c.id, asked.artifacts)
        parts.append(sa.select(artifacts.c.id, sa.null().label("body")).where(here))
    return parts[0] if len(parts) == 1 else sa.union_all(*parts)


def _linked(link: sa.Connection, some: Sequence[Edge]) -> set[Edge]:
    """Of these edges, those that are there."""
    rows = [(edge.run_id, edge.artifact_id, edge.role, edge.slot) for edge in some]
    asked, listed = _listed(link, rows, "edges_asked", 4)
    same = sa.and_(*(column == value for column, value in zip(edges.c, asked, strict=True)))
    return {Edge(*row) for row in link.execute(sa.select(edges).select_from(listed.join(edges, same)))}


def _listed(
    link: sa.Connection, rows: Sequence[Sequence[str]], name: str, width: int
) -> tuple[Columns, sa.TableValuedAlias]:
    """Rows of text as a table in a statement: its columns, and what to select them from."""
    if link.dialect.name == "postgresql":
        value: sa.Column[Any] = sa.column("value", postgresql.JSONB)  # type: ignore[assignment]  # Any: JSON
        array = sa.literal([list(row) for row in rows], postgresql.JSONB)
        listed = sa.func.jsonb_array_elements(array).table_valued(value, name=name).render_derived()
        return [listed.c.value[place].astext for place in range(width)], listed
    listed = sa.func.json_each(json.dumps(rows, ensure_ascii=False)).table_valued("value", name=name)
    return [sa.func.json_extract(listed.c.value, f"$[{place}]") for place in range(width)], listed


def _put_runs(link: sa.Connection) -> sa.Insert:
    dialect: Any = postgresql if link.dialect.name == "postgresql" else sqlite  # Any: each has its own Insert
    statement = dialect.insert(runs)
    changed = {column.name: statement.excluded[column.name] for column in runs.c if column.name != "id"}
    made: sa.Insert = statement.on_conflict_do_update(index_elements=["id"], set_=changed)
    return made
