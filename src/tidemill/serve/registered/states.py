"""What of the registry can change: a model's name, description and tags, and those of its versions.

The versions are artifacts "model". A model has a key that stays, the name of its artifacts; what it is called is said
by the last event "registered" of "registered/<key>", and what is said of a version by the last event "version" of
"model/<key>@<number>". A model of which nothing was said is called by its key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa

from tidemill.core.errors import Conflict, NotFound, Refused, nearest
from tidemill.core.graphs import records
from tidemill.core.graphs.committing import reading
from tidemill.core.graphs.schema import artifacts, events
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.graphs.tracked import ms
from tidemill.core.types import Artifact
from tidemill.core.workspace import Workspace

MODEL, VERSION, ALIAS, PROTECTED = "registered", "version", "alias", "protected"  # kinds of events
NO_STAGE = "None"  # the field's word for a version that is in no stage


@dataclass(frozen=True, slots=True)
class Registered:
    """A model by its name. key: the name of its artifacts. Times: ms since 1970."""

    key: str
    name: str
    created_ms: int
    updated_ms: int
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    stage: Literal["active", "deleted"] = "active"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a model, and what is said of it. name: the model's. stage: a word of the user's, as a tag is."""

    artifact: Artifact
    name: str
    updated_ms: int
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    stage: str = NO_STAGE
    deleted: bool = False

    @property
    def number(self) -> int:
        """1, 2, 3 ..."""
        return self.artifact.version

    @property
    def created_ms(self) -> int:
        """When it was registered."""
        return ms(self.artifact.created_at)

    @property
    def files(self) -> Sequence[tuple[str, str, int]]:
        """The files that it was registered with: path, digest, bytes; none for a package of Tidemill's own."""
        return [(path, digest, size) for path, digest, size in self.artifact.meta.get("files", ())]

    def said(self, name: str) -> str:
        """What was said of it when it was registered: "source", "run", "run_link", "model_id"; empty where nothing."""
        return str(self.artifact.meta.get(name) or "")


@dataclass(frozen=True, slots=True)
class Registry:
    """Models at one moment, each with its versions (oldest first) and aliases, by key. Deleted ones are not in it."""

    models: Mapping[str, Registered]
    versions: Mapping[str, Sequence[Version]]
    aliases: Mapping[str, Mapping[str, int]]


def snapshot(ws: Workspace) -> Registry:
    """All models."""
    with reading(ws) as link:
        return read(link)


def one(ws: Workspace, name: str) -> tuple[Registered, Sequence[Version], Mapping[str, int]]:
    """A model, its versions and aliases. Raises NotFound with the nearest."""
    with reading(ws) as link:
        return of_name(link, name)


def of_name(link: sa.Connection, name: str) -> tuple[Registered, Sequence[Version], Mapping[str, int]]:
    """The same on a connection."""
    key = key_of(link, name)
    found = read(link, key)
    return found.models[key], found.versions.get(key, ()), found.aliases.get(key, {})


def version_of(link: sa.Connection, name: str, number: int) -> Version:
    """A version by its number. Raises NotFound."""
    _, versions, _ = of_name(link, name)
    for found in versions:
        if found.number == number:
            return found
    have = f"it has {', '.join(str(each.number) for each in versions[-20:])}" if versions else "it has none"
    raise NotFound(f"model {name!r} has no version {number}; {have}")


def key_of(link: sa.Connection, name: str) -> str:
    """The key of the model that is called so. Raises NotFound with the nearest."""
    said = _last(link, MODEL, f"registered/{name}")
    if any(body["name"] == name and body["stage"] == "active" for body in said.values()):
        return name
    if not said and link.execute(_made().where(artifacts.c.name == name).limit(1)).first() is not None:
        return name
    found = read(link)
    for key, model in found.models.items():
        if model.name == name:
            return key
    known = sorted(model.name for model in found.models.values())
    shown = f"there are {', '.join(known[:20])}" if known else "none is registered yet"
    raise NotFound(f"no model {name!r}; {shown}.{nearest(name, known)}")


def resolved(ws: Workspace, name: str) -> str:
    """The key of the model that is called so; the name itself where there is none, or no database."""
    if not isinstance(ws.graph, SqlGraph):
        return name
    try:
        with reading(ws) as link:
            return key_of(link, name)
    except NotFound:
        return name


def key_to_register(ws: Workspace, name: str) -> str:
    """The key for a new version of the model that is called so, or of a new one. Raises Conflict for the name that a
    model had before it was renamed or deleted: the version would be out of sight."""
    if not isinstance(ws.graph, SqlGraph):
        return name
    with reading(ws) as link:
        try:
            return key_of(link, name)
        except NotFound:
            if taken(link, name):
                raise Conflict(
                    f"a model {name!r} was here before and was renamed or deleted; register under the name that it has "
                    "now, or under another one"
                ) from None
            return name


