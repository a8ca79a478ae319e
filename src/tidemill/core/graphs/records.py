"""Records to canonical JSON and rows and back, and the hash of an event: shared by every graph."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from tidemill.core.errors import BadInput
from tidemill.core.ids import canonical_json, digest, iso, parse_time
from tidemill.core.types import Artifact, Edge, Event, Point, Query, Run

GENESIS = "0" * 64
OWN = "track.run"  # a user's own runs
LOGGED = "track.model"  # the making of a model that a run logged, kept with its files, parameters and metrics
CHANGING = (OWN, LOGGED)  # these may change after their end where the user says so; each state is in the log
RESERVED = ("run.", "artifact.", "event.")  # kinds of event that only the graph itself writes
ERASED = "event.erased"  # body {"seq", "digest"}: what event seq must look like from now on

_RUN = tuple(spec.name for spec in fields(Run))
_ARTIFACT = tuple(spec.name for spec in fields(Artifact) if spec.name != "graph")


def run_row(run: Run) -> dict[str, Any]:
    """A run as a row of the table `runs`. Metrics that are not finite are kept as text: JSON has no word for them."""
    values = {name: getattr(run, name) for name in _RUN}
    values["metrics"] = {key: _finite_or_text(float(value)) for key, value in run.metrics.items()}
    columns = {name: _text(values[name], f"the {name} of run {run.id}") for name in ("id", "kind", "name", "status")}
    optional = {
        name: None if values[name] is None else _text(values[name], f"the {name} of run {run.id}")
        for name in ("key", "parent")
    }
    return {**columns, **optional, "body": _json(values, f"run {run.id}")}


def run_of(body: str) -> Run:
    """A run from its canonical JSON."""
    values: dict[str, Any] = json.loads(body)
    values["started_at"] = parse_time(values["started_at"])
    values["ended_at"] = None if values["ended_at"] is None else parse_time(values["ended_at"])
    values["metrics"] = {key: float(value) for key, value in values["metrics"].items()}
    return Run(**values)


def artifact_row(artifact: Artifact) -> dict[str, Any]:
    """An artifact as a row of the table `artifacts`."""
    values = {name: getattr(artifact, name) for name in _ARTIFACT}
    for name in ("id", "kind", "name", "digest"):
        _text(values[name], f"the {name} of artifact {artifact.id}")
    columns = {name: values[name] for name in ("id", "kind", "name", "version", "digest", "run_id")}
    return {**columns, "body": _json(values, f"artifact {artifact.id}")}


def artifact_of(body: str) -> Artifact:
    """An artifact from its canonical JSON."""
    values: dict[str, Any] = json.loads(body)
    values["created_at"] = parse_time(values["created_at"])
    return Artifact(**values)


def body_digest(body: str) -> str:
    """The digest of a record's canonical JSON."""
    return digest(body.encode())


def same_content(one: Artifact, other: Artifact) -> bool:
    """Whether two artifacts of one (kind, name) are the same version: equal digest and meta."""
    what = f"the meta of artifact {other.id}"
    return one.digest == other.digest and _json(dict(one.meta), what) == _json(dict(other.meta), what)


def edge_row(edge: Edge) -> dict[str, Any]:
    """An edge as a row of the table `edges`."""
    return {"run_id": edge.run_id, "artifact_id": edge.artifact_id, "role": edge.role, "slot": edge.slot}


def edges_body(edges: Iterable[Edge]) -> dict[str, Any]:
    """Edges as the body of an event."""
    return {"edges": [[edge.run_id, edge.artifact_id, edge.role, edge.slot] for edge in edges]}


def point_row(run_id: str, point: Point) -> dict[str, Any]:
    """A metric point as a row of the table `points`, without its batch."""
    key = _text(point.key, f"a metric's key of run {run_id}")
    value = float(point.value) + 0.0  # -0.0 becomes 0.0: SQLite forgets the sign, and the batch's digest would not
    return {"run_id": run_id, "key": key, "step": int(point.step), "at": iso(point.at), "value": value}


