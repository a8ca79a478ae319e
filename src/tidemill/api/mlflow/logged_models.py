"""Models that runs logged, over MLflow's protocol (since 3.0)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tidemill.api.mlflow import limits, wire
from tidemill.api.mlflow.errors import Told, invalid
from tidemill.api.mlflow.routes import Route
from tidemill.core.errors import BadInput, NotFound
from tidemill.core.graphs.committing import reading
from tidemill.core.workspace import Workspace
from tidemill.track import files, logged_models
from tidemill.track.logged_models import LoggedModel, Status
from tidemill.track.searching.evaluating import Has, matches, ordered
from tidemill.track.searching.grammar import All, Comparison, Expression, parse
from tidemill.track.searching.order import parse_order
from tidemill.track.searching.paging import cut
from tidemill.track.searching.vocabulary import LOGGED_MODELS, Field

STATUS: dict[str, Status] = {
    "LOGGED_MODEL_PENDING": "running",
    "LOGGED_MODEL_READY": "done",
    "LOGGED_MODEL_UPLOAD_FAILED": "failed",
}
SHOWN: dict[str, str] = {ours: theirs for theirs, ours in STATUS.items()}
NUMBERS = {1: "LOGGED_MODEL_PENDING", 2: "LOGGED_MODEL_READY", 3: "LOGGED_MODEL_UPLOAD_FAILED"}


class Create(msgspec.Struct):
    """logged-models."""

    experiment_id: str | None = None
    name: str | None = None
    model_type: str | None = None
    source_run_id: str | None = None
    params: list[wire.Pair] = []
    tags: list[wire.Pair] = []


class Named(msgspec.Struct):
    """A model by its id, in the path, and what is said of it."""

    model_id: str = ""
    status: str | int | None = None
    key: str | None = None
    tags: list[wire.Pair] = []
    params: list[wire.Pair] = []
    allow_deleted: bool | str | None = False
    artifact_directory_path: str | None = None


class OrderBy(msgspec.Struct):
    """By what a search is ordered."""

    field_name: str | None = None
    ascending: bool | None = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


class OfDataset(msgspec.Struct):
    """Whose metrics count in a search."""

    dataset_name: str | None = None
    dataset_digest: str | None = None


class Search(msgspec.Struct):
    """logged-models/search."""

    experiment_ids: list[str] = []
    datasets: list[OfDataset] = []
    filter: str | None = None
    max_results: int | None = None
    order_by: list[OrderBy] = []
    page_token: str | None = None


def artifact_uri(model: LoggedModel) -> str:
    """Where a client finds the model's files: through us."""
    return f"mlflow-artifacts:/{model.experiment}/models/{model.id}/artifacts"


def shown(model: LoggedModel) -> dict[str, Any]:
    """A model for JSON."""
    head: dict[str, Any] = {
        "experiment_id": str(model.experiment),
        "model_id": model.id,
        "name": model.name,
        "artifact_uri": artifact_uri(model),
        "creation_timestamp_ms": model.created_ms,
        "last_updated_timestamp_ms": model.updated_ms,
        "status": SHOWN.get(model.status, "LOGGED_MODEL_STATUS_UNSPECIFIED"),
        "model_type": model.type,
        "source_run_id": model.source_run,
        "tags": wire.pairs(model.tags),
    }
    metrics = []
    for key, last in model.metrics.items():
        line: dict[str, Any] = {
            "key": key,
            "value": wire.double(last.value),
            "timestamp": last.at_ms,
            "step": last.step,
        }
        on = model.measured.get(key)
        line |= {"model_id": model.id, "run_id": on.run_id if on else model.source_run}
        line |= {"dataset_name": on.dataset, "dataset_digest": on.digest} if on and on.dataset else {}
        metrics.append(line)
    data = {"params": wire.pairs(model.params), "metrics": metrics}
    return {
        "info": {name: each for name, each in head.items() if each not in ("", [])},
        "data": {name: each for name, each in data.items() if each},
    }


def _create(ws: Workspace, asked: Create) -> Callable[[], Any]:
    place = limits.experiment_id(asked.experiment_id)
    name = asked.name or ""
    if any(letter in name for letter in "/:.%\"'"):
        raise invalid(f"Invalid model name ({name[:80]!r}) provided. Model name must be a non-empty string and cannot "
                      "contain the following characters: ('/', ':', '.', '%', '\"', \"'\")")  # fmt: skip
    params, tags = wire.texts(asked.params), wire.texts(asked.tags)

    def call() -> Any:
        try:
            made = logged_models.create(
                ws,
                place,
                name,
                source_run=asked.source_run_id or "",
                type=asked.model_type or "",
                params=params,
                tags=tags,
            )
        except NotFound:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={place} exists") from None
        return {"model": shown(made)}

    return call


def _get(ws: Workspace, asked: Named) -> Any:
    return {"model": shown(_read(ws, asked.model_id, deleted=asked.allow_deleted in (True, "true", "True")))}


def _finalize(ws: Workspace, asked: Named) -> Callable[[], Any]:
    given = NUMBERS.get(asked.status, str(asked.status)) if isinstance(asked.status, int) else str(asked.status)
    given = NUMBERS.get(int(given), given) if given.isdigit() else given
    if given not in STATUS:
        raise invalid(f"Invalid value {asked.status!r} for 'status'; allowed are {', '.join(STATUS)}")
    return _told(asked.model_id, lambda: {"model": shown(logged_models.finish(ws, asked.model_id, STATUS[given]))})


def _delete(ws: Workspace, asked: Named) -> Callable[[], Any]:
    def call() -> Any:
        logged_models.delete(ws, asked.model_id)
        return {}

    return _told(asked.model_id, call)


