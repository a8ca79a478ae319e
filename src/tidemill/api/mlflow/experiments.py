"""Experiments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tidemill.api.mlflow import limits, wire
from tidemill.api.mlflow.errors import Told, invalid
from tidemill.api.mlflow.routes import Route
from tidemill.core.errors import Conflict, NotFound
from tidemill.core.workspace import Workspace
from tidemill.track import experiments
from tidemill.track.experiments import Experiment
from tidemill.track.searching.experiments import search_experiments

View = Literal["active", "deleted", "all"]
VIEWS: dict[str, View] = {"ACTIVE_ONLY": "active", "DELETED_ONLY": "deleted", "ALL": "all"}


class Create(msgspec.Struct):
    """experiments/create."""

    name: str | None = None
    artifact_location: str | None = None
    tags: list[wire.Pair] = []


class ById(msgspec.Struct):
    """experiments/get, delete, restore."""

    experiment_id: str | None = None


class ByName(msgspec.Struct):
    """experiments/get-by-name."""

    experiment_name: str | None = None


class Update(msgspec.Struct):
    """experiments/update."""

    experiment_id: str | None = None
    new_name: str | None = None


class Tag(msgspec.Struct):
    """experiments/set-experiment-tag, delete-experiment-tag."""

    experiment_id: str | None = None
    key: str | None = None
    value: str | None = None


class Search(msgspec.Struct):
    """experiments/search."""

    max_results: int | None = None
    page_token: str | None = None
    filter: str | None = None
    order_by: list[str] = []
    view_type: str | None = None


def view_of(given: str | None) -> View:
    """What of active and deleted ones is asked for."""
    if given not in (None, "", *VIEWS):
        raise invalid(f"Invalid view type '{given}'. Supported view types are {', '.join(VIEWS)}.")
    return VIEWS.get(given or "", "active")


def _create(ws: Workspace, asked: Create) -> Callable[[], Any]:
    limits.required(name=asked.name)
    name = limits.experiment_name(asked.name)
    tags = dict(limits.experiment_tag(pair.key, pair.value) for pair in asked.tags)

    def call() -> Any:
        try:
            made = experiments.create(ws, name, location=asked.artifact_location or "", tags=tags)
        except Conflict as error:
            raise Told("RESOURCE_ALREADY_EXISTS", str(error)) from None
        return {"experiment_id": str(made.id)}

    return call


def _get(ws: Workspace, asked: ById) -> Any:
    return {"experiment": wire.experiment(_read(ws, limits.experiment_id(asked.experiment_id)))}


def _by_name(ws: Workspace, asked: ByName) -> Any:
    limits.required(experiment_name=asked.experiment_name)
    found = experiments.by_name(ws, str(asked.experiment_name))
    if found is None:
        raise Told("RESOURCE_DOES_NOT_EXIST", f"Could not find experiment with name '{asked.experiment_name}'")
    return {"experiment": wire.experiment(found)}


def _search(ws: Workspace, asked: Search) -> Any:
    page = search_experiments(
        ws,
        asked.filter or "",
        order_by=asked.order_by,
        view=view_of(asked.view_type),
        limit=1000 if asked.max_results is None else asked.max_results,
        token=asked.page_token or None,
    )
    made: dict[str, Any] = (
        {"experiments": [wire.experiment(each) for each in page.experiments]} if page.experiments else {}
    )
    return {**made, "next_page_token": page.token} if page.token else made


def _update(ws: Workspace, asked: Update) -> Callable[[], Any]:
    place = limits.experiment_id(asked.experiment_id)
    limits.required(new_name=asked.new_name)
    name = limits.experiment_name(asked.new_name)

    def call() -> Any:
        try:
            experiments.rename(ws, _read(ws, place).id, name)
        except Conflict as error:
            raise Told("RESOURCE_ALREADY_EXISTS", str(error)) from None
        return {}

    return call


def _set_tag(ws: Workspace, asked: Tag) -> Callable[[], Any]:
    place = limits.experiment_id(asked.experiment_id)
    limits.required(key=asked.key)
    key, value = limits.experiment_tag(asked.key, asked.value)
    return _nothing(lambda: experiments.set_tags(ws, _read(ws, place).id, {key: value}))


def _delete_tag(ws: Workspace, asked: Tag) -> Callable[[], Any]:
    place = limits.experiment_id(asked.experiment_id)
    limits.required(key=asked.key)
    return _nothing(lambda: experiments.delete_tag(ws, _read(ws, place).id, str(asked.key)))


def _delete(ws: Workspace, asked: ById) -> Callable[[], Any]:
    place = limits.experiment_id(asked.experiment_id)
    return _nothing(lambda: experiments.delete(ws, _read(ws, place).id))


def _restore(ws: Workspace, asked: ById) -> Callable[[], Any]:
    place = limits.experiment_id(asked.experiment_id)
    return _nothing(lambda: experiments.restore(ws, _read(ws, place).id))


def _read(ws: Workspace, place: int) -> Experiment:
    try:
        return experiments.get(ws, place)
    except NotFound:
        raise Told("RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={place} exists") from None


def _nothing(call: Callable[[], object]) -> Callable[[], Any]:
    def called() -> Any:
        call()
        return {}

    return called


ROUTES = (
    Route("/experiments/create", ("POST",), Create, _create, writes=True),
    Route("/experiments/get", ("GET",), ById, _get, writes=False),
    Route("/experiments/get-by-name", ("GET",), ByName, _by_name, writes=False),
    Route("/experiments/search", ("GET", "POST"), Search, _search, writes=False),
    Route("/experiments/update", ("POST",), Update, _update, writes=True),
    Route("/experiments/delete", ("POST",), ById, _delete, writes=True),
    Route("/experiments/restore", ("POST",), ById, _restore, writes=True),
    Route("/experiments/set-experiment-tag", ("POST",), Tag, _set_tag, writes=True),
    Route("/experiments/delete-experiment-tag", ("POST",), Tag, _delete_tag, writes=True),
)