def points_body(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch of points as the body of an event: their number and a digest that does not depend on their order."""
    lines = sorted(
        canonical_json([row["run_id"], row["key"], row["step"], row["at"], repr(row["value"])]) for row in rows
    )
    return {"points": len(lines), "digest": digest(b"\n".join(lines))}


def event_text(body: Mapping[str, Any], subject: str) -> str:
    """The body of an event as canonical JSON."""
    return _json(dict(body), f"the body of an event of {subject}")


def event_row(event: Event) -> dict[str, Any]:
    """An event as a row of the table `events`."""
    return {
        "seq": event.seq,
        "at": iso(event.at),
        "actor": event.actor,
        "subject": event.subject,
        "kind": event.kind,
        "body": event_text(event.body, event.subject),
        "prev": event.prev,
        "hash": event.hash,
        "key": event.key,
    }


def event_of(row: Mapping[Any, Any]) -> Event:
    """An event from its row."""
    return Event(**{**row, "at": parse_time(row["at"]), "body": json.loads(row["body"])})


def event_hash(row: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of (prev, seq, at, actor, subject, kind, key, body), the body as its JSON text."""
    said = [row[name] for name in ("prev", "seq", "at", "actor", "subject", "kind", "key", "body")]
    return digest(canonical_json(said))


def rewritten(table: str, row: Mapping[str, Any], rewrite: Callable[[str], str | None]) -> dict[str, Any] | None:
    """A row of `runs`, `artifacts` or `events` as `Graph.amend` leaves it; None where nothing changes.

    Raises BadInput for a rewriting after which it is no record of the same id.
    """
    before = amendable(row) if table == "events" else row["body"]
    after = rewrite(before)
    if after is None or after == before:
        return None
    try:
        if table == "events":
            subject, actor, key, body = json.loads(after)
            check_event(subject, "checked", actor, key)
            return {**row, "subject": subject, "actor": actor, "key": key, "body": event_text(body, subject)}
        made = run_row(run_of(after)) if table == "runs" else artifact_row(artifact_of(after))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"a rewriting of {table} leaves no record ({error}); give JSON of the same form") from error
    if made["id"] != row["id"]:
        raise BadInput(f"a rewriting of {table} gives {row['id']} another id, {made['id']}; ids stay as they are")
    return made


def erasure(table: str, made: Mapping[str, Any], reason: str) -> tuple[str, str, dict[str, Any]]:
    """(subject, kind, body) of the event that tells of an amended row."""
    if table == "events":
        return f"event/{made['seq']}", ERASED, {"seq": made["seq"], "digest": event_hash(made), "reason": reason}
    what = table.removesuffix("s")
    return f"{what}/{made['id']}", f"{what}.erased", {"digest": body_digest(made["body"]), "reason": reason}


def erased_name(table: str, made: Mapping[str, Any]) -> str:
    """How `Graph.amend` names what it changed."""
    return f"event {made['seq']}" if table == "events" else str(made["id"])


def amendable(row: Mapping[str, Any]) -> str:
    """What of an event can be amended, as JSON text: [subject, actor, key, body]."""
    said = [json.dumps(row[name], ensure_ascii=False) for name in ("subject", "actor", "key")]
    return f"[{','.join(said)},{row['body']}]"


def check_event(subject: str, kind: str, actor: str, key: str | None) -> None:
    """Raise BadInput for an event that only the graph may write, or that a database cannot hold."""
    if kind.startswith(RESERVED):
        raise BadInput(
            f"event kind {kind!r} is the graph's own; use a kind that begins with none of {', '.join(RESERVED)}"
        )
    for name, value in (("subject", subject), ("kind", kind), ("actor", actor), ("key", key or "-")):
        _text(value, f"the {name} of an event")


def after_prefix(prefix: str) -> str:
    """A text greater than all that begin with the prefix, by code points: for `prefix <= x < after_prefix`.

    A range uses an index on SQLite and PostgreSQL alike, and, unlike SQLite's LIKE, minds upper and lower case.
    """
    return prefix + "\U0010ffff"


def is_kind(kind: str, wanted: str) -> bool:
    """Whether a kind matches a query's: exact, or a prefix ending in ".*"."""
    return kind.startswith(wanted[:-1]) if wanted.endswith(".*") else kind == wanted


def is_subject(subject: str, wanted: str) -> bool:
    """Whether a subject matches: exact, or a prefix ending in "/*"."""
    return subject.startswith(wanted[:-1]) if wanted.endswith("/*") else subject == wanted


def given(query: Query) -> dict[str, Any]:
    """The columns that a query wants to be equal to something."""
    same = {"name": query.name, "key": query.key, "status": query.status, "parent": query.parent}
    others = {"digest": query.digest, "run_id": query.run, "version": query.version}
    return {column: value for column, value in (same | others).items() if value is not None}


def by_run(edges: Sequence[Edge]) -> dict[str, list[Edge]]:
    """Edges by their run, in the order given."""
    found: dict[str, list[Edge]] = {}
    for edge in edges:
        found.setdefault(edge.run_id, []).append(edge)
    return found


def _finite_or_text(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _json(value: Any, what: str) -> str:  # Any: any JSON value
    try:
        return canonical_json(value).decode()
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"{what} cannot be kept as JSON: {error}; give finite numbers, text, lists, mappings, times with a zone"
        ) from error


def _text(value: Any, what: str) -> str:  # Any: what a caller without a type checker may pass
    if not isinstance(value, str) or not value or "\x00" in value:
        raise BadInput(f"{what} is {value!r}; it must be a text that is not empty and holds no NUL character")
    return value