def _set_tags(ws: Workspace, asked: Named) -> Callable[[], Any]:
    tags = wire.texts(asked.tags)
    return _told(asked.model_id, lambda: {"model": shown(logged_models.log(ws, asked.model_id, tags=tags))})


def _log_params(ws: Workspace, asked: Named) -> Callable[[], Any]:
    params = wire.texts(asked.params)

    def call() -> Any:
        logged_models.log(ws, asked.model_id, params=params)
        return {}

    return _told(asked.model_id, call)


def _delete_tag(ws: Workspace, asked: Named) -> Callable[[], Any]:
    key = str(asked.key)

    def call() -> Any:
        if key not in _read(ws, asked.model_id).tags:
            raise Told(
                "RESOURCE_DOES_NOT_EXIST", f"No tag with key {key!r} found for model with ID {asked.model_id!r}."
            )
        logged_models.delete_tag(ws, asked.model_id, key)
        return {}

    return _told(asked.model_id, call)


def _list(ws: Workspace, asked: Named) -> Any:
    model = _read(ws, asked.model_id)
    folder = (asked.artifact_directory_path or "").rstrip("/")
    try:
        found = files.listed(ws, model.id, folder)
    except BadInput:
        raise invalid(f"Invalid path: {folder[:200]!r}") from None
    lines = [{"path": each.path, "is_dir": each.is_folder} | ({} if each.is_folder else {"file_size": each.size})
             for each in found]  # fmt: skip
    return {"root_uri": artifact_uri(model)} | ({"files": lines} if lines else {})


def _search(ws: Workspace, asked: Search) -> Any:
    if not asked.experiment_ids:
        raise invalid("Missing value for required parameter 'experiment_ids'. See the API docs for more information.")
    most = 100 if asked.max_results is None else asked.max_results
    if not 1 <= most <= 10_000:
        raise invalid(f"Invalid value {most} for parameter 'max_results'. It must be at least 1 and at most 10000.")
    places = [int(each) for each in asked.experiment_ids if each.isascii() and each.isdigit() and len(each) < 19]
    expression = parse(asked.filter or "", LOGGED_MODELS)
    with reading(ws) as link:
        rows = logged_models.among(link, places, _source_run(expression))
    of = [(each.dataset_name, each.dataset_digest) for each in asked.datasets]

    def value_of(model: LoggedModel, field: Field) -> Has:
        return _value(model, field, of)

    kept = [each for each in rows if matches(expression, lambda field, each=each: value_of(each, field))]  # type: ignore[misc]  # bound at once
    for by in reversed(asked.order_by):
        order = parse_order(f"{by.field_name} {'ASC' if by.ascending in (True, None) else 'DESC'}", LOGGED_MODELS)
        on = [(by.dataset_name, by.dataset_digest)] if by.dataset_name else []
        kept = ordered(kept, [order], lambda model, field, on=on: _value(model, field, on))  # type: ignore[misc]  # bound at once
    said = [sorted(places), asked.filter, [msgspec.to_builtins(each) for each in asked.order_by], of]
    page, token = cut(kept, most, asked.page_token, said)
    made: dict[str, Any] = {"models": [shown(each) for each in page]} if page else {}
    return {**made, "next_page_token": token} if token else made


def _source_run(expression: Expression | None) -> str | None:
    """The one run whose models alone can match, where the filter says so: a client asks before each download."""
    parts = expression.parts if isinstance(expression, All) else (expression,)
    for part in parts:
        if isinstance(part, Comparison) and part.field.key == "source_run_id" and part.operator == "=":
            return str(part.value)
    return None


def _value(model: LoggedModel, field: Field, of: Sequence[tuple[str | None, str | None]]) -> Has:
    if field.entity == "metric":
        last, on = model.metrics.get(field.key), model.measured.get(field.key)
        if last is None:
            return None
        here = [
            name for name, digest in of if on is not None and on.dataset == name and digest in (None, "", on.digest)
        ]
        return last.value if here or not of else None
    if field.entity in ("param", "tag"):
        return (model.params if field.entity == "param" else model.tags).get(field.key)
    has: dict[str, Has] = {
        "name": model.name,
        "model_id": model.id,
        "model_type": model.type or None,
        "status": SHOWN.get(model.status, "").removeprefix("LOGGED_MODEL_"),
        "source_run_id": model.source_run or None,
        "creation_timestamp": model.created_ms,
        "last_updated_timestamp": model.updated_ms,
    }
    return has[field.key]


def _read(ws: Workspace, model_id: str, *, deleted: bool = False) -> LoggedModel:
    found: LoggedModel = _told(model_id, lambda: logged_models.get(ws, model_id, deleted=deleted))()
    return found


def _told(model_id: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """The call, its NotFound in MLflow's words."""

    def told() -> Any:
        try:
            return call()
        except NotFound:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"Logged model with ID '{model_id}' not found.") from None

    return told


_ONE = "/logged-models/{model_id}"
ROUTES = (
    Route("/logged-models/search", ("POST",), Search, _search, writes=False),
    Route("/logged-models", ("POST",), Create, _create, writes=True),
    Route(_ONE, ("GET",), Named, _get, writes=False),
    Route(_ONE, ("PATCH",), Named, _finalize, writes=True),
    Route(_ONE, ("DELETE",), Named, _delete, writes=True),
    Route(f"{_ONE}/tags", ("PATCH",), Named, _set_tags, writes=True),
    Route(f"{_ONE}/tags/{{key:path}}", ("DELETE",), Named, _delete_tag, writes=True),
    Route(f"{_ONE}/params", ("POST",), Named, _log_params, writes=True),
    Route(f"{_ONE}/artifacts/directories", ("GET",), Named, _list, writes=False),
)
