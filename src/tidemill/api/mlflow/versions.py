"""Versions of registered models, over MLflow's protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import msgspec

from tidemill.api.mlflow import limits, wire
from tidemill.api.mlflow.errors import invalid
from tidemill.api.mlflow.registering import (
    IN_USE,
    IS_PROMPT,
    Named,
    Search,
    chosen,
    most_of,
    name_of,
    number_of,
    one,
    stage_of,
    storage,
    tag_of,
    tags_of,
    version_of,
    version_shown,
)
from tidemill.api.mlflow.routes import Route
from tidemill.core.workspace import Workspace
from tidemill.improve import publishing
from tidemill.serve.registered import states, versions
from tidemill.serve.registered.states import Registered, Version
from tidemill.track import logged_models
from tidemill.track.searching.evaluating import Has
from tidemill.track.searching.paging import cut
from tidemill.track.searching.vocabulary import VERSIONS, Field

IN_VERSIONS = "mlflow.modelVersions"  # a tag of a logged model: what it is registered as


class CreateVersion(msgspec.Struct):
    """model-versions/create."""

    name: str | None = None
    source: str | None = None
    run_id: str | None = None
    tags: list[wire.Pair] = []
    run_link: str | None = None
    description: str | None = None
    model_id: str | None = None


def _create_version(ws: Workspace, asked: CreateVersion) -> Callable[[], Any]:
    name = name_of(asked.name)
    limits.required(source=asked.source)
    tags, uri = tags_of(asked.tags), str(asked.source)
    if ".." in re.split(r"[/\\]", unquote(unquote(uri))):
        raise invalid(f"Invalid model version source: '{uri}'. It must not have '..' in it.")

    def call() -> Any:
        _, _, aliases = one(ws, name)
        made = publishing.publish(
            ws,
            name,
            uri,
            run=asked.run_id or "",
            model_id=asked.model_id or "",
            run_link=asked.run_link or "",
            description=asked.description or "",
            tags=tags,
            local=tags.get(IS_PROMPT, "").lower() == "true",
        )
        if model_id := made.said("model_id"):
            _mark(ws, model_id, made)
        return {"model_version": version_shown(made, aliases)}

    return call


def _mark(ws: Workspace, model_id: str, made: Version) -> None:
    """Say on the logged model what it is registered as."""
    model = logged_models.get(ws, model_id)
    before = json.loads(model.tags.get(IN_VERSIONS, "[]"))
    now = [*before, {"name": made.name, "version": str(made.number)}]
    logged_models.log(ws, model_id, tags={IN_VERSIONS: json.dumps(now)})


def _get_version(ws: Workspace, asked: Named) -> Any:
    version, aliases = version_of(ws, name_of(asked.name), number_of(asked.version))
    return {"model_version": version_shown(version, aliases)}


def _update_version(ws: Workspace, asked: Named) -> Callable[[], Any]:
    return _changed(ws, asked, lambda name, number: versions.describe(ws, name, number, asked.description or ""))


def _delete_version(ws: Workspace, asked: Named) -> Callable[[], Any]:
    name, number = name_of(asked.name), number_of(asked.version)

    def call() -> Any:
        version_of(ws, name, number)
        versions.delete(ws, name, number)
        return {}

    return call


def _set_version_tag(ws: Workspace, asked: Named) -> Callable[[], Any]:
    key, value = tag_of(wire.Pair(asked.key, asked.value))
    call = _changed(ws, asked, lambda name, number: versions.set_tag(ws, name, number, key, value))
    return lambda: call() and {}


def _delete_version_tag(ws: Workspace, asked: Named) -> Callable[[], Any]:
    limits.required(key=asked.key)
    call = _changed(ws, asked, lambda name, number: versions.delete_tag(ws, name, number, str(asked.key)))
    return lambda: call() and {}


def _transition(ws: Workspace, asked: Named) -> Callable[[], Any]:
    limits.required(stage=asked.stage)
    stage = stage_of(str(asked.stage))
    archive = asked.archive_existing_versions in (True, "true", "True", "1")
    if archive and stage not in IN_USE:
        raise invalid(
            f"Model version transition cannot archive existing model versions because '{stage}' is not an Active "
            f"stage. Valid stages are {', '.join(IN_USE)}"
        )
    others = "Archived" if archive else None
    return _changed(ws, asked, lambda name, number: versions.set_stage(ws, name, number, stage, others=others))


def _download_uri(ws: Workspace, asked: Named) -> Any:
    version, _ = version_of(ws, name_of(asked.name), number_of(asked.version))
    return {"artifact_uri": storage(version)}


def _search_versions(ws: Workspace, asked: Search) -> Any:
    most = most_of(asked.max_results, 10_000, 200_000)
    found = states.snapshot(ws)
    rows = [(found.models[key], each, found.aliases.get(key, {})) for key, of in found.versions.items() for each in of]
    rows.sort(key=lambda row: (-row[1].updated_ms, row[0].name, -row[1].number))
    kept = chosen(rows, asked, VERSIONS, lambda row, field: _of_version(row[0], row[1], field))
    page, token = cut(kept, most, asked.page_token, [asked.filter, asked.order_by])
    made: dict[str, Any] = (
        {"model_versions": [version_shown(each, aliases) for _, each, aliases in page]} if page else {}
    )
    return {**made, "next_page_token": token} if token else made


def _of_version(model: Registered, version: Version, field: Field) -> Has:
    if field.key == IS_PROMPT and field.entity == "tag":
        return model.tags.get(IS_PROMPT, version.tags.get(IS_PROMPT, "false"))
    if field.entity == "tag":
        return version.tags.get(field.key)
    has: dict[str, Has] = {
        "name": model.name,
        "version_number": version.number,
        "run_id": version.said("run"),
        "source_path": version.said("source"),
        "creation_timestamp": version.created_ms,
        "last_updated_timestamp": version.updated_ms,
    }
    return has[field.key]


def _changed(ws: Workspace, asked: Named, change: Callable[[str, int], Version]) -> Callable[[], Any]:
    name, number = name_of(asked.name), number_of(asked.version)

    def call() -> Any:
        _, aliases = version_of(ws, name, number)
        return {"model_version": version_shown(change(name, number), aliases)}

    return call


ROUTES = (
    Route("/model-versions/create", ("POST",), CreateVersion, _create_version, writes=True),
    Route("/model-versions/get", ("GET",), Named, _get_version, writes=False),
    Route("/model-versions/update", ("PATCH", "POST"), Named, _update_version, writes=True),
    Route("/model-versions/delete", ("DELETE",), Named, _delete_version, writes=True),
    Route("/model-versions/search", ("GET",), Search, _search_versions, writes=False),
    Route("/model-versions/set-tag", ("POST",), Named, _set_version_tag, writes=True),
    Route("/model-versions/delete-tag", ("DELETE",), Named, _delete_version_tag, writes=True),
    Route("/model-versions/transition-stage", ("POST",), Named, _transition, writes=True),
    Route("/model-versions/get-download-uri", ("GET",), Named, _download_uri, writes=False),
)
