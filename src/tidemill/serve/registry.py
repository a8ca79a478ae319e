"""The registry: models by name and version, and aliases ("champion") whose whole history can be asked.

An alias is an event log of subject "model/<name>@<alias>"; "which version was it at 14:03" has one answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.ids import iso
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, Event, ModelVersion, Query, View
from tidemill.core.workspace import Workspace
from tidemill.serve import packages

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ALL = 100_000
CHAMPION = "champion"  # the alias of the version that answers


def require_name(name: str, what: str) -> None:
    """Raise BadInput unless the name can be part of a path and an address."""
    if not NAME.fullmatch(name):
        raise BadInput(
            f"{what} name {name!r} cannot be used; allowed: 1 to 64 letters, digits, '-', '_' and '.', "
            "starting with a letter or digit"
        )


def register(
    ws: Workspace,
    name: str,
    *,
    package: str,
    meta: Mapping[str, Any],
    inputs: Iterable[tuple[str, Artifact | View]] = (),
) -> ModelVersion:
    """Record a package as the model's next version; the same package and meta again is the same version.

    package: manifest digest from `packages.build`, verified here (Refused). meta: see ModelVersion. inputs: (slot,
    artifact) pairs that the model came from: datasets, recipe, profile, test rows.
    """
    require_name(name, "model")
    manifest = packages.read_manifest(ws, package)
    with recorded(ws, "serve.register", name, inputs=inputs, params={"package": package}) as run:
        made = run.emit(
            "model",
            name,
            digest=package,
            meta={
                "package": package,
                "format": manifest["model_format"],
                "estimator": manifest["estimator"],
                "schema": manifest["blobs"]["schema"],
                **meta,
            },
            slot="model",
        )
        run.result({key: float(value) for key, value in dict(meta.get("metrics", {})).items() if _is_number(value)})
    return ModelVersion(made)


def models(ws: Workspace, name: str | None = None) -> list[ModelVersion]:
    """All versions of all models (or of one), newest first."""
    return [
        ModelVersion(found)
        for found in ws.graph.find(Query("artifact", kind="model", name=name, limit=ALL))
        if isinstance(found, Artifact)
    ]


def get(ws: Workspace, name: str, version: int | str | None = None) -> ModelVersion:
    """A model by version number, by alias, or its newest version; NotFound names the nearest."""
    if isinstance(version, str):
        version = int(version) if version.isdigit() else alias_at(ws, name, version)
    for found in ws.graph.find(Query("artifact", kind="model", name=name, version=version, limit=1)):
        assert isinstance(found, Artifact)
        return ModelVersion(found)
    have = models(ws, name)
    if have:
        raise NotFound(f"model {name!r} has no version {version}; it has 1 to {have[0].version}")
    known = sorted({model.name for model in models(ws)})
    shown = f"known are {', '.join(known)}" if known else "none is registered yet"
    raise NotFound(f"no model {name!r}; {shown}.{nearest(name, known)} See `tidemill model list`.")


def alias(
    ws: Workspace,
    name: str,
    alias: str,
    version: int,
    *,
    why: str,
    expect: int | None = None,
    key: str | None = None,
) -> Event:
    """Point an alias at a version; an event that stays. Conflict where `expect` is not the seq of its last event."""
    require_name(alias, "alias")
    if alias.isdigit():
        raise BadInput(f"alias {alias!r} reads as a version number; choose a word such as 'champion'")
    model = get(ws, name, version)
    return ws.graph.record(
        f"model/{name}@{alias}",
        "alias",
        {"version": version, "model": model.id, "why": why, "at": iso(ws.now)},
        actor=ws.settings.who,
        expect=expect,
        key=key,
    )


def alias_at(ws: Workspace, name: str, alias: str, time: datetime | None = None) -> int:
    """The version that the alias pointed at at `time` (default: the workspace's time if it has a clock, else now).

    Times are the workspace's: simulated ones where a clock was set when the alias moved.
    """
    asked = time or ws.clock
    until = None if asked is None else iso(asked)
    events = ws.graph.events(f"model/{name}@{alias}", kind="alias")
    found = [event for event in events if until is None or str(event.body["at"]) <= until]
    if found:
        return int(found[-1].body["version"])
    if events:
        raise NotFound(
            f"alias {alias!r} of model {name!r} did not exist at {until}; it was made {events[0].body['at']}"
        )
    known = sorted({event.subject.partition("@")[2] for event in ws.graph.events("model/*", kind="alias")
                    if event.subject.startswith(f"model/{name}@")})  # fmt: skip
    shown = f"it has {', '.join(known)}" if known else "it has no aliases yet"
    raise NotFound(f"no alias {alias!r} of model {name!r}; {shown}.{nearest(alias, known)}")


def aliases(ws: Workspace, name: str) -> dict[str, int]:
    """Each alias of a model and the version that it points at."""
    events = ws.graph.events("model/*", kind="alias")
    mine = [event for event in events if event.subject.startswith(f"model/{name}@")]
    return {event.subject.partition("@")[2]: int(event.body["version"]) for event in mine}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
