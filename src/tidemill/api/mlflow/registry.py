"""Registered models and their versions, over MLflow's protocol. Prompts are registered models with a tag that says so.

The models are the workspace's own, those that its pipelines registered too: an alias that a client moves is the alias
that deployments follow, and each of its moves is an event.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from tidemill.api.mlflow import limits, wire
from tidemill.api.mlflow.errors import Told, invalid
from tidemill.api.mlflow.registering import (
    IS_PROMPT,
    STAGES,
    Named,
    Search,
    alias_of,
    chosen,
    model_shown,
    most_of,
    name_of,
    number_of,
    one,
    stage_of,
    tag_of,
    tags_of,
    then,
    version_of,
    version_shown,
)
from tidemill.api.mlflow.routes import Route
from tidemill.core.errors import Conflict
from tidemill.core.workspace import Workspace
from tidemill.serve import registry
from tidemill.serve.registered import models, promoting, states
from tidemill.serve.registered.states import Registered
from tidemill.track.searching.evaluating import Has
from tidemill.track.searching.paging import cut
from tidemill.track.searching.vocabulary import MODELS, Field

_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)


class Create(msgspec.Struct):
    """registered-models/create."""

    name: str | None = None
    tags: list[wire.Pair] = []
    description: str | None = None


def _create(ws: Workspace, asked: Create) -> Callable[[], Any]:
    name = name_of(asked.name)
    tags = tags_of(asked.tags)

    def call() -> Any:
        try:
            made = models.create(ws, name, description=asked.description or "", tags=tags)
        except Conflict:
            raise Told("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={name}) already exists.") from None
        return {"registered_model": model_shown(made, (), {})}

    return call


def _get(ws: Workspace, asked: Named) -> Any:
    return {"registered_model": model_shown(*one(ws, name_of(asked.name)))}


def _update(ws: Workspace, asked: Named) -> Callable[[], Any]:
    name = name_of(asked.name)

    def call() -> Any:
        one(ws, name)
        models.describe(ws, name, asked.description or "")
        return {"registered_model": model_shown(*one(ws, name))}

    return call


def _rename(ws: Workspace, asked: Named) -> Callable[[], Any]:
    name = name_of(asked.name)
    limits.required(new_name=asked.new_name)
    new = name_of(asked.new_name)

    def call() -> Any:
        one(ws, name)
        try:
            models.rename(ws, name, new)
        except Conflict:
            raise Told("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={new}) already exists.") from None
        return {"registered_model": model_shown(*one(ws, new))}

    return call


def _delete(ws: Workspace, asked: Named) -> Callable[[], Any]:
    name = name_of(asked.name)
    return then(ws, name, lambda: models.delete(ws, name))


def _search(ws: Workspace, asked: Search) -> Any:
    most = most_of(asked.max_results, 100, 1000)
    found = states.snapshot(ws)
    rows = [(model, found.versions.get(key, ()), found.aliases.get(key, {})) for key, model in found.models.items()]
    rows.sort(key=lambda row: row[0].name)
    kept = chosen(rows, asked, MODELS, lambda row, field: _of_model(row[0], field))
    page, token = cut(kept, most, asked.page_token, [asked.filter, asked.order_by])
    made: dict[str, Any] = {"registered_models": [model_shown(*row) for row in page]} if page else {}
    return {**made, "next_page_token": token} if token else made


def _set_tag(ws: Workspace, asked: Named) -> Callable[[], Any]:
    name, (key, value) = name_of(asked.name), tag_of(wire.Pair(asked.key, asked.value))
    return then(ws, name, lambda: models.set_tag(ws, name, key, value))


def _delete_tag(ws: Workspace, asked: Named) -> Callable[[], Any]:
    name = name_of(asked.name)
    limits.required(key=asked.key)
    return then(ws, name, lambda: models.delete_tag(ws, name, str(asked.key)))


def _latest(ws: Workspace, asked: Named) -> Any:
    _, of, aliases = one(ws, name_of(asked.name))
    stages = {stage_of(each) for each in asked.stages} if asked.stages else set(STAGES.values())
    newest = {each.stage: each for each in of if each.stage in stages}
    return {"model_versions": [version_shown(each, aliases) for each in newest.values()]} if newest else {}


def _set_alias(ws: Workspace, asked: Named) -> Callable[[], Any]:
    name, alias, number = name_of(asked.name), alias_of(asked.alias), number_of(asked.version)
    if _RESERVED.fullmatch(alias):
        raise invalid(f"Version alias name '{alias}' is reserved.")

    def call() -> Any:
        version_of(ws, name, number)
        promoting.promote(ws, name, number, alias=alias, why="set over MLflow's protocol")
        return {}

    return call


def _delete_alias(ws: Workspace, asked: Named) -> Callable[[], Any]:
    name, alias = name_of(asked.name), alias_of(asked.alias)
    return then(ws, name, lambda: registry.unalias(ws, name, alias, why="deleted over MLflow's protocol"))


def _by_alias(ws: Workspace, asked: Named) -> Any:
    name, alias = name_of(asked.name), alias_of(asked.alias)
    _, of, aliases = one(ws, name)
    if alias.lower() == "latest":
        if not of:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"Latest version not found for model {name}.")
        return {"model_version": version_shown(of[-1], aliases)}
    found = next((each for each in of if each.number == aliases.get(alias)), None)
    if found is None:
        raise invalid(f"Registered model alias {alias} not found.")
    return {"model_version": version_shown(found, aliases)}


def _of_model(model: Registered, field: Field) -> Has:
    if field.entity == "tag":
        return model.tags.get(field.key, "false" if field.key == IS_PROMPT else None)
    has: dict[str, Has] = {
        "name": model.name,
        "creation_timestamp": model.created_ms,
        "last_updated_timestamp": model.updated_ms,
    }
    return has[field.key]


ROUTES = (
    Route("/registered-models/create", ("POST",), Create, _create, writes=True),
    Route("/registered-models/get", ("GET",), Named, _get, writes=False),
    Route("/registered-models/update", ("PATCH", "POST"), Named, _update, writes=True),
    Route("/registered-models/rename", ("POST",), Named, _rename, writes=True),
    Route("/registered-models/delete", ("DELETE",), Named, _delete, writes=True),
    Route("/registered-models/search", ("GET",), Search, _search, writes=False),
    Route("/registered-models/set-tag", ("POST",), Named, _set_tag, writes=True),
    Route("/registered-models/delete-tag", ("DELETE",), Named, _delete_tag, writes=True),
    Route("/registered-models/get-latest-versions", ("GET",), Named, _latest, writes=False),
    Route("/registered-models/get-latest-versions", ("POST",), Named, _latest, writes=False),
    Route("/registered-models/alias", ("POST",), Named, _set_alias, writes=True),
    Route("/registered-models/alias", ("DELETE",), Named, _delete_alias, writes=True),
    Route("/registered-models/alias", ("GET",), Named, _by_alias, writes=False),
)
