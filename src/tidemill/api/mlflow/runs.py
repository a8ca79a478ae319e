"""Runs: opened, logged into, ended, searched; the values of their metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from tidemill.api.mlflow import histories, limits, wire
from tidemill.api.mlflow.errors import Told, invalid
from tidemill.api.mlflow.experiments import view_of
from tidemill.api.mlflow.routes import Route
from tidemill.core.errors import NotFound
from tidemill.core.graphs.committing import Operation, committer_of, reading
from tidemill.core.graphs.records import LOGGED
from tidemill.core.types import Point
from tidemill.core.workspace import Workspace
from tidemill.track import inputs, logged_models, tracking
from tidemill.track.logged_models import Measured
from tidemill.track.searching.found import FIELDS
from tidemill.track.searching.runs import search
from tidemill.track.tracking import Tracked

MOST_IN_A_PAGE = 50_000


class Create(msgspec.Struct):
    """runs/create."""

    experiment_id: str | None = None
    user_id: str | None = None
    run_name: str | None = None
    start_time: int | None = None
    tags: list[wire.Pair] = []


class ById(msgspec.Struct):
    """runs/get, delete, restore."""

    run_id: str | None = None
    run_uuid: str | None = None


class Update(msgspec.Struct):
    """runs/update."""

    run_id: str | None = None
    run_uuid: str | None = None
    status: str | None = None
    end_time: int | None = None
    run_name: str | None = None


class Search(msgspec.Struct):
    """runs/search. fields: ours, see tidemill.track.searching.runs; empty for all."""

    experiment_ids: list[str] = []
    filter: str | None = None
    run_view_type: str | None = None
    max_results: int | None = None
    order_by: list[str] = []
    page_token: str | None = None
    fields: list[str] = []


class LogMetric(wire.Metric):
    """runs/log-metric."""

    run_uuid: str | None = None


class LogPair(msgspec.Struct):
    """runs/log-parameter, set-tag, delete-tag."""

    run_id: str | None = None
    run_uuid: str | None = None
    key: str | None = None
    value: str | None = None


class LogBatch(msgspec.Struct):
    """runs/log-batch."""

    run_id: str | None = None
    metrics: list[wire.Metric] = []
    params: list[wire.Pair] = []
    tags: list[wire.Pair] = []


class LogInputs(msgspec.Struct):
    """runs/log-inputs."""

    run_id: str | None = None
    datasets: list[wire.DatasetInput] = []
    models: list[wire.ModelUse] = []


class LogOutputs(msgspec.Struct):
    """runs/outputs."""

    run_id: str | None = None
    models: list[wire.ModelUse] = []


def _create(ws: Workspace, asked: Create) -> Any:
    place = limits.experiment_id(asked.experiment_id or "0")
    tags = dict(limits.tag(pair) for pair in asked.tags)
    if asked.run_name and tags.get(tracking.NAME_TAG, asked.run_name) != asked.run_name:
        raise invalid(
            f"Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name="
            f"'{asked.run_name}', mlflow.runName='{tags[tracking.NAME_TAG]}')."
        )
    if asked.user_id:
        tags.setdefault(tracking.OWNER_TAG, asked.user_id)
    start = tracking.starting(ws, place, name=asked.run_name or "", start_ms=asked.start_time, tags=tags)
    return committer_of(ws).submit(lambda now: {"run": wire.run(_there(start, place)(now), {}, {})})


def _there(start: Operation[Tracked], place: int) -> Operation[Tracked]:
    def operation(now: Any) -> Tracked:
        try:
            return start(now)
        except NotFound:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={place} exists") from None

    return operation


def _get(ws: Workspace, asked: ById) -> Any:
    found = _read(ws, limits.run_id(asked.run_id, asked.run_uuid))
    read, made = _beside(ws, [found.run.id])
    return {"run": wire.run(found, read.get(found.run.id, {}), made.get(found.run.id, {}))}


def _beside(ws: Workspace, run_ids: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """What each run read and what it made, for JSON."""
    with reading(ws) as link:
        read = {run_id: wire.inputs(found) for run_id, found in inputs.of_runs(link, run_ids).items()}
        for run_id, models in logged_models.of_runs(link, run_ids, "in").items():
            read.setdefault(run_id, {})["model_inputs"] = [{"model_id": model_id} for model_id, _ in models]
        made = {
            run_id: {"model_outputs": [{"model_id": model_id, "step": step} for model_id, step in models]}
            for run_id, models in logged_models.of_runs(link, run_ids, "out").items()
        }
    return read, made


def _update(ws: Workspace, asked: Update) -> Any:
    run_id = limits.run_id(asked.run_id, asked.run_uuid)
    if asked.status not in (None, *wire.GRAPH_STATUS):
        raise invalid(f"Invalid value {asked.status!r} for 'status'; allowed are {', '.join(wire.GRAPH_STATUS)}")
    status: Any = None if asked.status is None else wire.GRAPH_STATUS[asked.status]
    change = tracking.updating(run_id, status=status, end_ms=asked.end_time, name=asked.run_name)
    return committer_of(ws).submit(lambda now: {"run_info": wire.info_of(_known(change, run_id)(now))})


def _delete(ws: Workspace, asked: ById) -> Callable[[], Any]:
    run_id = limits.run_id(asked.run_id, asked.run_uuid)

    def call() -> Any:
        tracking.delete(ws, _read(ws, run_id).run.id)
        return {}

    return call


def _restore(ws: Workspace, asked: ById) -> Callable[[], Any]:
    run_id = limits.run_id(asked.run_id, asked.run_uuid)

    def call() -> Any:
        tracking.restore(ws, _read(ws, run_id).run.id)
        return {}

    return call


def _search(ws: Workspace, asked: Search) -> Any:
    most = 1000 if asked.max_results is None else asked.max_results
    if not 0 < most <= MOST_IN_A_PAGE:
        raise invalid(
            f"Invalid value {most} for parameter 'max_results' supplied. It must be at least 1 and at most "
            f"{MOST_IN_A_PAGE}."
        )
    places = [int(each) for each in asked.experiment_ids if each.isascii() and each.isdigit() and len(each) < 19]
    page = search(
        ws,
        places,
        asked.filter or "",
        order_by=asked.order_by,
        view=view_of(asked.run_view_type),
        limit=most,
        token=asked.page_token or None,
        fields=asked.fields or FIELDS,
    )
    read, outputs = _beside(ws, [each.run_id for each in page.runs]) if not asked.fields else ({}, {})
    shown = [wire.run(each, read.get(each.run_id, {}), outputs.get(each.run_id, {})) for each in page.runs]
    made: dict[str, Any] = {"runs": shown} if shown else {}
    return {**made, "next_page_token": page.token} if page.token else made


def _log_metric(ws: Workspace, asked: LogMetric) -> Any:
    limits.required(run_id=asked.run_id or asked.run_uuid, key=asked.key)
    run_id = limits.run_id(asked.run_id, asked.run_uuid)
    return _logged(ws, run_id, _of_models(run_id, [asked], [_point(asked)]), metrics=[_point(asked)])


def _log_param(ws: Workspace, asked: LogPair) -> Any:
    run_id = limits.run_id(asked.run_id, asked.run_uuid)
    limits.required(key=asked.key)
    key, value = limits.param(wire.Pair(asked.key, asked.value))
    return _logged(ws, run_id, params={key: value})


def _set_tag(ws: Workspace, asked: LogPair) -> Any:
    run_id = limits.run_id(asked.run_id, asked.run_uuid)
    limits.required(key=asked.key)
    key, value = limits.tag(wire.Pair(asked.key, asked.value))
    return _logged(ws, run_id, tags={key: value})


def _delete_tag(ws: Workspace, asked: LogPair) -> Callable[[], Any]:
    run_id = limits.run_id(asked.run_id, asked.run_uuid)
    limits.required(key=asked.key)
    key = str(asked.key)

    def call() -> Any:
        found = _read(ws, run_id)
        if key not in found.tags:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"No tag with name: {key} in run with id {run_id}")
        tracking.delete_tag(ws, run_id, key)
        return {}

    return call


def _log_batch(ws: Workspace, asked: LogBatch) -> Any:
    run_id = limits.run_id(asked.run_id)
    limits.batch(asked.metrics, asked.params, asked.tags)
    metrics = [_point(each, f"metrics[{place}].") for place, each in enumerate(asked.metrics)]
    params = dict(limits.param(each, f"params[{place}].") for place, each in enumerate(asked.params))
    tags = dict(limits.tag(each, f"tags[{place}].") for place, each in enumerate(asked.tags))
    return _logged(ws, run_id, _of_models(run_id, asked.metrics, metrics), metrics=metrics, params=params, tags=tags)


def _log_inputs(ws: Workspace, asked: LogInputs) -> Any:
    run_id = limits.run_id(asked.run_id)
    given = [limits.dataset(each, place) for place, each in enumerate(asked.datasets)]
    change = inputs.logging(run_id, given)
    models = _of_uses(run_id, "in", asked.models)

    def operation(now: Any) -> Any:
        _known(change, run_id)(now)
        if models is not None:
            _known(models, run_id)(now)
        return {}

    return committer_of(ws).submit(operation)


def _log_outputs(ws: Workspace, asked: LogOutputs) -> Any:
    run_id = limits.run_id(asked.run_id)
    change = _of_uses(run_id, "out", asked.models)

    def operation(now: Any) -> Any:
        if change is not None:
            _known(change, run_id)(now)
        return {}

    return committer_of(ws).submit(operation)


def _of_uses(run_id: str, role: Literal["in", "out"], given: Sequence[wire.ModelUse]) -> Operation[None] | None:
    return (
        logged_models.joining(run_id, role, {str(each.model_id): each.step or 0 for each in given}) if given else None
    )


def _of_models(run_id: str, given: Sequence[wire.Metric], points: Sequence[Point]) -> Operation[None] | None:
    """Those metrics that are logged models' too; None where there are none."""
    found: dict[str, list[Point]] = {}
    on: dict[str, dict[str, Measured]] = {}
    for asked, point in zip(given, points, strict=True):
        if asked.model_id:
            found.setdefault(asked.model_id, []).append(point)
            measured = Measured(asked.dataset_name or "", asked.dataset_digest or "", run_id)
            on.setdefault(asked.model_id, {})[point.key] = measured
    return logged_models.measuring(found, on) if found else None


