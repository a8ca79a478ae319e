"""What models and versions have in common over MLflow's protocol: how they are shown, named, searched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from tidemill.api.mlflow import limits, wire
from tidemill.api.mlflow.errors import Told, invalid
from tidemill.core.errors import BadInput, NotFound
from tidemill.core.workspace import Workspace
from tidemill.improve import publishing
from tidemill.serve.registered import models, states
from tidemill.serve.registered.states import NO_STAGE, Registered, Version
from tidemill.track.searching.evaluating import Has, matches, ordered
from tidemill.track.searching.grammar import parse
from tidemill.track.searching.order import Order, parse_orders
from tidemill.track.searching.vocabulary import VERSIONS, Field, Vocabulary

T = TypeVar("T")
STAGES = {each.lower(): each for each in (NO_STAGE, "Staging", "Production", "Archived")}
IN_USE = ("Staging", "Production")
TAG_KEY, TAG_VALUE, ALIAS_LENGTH = 250, 100_000, 255
IS_PROMPT = "mlflow.prompt.is_prompt"
IN_VERSIONS = "mlflow.modelVersions"  # a tag of a logged model: what it is registered as
_ALIAS = re.compile(r"[\w\-]*")
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)


class Named(msgspec.Struct):
    """A model by its name, and what is asked or said of it."""

    name: str | None = None
    new_name: str | None = None
    description: str | None = None
    key: str | None = None
    value: str | None = None
    alias: str | None = None
    version: str | None = None
    stages: list[str] | None = None
    stage: str | None = None
    archive_existing_versions: bool | str | None = False


class Search(msgspec.Struct):
    """registered-models/search, model-versions/search."""

    filter: str | None = None
    max_results: int | None = None
    order_by: list[str] = []
    page_token: str | None = None


def model_shown(model: Registered, of: Sequence[Version], aliases: Mapping[str, int]) -> dict[str, Any]:
    """A model for JSON, with the newest version of each stage."""
    newest = {each.stage: each for each in of}
    made: dict[str, Any] = {
        "name": model.name,
        "creation_timestamp": model.created_ms,
        "last_updated_timestamp": model.updated_ms,
        "description": model.description,
        "latest_versions": [version_shown(each, aliases) for each in newest.values()],
        "tags": wire.pairs(model.tags),
        "aliases": [{"alias": alias, "version": str(number)} for alias, number in sorted(aliases.items())],
    }
    return {name: each for name, each in made.items() if each not in ("", [])}


def version_shown(version: Version, aliases: Mapping[str, int]) -> dict[str, Any]:
    """A version for JSON."""
    mine = sorted(alias for alias, number in aliases.items() if number == version.number)
    made: dict[str, Any] = {
        "name": version.name,
        "version": str(version.number),
        "creation_timestamp": version.created_ms,
        "last_updated_timestamp": version.updated_ms,
        "current_stage": version.stage,
        "description": version.description,
        "source": version.said("source") or f"tidemill:/{version.artifact.label}",
        "run_id": version.said("run"),
        "status": "READY",
        "tags": wire.pairs(version.tags),
        "run_link": version.said("run_link"),
        "aliases": mine,
        "model_id": version.said("model_id"),
    }
    return {name: each for name, each in made.items() if each not in ("", [])}


def storage(version: Version) -> str:
    """Where a client finds a version's files: what was registered, wherever it came from."""
    if version.files:
        return f"{publishing.SCHEME}:/registered/{version.artifact.name}/{version.number}/artifacts"
    return version.said("source") or f"tidemill:/{version.artifact.label}"


def chosen(rows: Iterable[T], asked: Search, among: Vocabulary, value_of: Callable[[T, Field], Has]) -> list[T]:
    """The rows that match, in the order that is asked for; prompts only where they are asked for."""
    expression = parse(asked.filter or "", among)
    orders: Sequence[Order] = parse_orders(asked.order_by, among)
    prompts = f"{IS_PROMPT}" in (asked.filter or "")
    kept = []
    for row in rows:
        if not prompts and value_of(row, _PROMPT) == "true":
            continue
        if matches(expression, lambda field, row=row: value_of(row, field)):  # type: ignore[misc]  # bound at once
            kept.append(row)
    return ordered(kept, orders, value_of)


def one(ws: Workspace, name: str) -> tuple[Registered, Sequence[Version], Mapping[str, int]]:
    try:
        return states.one(ws, name)
    except NotFound:
        raise Told("RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found") from None


def version_of(ws: Workspace, name: str, number: int) -> tuple[Version, Mapping[str, int]]:
    try:
        _, of, aliases = states.one(ws, name)
    except NotFound:
        of, aliases = (), {}
    for found in of:
        if found.number == number:
            return found, aliases
    raise Told("RESOURCE_DOES_NOT_EXIST", f"Model Version (name={name}, version={number}) not found")


def name_of(given: str | None) -> str:
    if given is None or not given.strip():
        raise invalid("Missing value for required parameter 'name'. See the API docs for more information.")
    if "/" in given or ":" in given:
        raise invalid(f"Invalid model name '{given}'. Names cannot contain '/' or ':'.")
    try:
        models.require_name(given)
    except BadInput as error:
        raise invalid(str(error)) from None
    return given


def number_of(given: str | None) -> int:
    limits.required(version=given)
    text = str(given)
    if not text.isascii() or not text.lstrip("-").isdigit() or len(text) > 18:
        raise invalid(f"Parameter 'version' must be an integer, got '{text[:50]}'.")
    return int(text)


def alias_of(given: str | None) -> str:
    if not given:
        raise invalid("Registered model alias name cannot be empty.")
    if not _ALIAS.fullmatch(given):
        raise invalid(
            f"Invalid alias name: '{given}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )
    if len(given) > ALIAS_LENGTH:
        raise invalid(
            f"Registered model alias name '{given[:50]}' had length {len(given)}, at most {ALIAS_LENGTH} allowed"
        )
    return given


def stage_of(given: str) -> str:
    if given.lower() not in STAGES:
        raise invalid(f"Invalid Model Version stage: {given}. Value must be one of {', '.join(STAGES.values())}.")
    return STAGES[given.lower()]


def tags_of(given: Sequence[wire.Pair]) -> dict[str, str]:
    return dict(tag_of(each) for each in given)


def tag_of(given: wire.Pair) -> tuple[str, str]:
    limits.required(key=given.key)
    key, value = str(given.key), given.value or ""
    for what, text, most in (("key", key, TAG_KEY), ("value", value, TAG_VALUE)):
        if len(text) > most:
            raise invalid(
                f"'{what}' exceeds the maximum length of {most} characters; got {len(text)}: '{text[:50]}...'"
            )
    return key, value


def most_of(given: int | None, default: int, largest: int) -> int:
    most = default if given is None else given
    if not 1 <= most <= largest:
        raise invalid(
            f"Invalid value for max_results. It must be a positive number at most {largest}, but got value {most}"
        )
    return most


def then(ws: Workspace, name: str, change: Callable[[], object]) -> Callable[[], Any]:
    """A change of a model that is there; its answer is empty."""

    def call() -> Any:
        one(ws, name)
        change()
        return {}

    return call


_PROMPT = VERSIONS.field("tags", IS_PROMPT)
