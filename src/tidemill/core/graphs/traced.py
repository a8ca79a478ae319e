"""Traces in the graph: the state of each as a record, its spans as parts that are only added.

A trace is a row of `traces`, whose body is all but the spans, and rows of `trace_spans`, each a list of spans as it
came. Both are the truth, as `runs` and `points` are: an event "trace.put" of subject "trace/<id>" holds the digest of
the state and of the part that came with it, "trace.deleted" says that both are gone, and "trace.erased" what an erasure
left of one. So the log stays small whatever programs put into their spans. `trace_runs` is a copy of what bodies say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from tidemill.core.graphs import records
from tidemill.core.graphs.schema import trace_runs, trace_spans, traces
from tidemill.core.graphs.tracked import say
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import canonical_json
from tidemill.core.types import Fault

PUT, DELETED, ERASED = "trace.put", "trace.deleted", "trace.erased"
AT_ONCE = 500  # ids in one statement
PAGE = 500  # rows read at a time while all are gone through: a part may be of megabytes
KEPT = ("id", "experiment", "at_ms", "duration_ms", "state")  # of a state, whatever an amendment makes of it
State = dict[str, Any]  # as JSON: id, experiment, at_ms, duration_ms, state, tags, metadata, runs, ...
Row = Mapping[str, Any]


class Write(NamedTuple):
    """A new state of a trace, with the spans that came with it."""

    state: State
    spans: Sequence[Mapping[str, Any]] = ()


def row_of(state: Row) -> dict[str, Any]:
    """The row of a state."""
    return {
        "trace_id": state["id"],
        "experiment": state["experiment"],
        "at_ms": state["at_ms"],
        "duration_ms": state["duration_ms"],
        "state": state["state"],
        "name": state["tags"].get("mlflow.traceName"),
        "body": canonical_json(dict(state)).decode(),
    }


def states(link: sa.Connection, ids: Sequence[str]) -> dict[str, State]:
    """The states of those traces that are there."""
    found: dict[str, State] = {}
    for place in range(0, len(ids), AT_ONCE):
        some = ids[place : place + AT_ONCE]
        asked = f"SELECT trace_id, body FROM traces WHERE trace_id IN ({', '.join('?' * len(some))})"  # noqa: S608
        found |= {row[0]: json.loads(row[1]) for row in link.exec_driver_sql(say(link, asked), tuple(some))}
    return found


def parts(link: sa.Connection, ids: Sequence[str]) -> dict[str, list[list[dict[str, Any]]]]:
    """The parts of the spans of these traces, in the order in which they came."""
    found: dict[str, list[list[dict[str, Any]]]] = {}
    for place in range(0, len(ids), AT_ONCE):
        some = ids[place : place + AT_ONCE]
        asked = f"SELECT trace_id, body FROM trace_spans WHERE trace_id IN ({', '.join('?' * len(some))})"  # noqa: S608
        for row in link.exec_driver_sql(say(link, f"{asked} ORDER BY seq"), tuple(some)):
            found.setdefault(row[0], []).append(json.loads(row[1]))
    return found


def is_there(link: sa.Connection, trace_id: str, digest: str) -> bool:
    """Whether a part of that content came already."""
    asked = "SELECT 1 FROM trace_spans WHERE trace_id = ? AND digest = ? LIMIT 1"
    return link.exec_driver_sql(say(link, asked), (trace_id, digest)).first() is not None


def body_of(spans: Sequence[Row]) -> tuple[str, str]:
    """The text that a part of spans is kept as, and its digest."""
    body = canonical_json([dict(each) for each in spans]).decode()
    return body, records.body_digest(body)


def write(now: Transaction, writes: Iterable[Write], actor: str) -> None:
    """Put states, and add the parts that came with them."""
    rows, spans, runs = [], [], []
    for state, some in writes:
        row = row_of(state)
        said: dict[str, Any] = {"digest": records.body_digest(row["body"])}
        if some:
            body, digest = body_of(some)
            seq = now.say(f"trace/{state['id']}", PUT, {**said, "part": digest}, actor)
            spans.append((seq, state["id"], digest, body))
        else:
            now.say(f"trace/{state['id']}", PUT, said, actor)
        rows.append(tuple(row.values()))
        runs += [(run_id, state["id"]) for run_id in state["runs"]]
    _many(now.link, _PUT_TRACE, rows)
    _many(now.link, "INSERT INTO trace_spans (seq, trace_id, digest, body) VALUES (?, ?, ?, ?)", spans)
    _many(now.link, "INSERT INTO trace_runs (run_id, trace_id) VALUES (?, ?) ON CONFLICT DO NOTHING", runs)


def delete(now: Transaction, ids: Sequence[str], actor: str) -> None:
    """Take traces away, with their spans; the log keeps that they were there."""
    for table in ("trace_spans", "trace_runs", "traces"):
        _many(now.link, f"DELETE FROM {table} WHERE trace_id = ?", [(each,) for each in ids])  # noqa: S608  our names
    for each in ids:
        now.say(f"trace/{each}", DELETED, {}, actor)


def amend(
    link: sa.Connection,
    rewrite: Callable[[str], str | None],
    tell: Callable[[str, str, dict[str, Any]], object],
    *,
    reason: str,
) -> list[str]:
    """Rewrite bodies and parts; returns what changed. tell(subject, kind, body): appends the event that says so.

    `rewrite` is given {"trace": body} or {"trace": [spans]} as canonical JSON, and gives the same form, or None.
    """
    changed = []
    for row in _pages(link, traces, traces.c.trace_id):
        made = _rewritten(row["body"], rewrite)
        if made is not None:
            before = json.loads(row["body"])
            new = row_of({**made, **{name: before[name] for name in KEPT}})
            link.execute(traces.update().where(traces.c.trace_id == row["trace_id"]), new)
            body = {"digest": records.body_digest(new["body"]), "reason": reason}
            tell(f"trace/{row['trace_id']}", ERASED, body)
            changed.append(str(row["trace_id"]))
    for row in _pages(link, trace_spans, trace_spans.c.seq):
        made = _rewritten(row["body"], rewrite)
        if made is not None:
            text, digest = body_of(made)
            link.execute(trace_spans.update().where(trace_spans.c.seq == row["seq"]), {"body": text, "digest": digest})
            body = {"part": digest, "of": row["seq"], "reason": reason}
            tell(f"trace/{row['trace_id']}", ERASED, body)
            changed.append(f"{row['trace_id']} part {row['seq']}")
    return changed


class Said:
    """What the log says of traces, gathered event by event, and what is wrong with the rows."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._parts: dict[int, tuple[str, str]] = {}
        self._of: dict[str, list[int]] = {}

    def remember(self, row: Row) -> None:
        """Take in an event of kind PUT, DELETED or ERASED."""
        try:
            body, subject, seq = json.loads(row["body"]), row["subject"], row["seq"]
            if row["kind"] == DELETED:
                self._states.pop(subject, None)
                for part in self._of.pop(subject, ()):
                    self._parts.pop(part, None)
                return
            if "digest" in body:
                self._states[subject] = body["digest"]
            if "part" in body:
                part = body.get("of", seq)
                if part not in self._parts:
                    self._of.setdefault(subject, []).append(part)
                self._parts[part] = (subject, body["part"])
        except (ValueError, KeyError, TypeError):
            return  # an edited event, as its hash has told

    def faults(self, rows: Iterable[Row], spans: Iterable[Row], *, gone: str, not_logged: str) -> list[Fault]:
        """What of the rows is not as the log says."""
        found = []
        for row in rows:
            subject = f"trace/{row['trace_id']}"
            expected = self._states.pop(subject, "")
            if not expected:
                found.append(Fault(subject, not_logged))
            elif records.body_digest(row["body"]) != expected:
                found.append(Fault(subject, "was edited: its record is not what the log says"))
            else:
                copies = row_of(json.loads(row["body"]))
                wrong = sorted(name for name, value in copies.items() if row[name] != value)
                text = f"was edited: its {', '.join(wrong)} is not what its record says"
                found += [Fault(subject, text)] if wrong else []
        for row in spans:
            subject = f"trace/{row['trace_id']}"
            expected_of, digest = self._parts.pop(row["seq"], ("", ""))
            if not digest or expected_of != subject:
                found.append(Fault(subject, f"spans of event {row['seq']}: {not_logged}"))
            elif digest != records.body_digest(row["body"]) or digest != row["digest"]:
                found.append(Fault(subject, f"its spans of event {row['seq']} were edited"))
        found += [Fault(subject, gone) for subject in self._states]
        return found + [
            Fault(subject, f"its spans of event {seq} are gone") for seq, (subject, _) in self._parts.items()
        ]


def _rewritten(body: str, rewrite: Callable[[str], str | None]) -> Any:  # Any: a state or a list of spans
    before = f'{{"trace":{body}}}'
    after = rewrite(before)
    return None if after is None or after == before else json.loads(after)["trace"]


def _pages(link: sa.Connection, table: sa.Table, key: sa.ColumnElement[Any]) -> Iterable[Row]:
    statement = sa.select(table).order_by(key).limit(PAGE)
    page = link.execute(statement).mappings().all()
    while page:
        yield from (dict(row) for row in page)
        page = link.execute(statement.where(key > page[-1][key.name])).mappings().all()


def runs_of(link: sa.Connection, trace_id: str) -> list[str]:
    """The runs that a trace belongs to."""
    return list(link.execute(sa.select(trace_runs.c.run_id).where(trace_runs.c.trace_id == trace_id)).scalars())


def _many(link: sa.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        link.exec_driver_sql(say(link, statement), list(rows))


_NAMES = tuple(traces.c.keys())
_PUT_TRACE = (
    f"INSERT INTO traces ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608  our names
    f" ON CONFLICT (trace_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _NAMES[1:])}"
)