def _logged(ws: Workspace, run_id: str, models: Operation[None] | None = None, **given: Any) -> Any:
    change = tracking.logging(run_id, **given)

    def operation(now: Any) -> Any:
        _known(change, run_id)(now)
        if models is not None:
            models(now)
        return {}

    return committer_of(ws).submit(operation)


def _point(asked: wire.Metric, path: str = "") -> Point:
    key, value, at_ms, step = limits.metric(asked, path)
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        raise invalid(f"Invalid value {at_ms} for parameter '{path}timestamp' supplied: no time is so late") from None
    return Point(key, value, step, at)


def _known(change: Operation[Any], run_id: str) -> Operation[Any]:
    """The operation, its NotFound in MLflow's words."""

    def operation(now: Any) -> Any:
        try:
            return change(now)
        except NotFound:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found") from None

    return operation


def _read(ws: Workspace, run_id: str) -> Tracked:
    try:
        found = tracking.get(ws, run_id)
    except NotFound:
        found = None
    if found is None or found.run.kind == LOGGED:
        raise Told("RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found")
    return found


ROUTES = (
    Route("/runs/create", ("POST",), Create, _create, writes=True),
    Route("/runs/get", ("GET",), ById, _get, writes=False),
    Route("/runs/update", ("POST",), Update, _update, writes=True),
    Route("/runs/delete", ("POST",), ById, _delete, writes=True),
    Route("/runs/restore", ("POST",), ById, _restore, writes=True),
    Route("/runs/search", ("POST",), Search, _search, writes=False),
    Route("/runs/log-metric", ("POST",), LogMetric, _log_metric, writes=True),
    Route("/runs/log-parameter", ("POST",), LogPair, _log_param, writes=True),
    Route("/runs/log-batch", ("POST",), LogBatch, _log_batch, writes=True),
    Route("/runs/set-tag", ("POST",), LogPair, _set_tag, writes=True),
    Route("/runs/delete-tag", ("POST",), LogPair, _delete_tag, writes=True),
    Route("/runs/outputs", ("POST",), LogOutputs, _log_outputs, writes=True),
    Route("/runs/log-inputs", ("POST",), LogInputs, _log_inputs, writes=True),
    *histories.ROUTES,
)
