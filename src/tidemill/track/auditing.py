"""Who read, changed, promoted or erased what: one list out of the event log and the runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.ids import iso
from tidemill.core.types import Artifact, Edge, Event, Json, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.track.phrases import said

What = Literal["read", "changed", "promoted", "erased"]
WHATS: tuple[What, ...] = ("read", "changed", "promoted", "erased")
ALL = 10_000_000
BATCH = 500
# Events of these subjects speak of the dataset of that name.
OF_DATASETS = ("read", "governance", "policy", "hold", "contract", "quarantine", "tags", "branches", "files")
PROMOTING = ("alias", "traffic", "promoted", "rolled back")
ERASING = ("data.erase", "data.retention")
UNTOLD = ("ticked",)  # heartbeats of the loop: nobody did anything

Line = dict[str, Any]  # Any: JSON values


def who(
    ws: Workspace,
    *,
    what: What | None = None,
    subject: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Line]:
    """What was done, oldest first, one line a deed: at, actor, what, subject, kind, and how to find the record.

    what: "read" (events "read" and "refused" of catalogue.access; the inputs of runs), "changed" (the outputs of runs;
    events), "promoted" (aliases, traffic, decisions of the loop), "erased"; all by default. subject: "dataset/flights",
    "model/departures@champion", a name alone, or a beginning ending in "*". since <= at < until, the real time.
    A line of an event has `seq`, its `body` and what it says (`said`), one of a run `run` and the artifact's `version`.
    A run reads and changes when it starts. Raises BadInput for another `what`.
    """
    if what is not None and what not in WHATS:
        raise BadInput(f"{what!r} is not asked of the audit log; allowed: {', '.join(WHATS)}.{nearest(what, WHATS)}")
    bounds = (None if since is None else iso(since), None if until is None else iso(until))
    found = [
        line
        for line in [*_of_events(ws, what), *_of_runs(ws, what)]
        if (what is None or line["what"] == what)
        and (subject is None or _matches(line["subject"], subject))
        and (actor is None or line["actor"] == actor)
        and (bounds[0] is None or line["at"] >= bounds[0])
        and (bounds[1] is None or line["at"] < bounds[1])
    ]
    return sorted(found, key=lambda line: (line["at"], line.get("seq", 0), line.get("run", "")))


def text(line: Line) -> str:
    """One line for people.

    >>> text({"at": "2026-01-01T00:00:00.000000Z", "actor": "ada", "what": "read", "subject": "dataset/people",
    ...       "kind": "read", "seq": 7, "said": "purpose support; masked email"})
    '2026-01-01T00:00:00Z ada read dataset/people (event 7, read; purpose support; masked email)'
    """
    more = [f"event {line['seq']}, {line['kind']}" if "seq" in line else f"run {line['run'][:12]}, {line['kind']}"]
    more += [line["said"]] if line.get("said") else []
    more += [f"version {line['version']}"] if "version" in line else []
    at = f"{str(line['at']).partition('.')[0].removesuffix('Z')}Z"
    return f"{at} {line['actor']} {line['what']} {line['subject']} ({'; '.join(more)})"


def _matches(have: str, wanted: str) -> bool:
    if wanted.endswith("*"):
        return have.startswith(wanted[:-1])
    return wanted in (have, have.partition("/")[2], have.partition("/")[2].partition("@")[0])


def _of_events(ws: Workspace, what: What | None) -> Iterator[Line]:
    before: dict[str, Json] = {}  # what was set last of each subject
    for event in ws.graph.events("read/*" if what == "read" else None):
        told = said(event, before.get(event.subject))
        if event.kind == "set":
            before[event.subject] = event.body
        deed = _deed(event)
        if deed is not None:
            line: Line = {"at": iso(event.at), "actor": event.actor, "what": deed, "subject": _subject(event.subject)}
            if event.subject.startswith("artifact/"):
                line |= _named(ws, event.subject.removeprefix("artifact/"))
            yield {**line, "kind": event.kind, "seq": event.seq, "said": told, "body": dict(event.body)}


def _deed(event: Event) -> What | None:
    """None for the log's lines about runs and artifacts themselves (their runs are told), unless those were erased."""
    if event.kind.endswith("erased"):
        return "erased"
    if event.subject.startswith(("run/", "artifact/")) or event.kind in UNTOLD:
        return None
    if event.subject.startswith("read/"):
        return "read"
    return "promoted" if event.kind in PROMOTING else "changed"


def _subject(text: str) -> str:
    head, _, rest = text.partition("/")
    return f"dataset/{rest}" if head in OF_DATASETS else text


def _named(ws: Workspace, artifact_id: str) -> Line:
    """The subject and version of an artifact; nothing where the log has outlived it."""
    try:
        found = ws.graph.get(artifact_id)
    except NotFound:
        return {}
    return {"subject": f"{found.kind}/{found.name}", "version": found.version} if isinstance(found, Artifact) else {}


def _of_runs(ws: Workspace, what: What | None) -> Iterator[Line]:
    if what == "promoted":
        return
    runs = {run.id: run for run in ws.graph.find(Query("run", limit=ALL)) if isinstance(run, Run)}
    artifacts = {made.id: made for made in ws.graph.find(Query("artifact", limit=ALL)) if isinstance(made, Artifact)}
    told: set[str] = set()
    for edge in _edges(ws, list(runs)):
        told.add(edge.run_id)
        run, artifact = runs[edge.run_id], artifacts.get(edge.artifact_id)
        if artifact is not None:
            deed: What = "read" if edge.role == "in" else "changed"
            if run.kind in ERASING:
                deed = "erased"
            yield {
                "at": iso(run.started_at),
                "actor": run.actor,
                "what": deed,
                "subject": f"{artifact.kind}/{artifact.name}",
                "kind": run.kind,
                "run": run.id,
                "version": artifact.version,
                "status": run.status,
            }
    for run in runs.values():
        if run.kind in ERASING and run.id not in told:  # it found nothing, but somebody asked
            line = {"at": iso(run.started_at), "actor": run.actor, "what": "erased", "subject": f"run/{run.id}"}
            yield {**line, "kind": run.kind, "run": run.id, "status": run.status}


def _edges(ws: Workspace, run_ids: Sequence[str]) -> Iterator[Edge]:
    known = set(run_ids)
    for start in range(0, len(run_ids), BATCH):
        for edge in ws.graph.edges(run_ids[start : start + BATCH]):
            if edge.run_id in known:
                yield edge