def require_movable(link: sa.Connection, key: str, alias: str) -> None:
    """Raise Refused for a protected alias, which may point elsewhere and not nowhere: its gates compare with where it
    points."""
    subject = f"model/{key}@{alias}"
    said = _last(link, PROTECTED, subject).get(subject)
    if said is not None and said["gates"]:
        raise Refused(
            f"alias {alias!r} of model {key!r} is protected and does not go away; promote another version to it, or "
            "end its protection with mill.models.protect(name, alias, [])"
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was taken out of the registry: keys of models, and (key, number) of versions."""

    models: frozenset[str] = frozenset()
    versions: frozenset[tuple[str, int]] = frozenset()

    def holds(self, artifact: Artifact) -> bool:
        """Whether this version is out."""
        return artifact.name in self.models or (artifact.name, artifact.version) in self.versions


def deleted(ws: Workspace) -> Deleted:
    """What is out of the registry; nothing where the graph is in no database."""
    if not isinstance(ws.graph, SqlGraph):
        return Deleted()
    with reading(ws) as link:
        models = frozenset(body["key"] for body in _last(link, MODEL).values() if body["stage"] == "deleted")
        named = [subject for subject, body in _last(link, VERSION).items() if body["deleted"]]
    parts = [subject.removeprefix("model/").rpartition("@") for subject in named]
    return Deleted(models, frozenset((key, int(number)) for key, _, number in parts))


def taken(link: sa.Connection, key: str) -> bool:
    """Whether the key was ever a model's."""
    said = _last(link, MODEL, f"registered/{key}")
    return bool(said) or link.execute(_made().where(artifacts.c.name == key).limit(1)).first() is not None


def read(link: sa.Connection, key: str | None = None) -> Registry:
    """The registry, or one model of it by its key."""
    if key is None:
        said = _last(link, MODEL)
        stated = _last(link, VERSION)
        moved = _last(link, ALIAS)
        made = _made()
    else:
        said = _last(link, MODEL, f"registered/{key}")
        stated = _last(link, VERSION, *_of(key))
        moved = _last(link, ALIAS, *_of(key))
        made = _made().where(artifacts.c.name == key)
    rows = [records.artifact_of(body) for body in link.execute(made.order_by(artifacts.c.id)).scalars()]
    models = _models(said.values(), rows)
    versions: dict[str, list[Version]] = {}
    for artifact in rows:
        model = models.get(artifact.name)
        found = _version(artifact, model, stated.get(f"model/{artifact.name}@{artifact.version}"))
        if model is not None and not found.deleted:
            versions.setdefault(artifact.name, []).append(found)
    return Registry(models, versions, _aliases(moved))


def body_of(model: Registered) -> dict[str, Any]:
    """A model's state as an event has it."""
    return {
        "key": model.key,
        "name": model.name,
        "created_ms": model.created_ms,
        "updated_ms": model.updated_ms,
        "description": model.description,
        "tags": dict(model.tags),
        "stage": model.stage,
    }


def body_of_version(version: Version) -> dict[str, Any]:
    """What is said of a version as an event has it."""
    return {
        "updated_ms": version.updated_ms,
        "description": version.description,
        "tags": dict(version.tags),
        "stage": version.stage,
        "deleted": version.deleted,
    }


def _models(said: Iterable[Mapping[str, Any]], made: Sequence[Artifact]) -> dict[str, Registered]:
    found = {body["key"]: Registered(**body) for body in said}
    for artifact in made:
        at, known = ms(artifact.created_at), found.get(artifact.name)
        if known is None:
            found[artifact.name] = Registered(artifact.name, artifact.name, at, at)
        elif known.updated_ms < at:
            found[artifact.name] = replace(known, updated_ms=at)
    return {key: model for key, model in found.items() if model.stage == "active"}


def _version(artifact: Artifact, model: Registered | None, body: Mapping[str, Any] | None) -> Version:
    name = artifact.name if model is None else model.name
    return Version(artifact, name, **body) if body else Version(artifact, name, ms(artifact.created_at))


def _aliases(moved: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for subject, body in moved.items():
        key, _, alias = subject.removeprefix("model/").rpartition("@")
        if body["version"] is not None:
            found.setdefault(key, {})[alias] = int(body["version"])
    return found


def _made() -> sa.Select[Any]:  # Any: a text
    return sa.select(artifacts.c.body).where(artifacts.c.kind == "model")


def _of(key: str) -> tuple[str, str]:
    return f"model/{key}@", f"model/{key}A"  # "A" follows "@"


def _last(link: sa.Connection, kind: str, first: str | None = None, end: str | None = None) -> dict[str, Any]:
    """The body of the last event of that kind of each subject: of all, of one, or of those from `first` up to `end`."""
    among = sa.select(sa.func.max(events.c.seq)).where(events.c.kind == kind)
    if first is not None:
        of = events.c.subject == first if end is None else (events.c.subject >= first) & (events.c.subject < end)
        among = among.where(of)
    statement = sa.select(events.c.subject, events.c.body).where(events.c.seq.in_(among.group_by(events.c.subject)))
    return {subject: json.loads(body) for subject, body in link.execute(statement)}
