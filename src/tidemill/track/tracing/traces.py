"""Traces of an experiment: spans as they come, the state that a client gives at the end, tags, runs, prompts.

Spans may come before the trace's own state or after it, in one request or a request each; what a client says of the
trace as a whole counts more than what its spans say. Operations are for the workspace's committer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.graphs import traced
from tidemill.core.graphs.committing import Operation, committer_of, reading
from tidemill.core.graphs.schema import run_files, trace_spans, traces
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.graphs.tracked import FILES_EVENT, ms, say
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import utc_now
from tidemill.core.workspace import Workspace
from tidemill.track import experiments
from tidemill.track.tracing import summary
from tidemill.track.tracing.otlp import Sent

NAME, LOCATION, FILES = "mlflow.traceName", "mlflow.trace.spansLocation", "mlflow.artifactLocation"
HERE = "TRACKING_STORE"  # the tag LOCATION of a trace whose spans we have
RUN, USER, SESSION = "mlflow.sourceRun", "mlflow.trace.user", "mlflow.trace.session"
TOKENS, COST, SIZES = "mlflow.trace.tokenUsage", "mlflow.trace.cost", "mlflow.trace.sizeStats"
STATES = ("STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")
TAG_KEY, TAG_VALUE, MOST_TAGS = 250, 4096, 1000
LINKS = 100  # traces linked to a run at once
_ID = re.compile(r"[a-zA-Z0-9][\w.\-]{0,127}")
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_TAG_PREFIX = "mlflow.traceTag."
State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """What a client says of a trace as a whole. Times in ms; assessments: as `assessments.made` gives them."""

    trace_id: str
    experiment: int
    at_ms: int
    duration_ms: int | None
    state: str
    client_request_id: str | None
    request_preview: str | None
    response_preview: str | None
    tags: Mapping[str, str]
    metadata: Mapping[str, str]
    assessments: Sequence[Mapping[str, Any]] = ()


def require_id(trace_id: str) -> str:
    """The id of a trace. Raises BadInput for what can be none."""
    if not _ID.fullmatch(trace_id):
        raise BadInput(
            f"a trace cannot be named {trace_id[:80]!r}; give up to 128 letters, digits, '-', '_' or '.', as 'tr-' and "
            "the 32 digits of OpenTelemetry's id"
        )
    return trace_id


def logging_spans(ws: Workspace, experiment: int, sent: Sequence[Sent], *, run_id: str | None = None) -> Operation[int]:
    """Add spans to their traces, which are made where they are not there; returns how many are new.

    Spans that came already, in the same part, change nothing. Raises NotFound for an unknown experiment.
    """

    def operation(now: Transaction) -> int:
        _require_experiment(now, experiment)
        known = traced.states(now.link, [each.trace_id for each in sent])
        writes, added = [], 0
        for each in sent:
            before = known.get(each.trace_id)
            if before is not None and traced.is_there(now.link, each.trace_id, traced.body_of(each.spans)[1]):
                continue
            state = before or _empty(each.trace_id, experiment)
            earlier: list[Any] = []
            if (
                before is not None
                and _says_totals(each.spans)
                and not (state["finalized"] and TOKENS in state["metadata"])
            ):
                earlier = _flat(traced.parts(now.link, [each.trace_id]).get(each.trace_id, []))
            _take_in(state, each, [*earlier, *each.spans], fresh=before is None)
            if run_id is not None and run_id not in state["runs"]:
                state["runs"].append(run_id)
            writes.append(traced.Write(state, each.spans))
            added += len(each.spans)
        traced.write(now, writes, ws.settings.who)
        return added

    return operation


def taking_in(ws: Workspace, sent: Sent) -> Operation[int]:
    """Add spans that came as a file to their trace, where it has none yet. Raises NotFound."""

    def operation(now: Transaction) -> int:
        state = _require(now.link, sent.trace_id)
        if state["spans"] or not sent.spans:
            return 0
        _take_in(state, sent, sent.spans, fresh=not state["at_ms"])
        traced.write(now, [traced.Write(state, sent.spans)], ws.settings.who)
        return len(sent.spans)

    return operation


def starting(ws: Workspace, given: Given) -> Operation[State]:
    """Put what a client says of a trace; returns its state. Tags and metadata are added to those that are there."""
    require_id(given.trace_id)

    def operation(now: Transaction) -> State:
        _require_experiment(now, given.experiment)
        state = traced.states(now.link, [given.trace_id]).get(given.trace_id)
        state = state or _empty(given.trace_id, given.experiment)
        state |= {
            "experiment": given.experiment,
            "at_ms": given.at_ms,
            "duration_ms": given.duration_ms,
            "state": given.state,
            "client_request_id": given.client_request_id,
            "finalized": True,
        }
        for name in ("request_preview", "response_preview"):
            state[name] = state[name] if getattr(given, name) is None else getattr(given, name)
        state["tags"] |= dict(given.tags) | {FILES: location(given.experiment, given.trace_id)}
        state["metadata"] |= dict(given.metadata)
        by_id = {each["assessment_id"]: each for each in state["assessments"]}
        state["assessments"] = list(
            (by_id | {each["assessment_id"]: dict(each) for each in given.assessments}).values()
        )
        run_id = given.metadata.get(RUN)
        if run_id and run_id not in state["runs"]:
            state["runs"].append(run_id)
        traced.write(now, [traced.Write(state)], ws.settings.who)
        return state

    return operation


def changing(ws: Workspace, trace_id: str, change: Callable[[State], None]) -> Operation[State]:
    """Change the state of a trace. Raises NotFound, and what `change` raises."""

    def operation(now: Transaction) -> State:
        state = _require(now.link, trace_id)
        before = json.dumps(state, sort_keys=True)
        change(state)
        if json.dumps(state, sort_keys=True) != before:
            traced.write(now, [traced.Write(state)], ws.settings.who)
        return state

    return operation


def tagging(ws: Workspace, trace_id: str, key: str, value: str) -> Operation[State]:
    """Set a tag."""

    def change(state: State) -> None:
        state["tags"][key] = value
        if len(state["tags"]) > MOST_TAGS:
            raise BadInput(f"trace {trace_id} would have more than {MOST_TAGS} tags; delete some")

    return changing(ws, trace_id, change)


def untagging(ws: Workspace, trace_id: str, key: str) -> Operation[State]:
    """Take a tag away. Raises NotFound where it has none of that name."""

    def change(state: State) -> None:
        if key not in state["tags"]:
            raise NotFound(f"No trace tag with key '{key}' for trace with ID '{trace_id}'")
        del state["tags"][key]

    return changing(ws, trace_id, change)


def linking(ws: Workspace, trace_ids: Sequence[str], run_id: str) -> Operation[int]:
    """Say that traces belong to a run, too; those that are not there are passed over. Returns how many are new."""
    if len(trace_ids) > LINKS:
        raise BadInput(
            f"Cannot link more than {LINKS} traces to a run in a single request. Provided {len(trace_ids)} traces."
        )

    def operation(now: Transaction) -> int:
        now.run(run_id)
        found = [each for each in traced.states(now.link, trace_ids).values() if run_id not in each["runs"]]
        for state in found:
            state["runs"].append(run_id)
        traced.write(now, [traced.Write(state) for state in found], ws.settings.who)
        return len(found)

    return operation


def linking_prompts(ws: Workspace, trace_id: str, prompts: Sequence[str]) -> Operation[State]:
    """Say which prompts a trace used. prompts: as "name/version"."""

    def change(state: State) -> None:
        state["prompts"] = sorted({*state["prompts"], *prompts})

    return changing(ws, trace_id, change)


def delete(
    ws: Workspace,
    experiment: int,
    *,
    until_ms: int | None = None,
    most: int | None = None,
    trace_ids: Sequence[str] = (),
) -> int:
    """Delete traces of an experiment, the oldest first, with their spans and files; returns how many.

    until_ms: those that began no later. most: at most so many. Raises BadInput where nothing says which.
    """
    if until_ms is None and not trace_ids:
        raise BadInput("Either `max_timestamp_millis` or `trace_ids` must be specified.")

    def operation(now: Transaction) -> int:
        where = traces.c.experiment == experiment
        if until_ms is not None:
            where &= traces.c.at_ms <= until_ms
        if trace_ids:
            where &= traces.c.trace_id.in_(list(trace_ids))
        asked = sa.select(traces.c.trace_id).where(where).order_by(traces.c.at_ms, traces.c.trace_id).limit(most)
        gone = list(now.link.execute(asked).scalars())
        traced.delete(now, gone, ws.settings.who)
        for place in range(0, len(gone), traced.AT_ONCE):
            theirs = run_files.c.run_id.in_(gone[place : place + traced.AT_ONCE])
            paths: dict[str, list[str]] = {}
            for row in now.link.execute(sa.select(run_files.c.run_id, run_files.c.path).where(theirs)):
                paths.setdefault(row.run_id, []).append(row.path)
            now.link.execute(run_files.delete().where(theirs))
            for trace_id, removed in paths.items():
                now.say(f"run/{trace_id}", FILES_EVENT, {"removed": removed, "at": ms(utc_now())}, ws.settings.who)
        return len(gone)

    return committer_of(ws).call(operation)


def get(ws: Workspace, trace_id: str) -> State:
    """The state of a trace. Raises NotFound."""
    with reading(ws) as link:
        return _require(link, trace_id)


def states(ws: Workspace, trace_ids: Sequence[str]) -> list[State]:
    """The states of those that are there, in the order given."""
    with reading(ws) as link:
        found = traced.states(link, list(dict.fromkeys(trace_ids)))
    return [found[each] for each in dict.fromkeys(trace_ids) if each in found]


def with_spans(ws: Workspace, trace_ids: Sequence[str]) -> list[tuple[State, list[Any]]]:
    """States and spans of those that are there, in the order given; the root first, then as they began."""
    among = list(dict.fromkeys(trace_ids))
    with reading(ws) as link:
        found, parts = traced.states(link, among), traced.parts(link, among)
    return [(found[each], _flat(parts.get(each, []))) for each in among if each in found]


def digests(ws: Workspace) -> set[str]:
    """Every text of the form of a digest in any trace: what it may refer to."""
    if not isinstance(ws.graph, SqlGraph):
        return set()
    found: set[str] = set()
    with reading(ws) as link:
        for column in (traces.c.body, trace_spans.c.body):
            for body in link.execute(sa.select(column).execution_options(yield_per=traced.PAGE)).scalars():
                found.update(_DIGEST.findall(body))
    return found


def is_whole(state: Mapping[str, Any], spans: Sequence[Any]) -> bool:
    """Whether all the spans are there that the client said there are."""
    try:
        expected = int(json.loads(state["metadata"].get(SIZES, "{}")).get("num_spans", 0))
    except (ValueError, TypeError, AttributeError):
        expected = 0
    return bool(spans) and len(spans) >= expected


def location(experiment: int, trace_id: str) -> str:
    """Where a client finds the files of a trace: through us."""
    return f"mlflow-artifacts:/{experiment}/traces/{trace_id}/artifacts"


def _require(link: sa.Connection, trace_id: str) -> State:
    found = traced.states(link, [trace_id]).get(trace_id)
    if found is None:
        raise NotFound(f"Trace with ID '{trace_id}' not found.")
    return found


def _require_experiment(now: Transaction, experiment: int) -> None:
    # As text: a statement of SQLAlchemy's took as long as all else that is done of a small trace.
    asked = say(now.link, "SELECT stage FROM experiments WHERE id = ?")
    if now.link.exec_driver_sql(asked, (experiment,)).scalar() != "active":
        experiments.require(now, experiment)


def _empty(trace_id: str, experiment: int) -> State:
    return {
        "id": trace_id,
        "experiment": experiment,
        "at_ms": 0,
        "duration_ms": None,
        "state": "IN_PROGRESS",
        "client_request_id": None,
        "request_preview": None,
        "response_preview": None,
        "tags": {FILES: location(experiment, trace_id)},
        "metadata": {},
        "assessments": [],
        "runs": [],
        "prompts": [],
        "kinds": [],
        "spans": 0,
        "finalized": False,
    }


def _take_in(state: State, sent: Sent, spans: Sequence[Any], *, fresh: bool) -> None:
    """What new spans say of their trace. spans: with those that came before, where totals are asked for."""
    root = summary.root_of(sent.spans)
    if not state["finalized"]:
        _times(state, sent.spans, fresh=fresh)
    if root is not None:
        if state["state"] in ("IN_PROGRESS", "STATE_UNSPECIFIED"):
            state["state"] = summary.state_of(root)
        for name, text in zip(("request_preview", "response_preview"), summary.previews(root), strict=True):
            state[name] = text if state[name] is None else state[name]
    _tags(state["tags"], sent, root)
    _metadata(state["metadata"], sent)
    for key, of in ((TOKENS, summary.usage_of), (COST, summary.cost_of)):
        found = None if state["finalized"] and key in state["metadata"] else summary.total(spans, of)
        if found is not None:
            state["metadata"][key] = json.dumps(found)
    state["kinds"] = summary.kinds(sent.spans, state["kinds"])
    state["spans"] += len(sent.spans)


def _tags(tags: dict[str, str], sent: Sent, root: Mapping[str, Any] | None) -> None:
    for key, value in sent.resource.items():
        if not key.startswith(("telemetry.sdk.", "mlflow.")):
            tags.setdefault(key[:TAG_KEY], (value if isinstance(value, str) else json.dumps(value))[:TAG_VALUE])
    if root is not None:
        for key, value in summary.attributes(root).items():
            if key.startswith(_TAG_PREFIX) and len(key) > len(_TAG_PREFIX):
                tags[key.removeprefix(_TAG_PREFIX)[:TAG_KEY]] = str(value)[:TAG_VALUE]
        tags.setdefault(NAME, root["name"][:TAG_VALUE])
    tags[LOCATION] = HERE


def _metadata(metadata: dict[str, str], sent: Sent) -> None:
    for span in sent.spans:
        has = summary.attributes(span)
        for key, names in ((SESSION, ("session.id", "gen_ai.conversation.id")), (USER, ("user.id",))):
            found = next((has[name] for name in names if has.get(name)), None)
            if found is not None:
                metadata.setdefault(key, str(found)[:TAG_KEY])


def _times(state: State, spans: Sequence[Any], *, fresh: bool) -> None:
    start = min(each["start"] for each in spans) // 1_000_000
    end = max(each["end"] for each in spans) // 1_000_000
    if not fresh:
        before = state["at_ms"]
        end = max(end, before + (state["duration_ms"] or 0))
        start = min(start, before)
    state["at_ms"] = start
    state["duration_ms"] = end - start if end >= start else None


def _says_totals(spans: Sequence[Any]) -> bool:
    return any(summary.usage_of(each) or summary.cost_of(each) for each in spans)


def _flat(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """The spans of parts; of one that came twice the last."""
    found = {span["id"]: span for part in parts for span in part}
    return sorted(found.values(), key=lambda each: (each["parent"] is not None, each["start"]))
