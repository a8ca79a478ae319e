"""Traces over MLflow's protocol and OpenTelemetry's: spans in, states, judgements and searches in and out.

`POST /v1/traces` takes OTLP/HTTP in protobuf or JSON, packed or not, from MLflow's client and from any exporter of
OpenTelemetry. What it answered 200 is durable.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from tidemill.api.auth import may_read, may_write
from tidemill.api.mlflow import errors, limits, traces_old, traces_otlp, traces_wire, wire
from tidemill.api.mlflow.errors import Told, invalid
from tidemill.api.mlflow.routes import Route
from tidemill.api.mlflow.traces_named import ById, known_experiment, read
from tidemill.core.graphs.committing import Operation, committer_of
from tidemill.core.workspace import Workspace
from tidemill.track.tracing import assessments, otlp, searching, traces

PREFIXES = {"/2": ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow"), "/3": ("/api/3.0/mlflow", "/ajax-api/3.0/mlflow")}
MOST_IN_A_PAGE, MOST_AT_ONCE = 500, 1000
WAIT_S, AGAIN_S = 2.0, 0.1  # for spans that are still on their way
IMMUTABLE = ("mlflow.trace.spansLocation", "mlflow.artifactLocation")

_log = logging.getLogger("tidemill.api.mlflow")


class Inner(msgspec.Struct):
    """Trace."""

    trace_info: traces_wire.Info | None = None


class Start(msgspec.Struct):
    """StartTraceV3."""

    trace: Inner | None = None


class Many(msgspec.Struct):
    """batchGet, batchGetInfos."""

    trace_ids: list[str] = []
    experiment_ids: list[str] | None = None


class Search(msgspec.Struct):
    """traces/search; experiment_ids: of clients before 3.0."""

    locations: list[traces_wire.Location] = []
    experiment_ids: list[str] = []
    filter: str | None = None
    max_results: int | None = None
    order_by: list[str] = []
    page_token: str | None = None


class Delete(msgspec.Struct):
    """traces/delete-traces."""

    experiment_id: str | None = None
    max_timestamp_millis: int | None = None
    max_traces: int | None = None
    request_ids: list[str] = []


class Tag(msgspec.Struct):
    """traces/{id}/tags."""

    trace_id: str | None = None
    request_id: str | None = None
    key: str | None = None
    value: str | None = None


class Link(msgspec.Struct):
    """traces/link-to-run."""

    trace_ids: list[str] = []
    run_id: str | None = None


class Prompt(msgspec.Struct):
    """A version of a prompt."""

    name: str | None = None
    version: str | None = None


class LinkPrompts(msgspec.Struct):
    """traces/link-prompts."""

    trace_id: str | None = None
    prompt_versions: list[Prompt] = []


class Judge(msgspec.Struct):
    """traces/{id}/assessments and one of them."""

    trace_id: str | None = None
    assessment_id: str | None = None
    assessment: traces_wire.Assessment | None = None
    update_mask: str | dict[str, Any] | None = None


def add(app: FastAPI, ws: Workspace) -> None:
    """Add the routes of traces."""
    for version, route in ROUTES:
        for prefix in PREFIXES[version]:
            app.add_api_route(prefix + route.path, _endpoint(ws, route), methods=list(route.methods),
                              dependencies=[may_write if route.writes else may_read], include_in_schema=False,
                              response_model=None)  # fmt: skip

    async def export(request: Request) -> Response:
        try:
            return await traces_otlp.export(ws, request)
        except Exception as error:
            return _failed(request, error)

    app.add_api_route(traces_otlp.PATH, export, methods=["POST"], dependencies=[may_write], include_in_schema=False,
                      response_model=None)  # fmt: skip


def _endpoint(ws: Workspace, route: Route) -> Callable[[Request], Any]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    lists = {name for name, hint in route.takes.__annotations__.items() if "list[" in str(hint)}

    async def endpoint(request: Request) -> Response:
        try:
            given: dict[str, Any] = {}
            for name, value in request.query_params.multi_items():
                if name in lists:
                    given.setdefault(name, []).append(value)
                else:
                    given[name] = value
            body = b"" if request.method == "GET" else await request.body()
            given |= (decoder.decode(body) if body else {}) | request.path_params
            asked = msgspec.convert(given, route.takes, strict=False)
            if not route.writes:
                return wire.told(await asyncio.to_thread(route.answer, ws, asked))
            made = route.answer(ws, asked)
            value = await asyncio.wrap_future(made) if isinstance(made, Future) else await asyncio.to_thread(made)
            return wire.told(value)
        except msgspec.ValidationError as error:
            return errors.answer(invalid(f"Invalid value in the request: {error}"))
        except msgspec.DecodeError as error:
            return errors.answer(Told("BAD_REQUEST", f"Failed to parse the request's body as JSON: {error}"))
        except Exception as error:
            return _failed(request, error)

    return endpoint


def _failed(request: Request, error: Exception) -> Response:
    if errors.code_of(error) == "INTERNAL_ERROR":
        _log.exception("%s %s", request.method, request.url.path)
    return errors.answer(error)


# --------------------------------------------------------------------------------------------------------- states


def _start(ws: Workspace, asked: Start) -> Any:
    info = asked.trace.trace_info if asked.trace else None
    if info is None:
        raise invalid("Missing value for required parameter 'trace'. See the API docs for more information.")
    limits.required(trace_id=info.trace_id)
    place = _experiment_of(info.trace_location)
    change = known_experiment(traces.starting(ws, traces_wire.given_of(info, place)), place)
    return committer_of(ws).submit(lambda now: {"trace": {"trace_info": traces_wire.info(change(now))}})


def _get_info(ws: Workspace, asked: ById) -> Any:
    return {"trace": {"trace_info": traces_wire.info(read(ws, _id(asked)))}}


def _get(ws: Workspace, asked: ById) -> Any:
    trace_id, until = _id(asked), time.monotonic() + WAIT_S
    while True:
        found = traces.with_spans(ws, [trace_id])
        if not found:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"Trace with ID {trace_id} is not found.")
        if asked.allow_partial or traces.is_whole(*found[0]):
            return {"trace": traces_wire.trace(*found[0])}
        if time.monotonic() > until:
            break
        time.sleep(AGAIN_S)
    raise Told(
        "RESOURCE_DOES_NOT_EXIST", f"Trace with ID {trace_id} is not fully exported yet, please try again later."
    )


def _batch(ws: Workspace, asked: Many) -> Any:
    found = traces.with_spans(ws, _ids(asked))
    whole = [each for each in found if _is_asked(asked, each[0]) and traces.is_whole(*each)]
    return {"traces": [traces_wire.trace(*each) for each in whole]}


def _batch_infos(ws: Workspace, asked: Many) -> Any:
    found = [each for each in traces.states(ws, _ids(asked)) if _is_asked(asked, each)]
    return {"trace_infos": [traces_wire.info(each) for each in found]}


def _search(ws: Workspace, asked: Search) -> Any:
    return _found(ws, asked, "traces", traces_wire.info)


def _search_old(ws: Workspace, asked: Search) -> Any:
    return _found(ws, asked, "traces", traces_old.shown)


def _found(ws: Workspace, asked: Search, name: str, shown: Callable[[Any], Any]) -> Any:
    most = 100 if asked.max_results is None else asked.max_results
    if not 0 < most <= MOST_IN_A_PAGE:
        raise invalid(
            f"Invalid value {most} for parameter 'max_results' supplied. It must be at least 1 and at most "
            f"{MOST_IN_A_PAGE}."
        )
    named = [each.mlflow_experiment.experiment_id for each in asked.locations if each.mlflow_experiment is not None]
    places = [each for each in (*named, *asked.experiment_ids) if each]
    page = searching.search(
        ws,
        [int(each) for each in places if each.isascii() and each.isdigit() and len(each) < 19],
        asked.filter or "",
        order_by=asked.order_by,
        limit=most,
        token=asked.page_token or None,
    )
    made: dict[str, Any] = {name: [shown(each) for each in page.traces]} if page.traces else {}
    return {**made, "next_page_token": page.token} if page.token else made


def _delete(ws: Workspace, asked: Delete) -> Callable[[], Any]:
    place = limits.experiment_id(asked.experiment_id)
    if asked.max_traces is not None and (asked.request_ids or asked.max_traces <= 0):
        text = "cannot be specified if `trace_ids` is" if asked.request_ids else "must be a positive integer"
        raise invalid(f"`max_traces` {text} (received {asked.max_traces})")
    if asked.max_timestamp_millis is not None and asked.request_ids:
        raise invalid("Only one of `max_timestamp_millis` and `trace_ids` can be specified.")

    def call() -> Any:
        gone = traces.delete(
            ws, place, until_ms=asked.max_timestamp_millis, most=asked.max_traces, trace_ids=asked.request_ids
        )
        return {"traces_deleted": gone}

    return call


def _set_tag(ws: Workspace, asked: Tag) -> Any:
    limits.required(key=asked.key)
    key, value = traces_wire.tag(str(asked.key), asked.value or "")
    if key in IMMUTABLE:
        raise invalid(f"Tag '{key}' is immutable and cannot be set on a trace.")
    return _nothing(ws, traces.tagging(ws, _id(asked), key, value))


def _delete_tag(ws: Workspace, asked: Tag) -> Any:
    limits.required(key=asked.key)
    if asked.key in IMMUTABLE:
        raise invalid(f"Tag '{asked.key}' is immutable and cannot be deleted on a trace.")
    return _nothing(ws, traces.untagging(ws, _id(asked), str(asked.key)))


def _link(ws: Workspace, asked: Link) -> Any:
    run_id = limits.run_id(asked.run_id)
    limits.required(trace_ids=asked.trace_ids or None)
    return _nothing(ws, traces.linking(ws, asked.trace_ids, run_id))


def _link_prompts(ws: Workspace, asked: LinkPrompts) -> Any:
    limits.required(trace_id=asked.trace_id)
    named = [f"{each.name}/{each.version}" for each in asked.prompt_versions if each.name and each.version]
    return _nothing(ws, traces.linking_prompts(ws, str(asked.trace_id), [otlp.plain(each)[:500] for each in named]))


# ---------------------------------------------------------------------------------------------------- assessments


def _judge(ws: Workspace, asked: Judge) -> Any:
    if asked.assessment is None:
        raise invalid("Missing value for required parameter 'assessment'. See the API docs for more information.")
    given = traces_wire.assessment_of(asked.assessment)
    return _judged(ws, assessments.creating(ws, str(asked.trace_id), given))


def _get_judged(ws: Workspace, asked: Judge) -> Any:
    found = assessments.get(ws, str(asked.trace_id), str(asked.assessment_id))
    return {"assessment": traces_wire.shown_assessment(found)}


def _judge_again(ws: Workspace, asked: Judge) -> Any:
    if asked.assessment is None or not asked.update_mask:
        raise invalid("Missing value for required parameter 'assessment' or 'update_mask'.")
    mask = asked.update_mask
    names = mask.split(",") if isinstance(mask, str) else [str(each) for each in mask.get("paths", ())]
    fields = ["".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name) for name in names]
    given = traces_wire.assessment_of(asked.assessment)
    change = assessments.updating(ws, str(asked.trace_id), str(asked.assessment_id), given, fields)
    return _judged(ws, change)


def _unjudge(ws: Workspace, asked: Judge) -> Any:
    return _nothing(ws, assessments.deleting(ws, str(asked.trace_id), str(asked.assessment_id)))


def _judged(ws: Workspace, change: Operation[Any]) -> Any:
    return committer_of(ws).submit(lambda now: {"assessment": traces_wire.shown_assessment(change(now))})


# --------------------------------------------------------------------------------------------------------- common


def _nothing(ws: Workspace, change: Operation[Any]) -> Any:
    def operation(now: Any) -> Any:
        change(now)
        return {}

    return committer_of(ws).submit(operation)


def _experiment_of(given: traces_wire.Location | None) -> int:
    if given is None or given.mlflow_experiment is None:
        raise invalid("Missing value for required parameter 'trace_location.mlflow_experiment'.")
    return limits.experiment_id(given.mlflow_experiment.experiment_id)


def _id(asked: ById | Tag) -> str:
    found = asked.trace_id or asked.request_id
    limits.required(trace_id=found)
    return cast("str", found)


def _ids(asked: Many) -> list[str]:
    limits.required(trace_ids=asked.trace_ids or None)
    if len(asked.trace_ids) > MOST_AT_ONCE:
        raise invalid(f"{len(asked.trace_ids)} traces at once; ask for at most {MOST_AT_ONCE}")
    return asked.trace_ids


def _is_asked(asked: Many, state: dict[str, Any]) -> bool:
    return asked.experiment_ids is None or str(state["experiment"]) in asked.experiment_ids


_BOTH = (
    Route("/traces/delete-traces", ("POST",), Delete, _delete, writes=True),
    Route("/traces/link-to-run", ("POST",), Link, _link, writes=True),
    Route("/traces/link-prompts", ("POST",), LinkPrompts, _link_prompts, writes=True),
)
_TAGS = ("/traces/{trace_id}/tags", "/traces/{trace_id}")
ROUTES: tuple[tuple[str, Route], ...] = (
    *((version, route) for version in ("/2", "/3") for route in _BOTH),
    *((version, Route(_TAGS[0], ("PATCH",), Tag, _set_tag, writes=True)) for version in ("/2", "/3")),
    *((version, Route(_TAGS[0], ("DELETE",), Tag, _delete_tag, writes=True)) for version in ("/2", "/3")),
    ("/2", Route("/traces", ("POST",), traces_old.StartOld, traces_old.start, writes=True)),
    ("/2", Route("/traces", ("GET",), Search, _search_old, writes=False)),
    ("/2", Route("/traces/{request_id}/info", ("GET",), ById, traces_old.get, writes=False)),
    ("/2", Route("/traces/{request_id}", ("PATCH",), traces_old.StartOld, traces_old.end, writes=True)),
    ("/3", Route("/traces", ("POST",), Start, _start, writes=True)),
    ("/3", Route("/traces/get", ("GET",), ById, _get, writes=False)),
    ("/3", Route("/traces/batchGet", ("GET",), Many, _batch, writes=False)),
    ("/3", Route("/traces/batchGetInfos", ("POST",), Many, _batch_infos, writes=False)),
    ("/3", Route("/traces/search", ("POST",), Search, _search, writes=False)),
    ("/3", Route("/traces/{trace_id}", ("GET",), ById, _get_info, writes=False)),
    ("/3", Route("/traces/{trace_id}/assessments", ("POST",), Judge, _judge, writes=True)),
    ("/3", Route("/traces/{trace_id}/assessments/{assessment_id}", ("GET",), Judge, _get_judged, writes=False)),
    ("/3", Route("/traces/{trace_id}/assessments/{assessment_id}", ("PATCH",), Judge, _judge_again, writes=True)),
    ("/3", Route("/traces/{trace_id}/assessments/{assessment_id}", ("DELETE",), Judge, _unjudge, writes=True)),
)
