"""The registry: models by name and version, and aliases ("champion") whose whole history can be asked.

An alias is an event log of subject "model/<name>@<alias>"; "which version was it at 14:03" has one answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.graphs.committing import reading
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.ids import iso
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, Event, ModelVersion, Query, View
from tidemill.core.workspace import Workspace
from tidemill.serve import packages
from tidemill.serve.registered.states import deleted, key_to_register, require_movable, resolved

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
    key = key_to_register(ws, name)
    with recorded(ws, "serve.register", key, inputs=inputs, params={"package": package}) as run:
        made = run.emit(
            "model",
            key,
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
    """All versions of all models (or of one), newest first; those that were deleted are not among them."""
    key = None if name is None else resolved(ws, name)
    gone = deleted(ws)
    return [
        ModelVersion(found)
        for found in ws.graph.find(Query("artifact", kind="model", name=key, limit=ALL))
        if isinstance(found, Artifact) and not gone.holds(found)
    ]


def get(ws: Workspace, name: str, version: int | str | None = None) -> ModelVersion:
    """A model by version number, by alias, or its newest version; NotFound names the nearest."""
    if isinstance(version, str):
        version = int(version) if version.isdigit() else alias_at(ws, name, version)
    gone = deleted(ws)
    for found in ws.graph.find(Query("artifact", kind="model", name=resolved(ws, name), version=version, limit=ALL)):
        assert isinstance(found, Artifact)
        if not gone.holds(found):
            return ModelVersion(found)
    have = sorted(each.version for each in models(ws, name))
    if have:
        raise NotFound(f"model {name!r} has no version {version}; it has {_ranges(have)}")
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
    evidence: Sequence[Mapping[str, Any]] = (),
) -> Event:
    """Point an alias at a version; an event that stays. Conflict where `expect` is not the seq of its last event.

    evidence: what speaks for it, as JSON.
    """
    require_name(alias, "alias")
    if alias.isdigit():
        raise BadInput(f"alias {alias!r} reads as a version number; choose a word such as 'champion'")
    model = get(ws, name, version)
    body = {"version": version, "model": model.id, "why": why, "at": iso(ws.now)}
    return ws.graph.record(
        f"model/{model.name}@{alias}",
        "alias",
        body | ({"evidence": [dict(each) for each in evidence]} if evidence else {}),
        actor=ws.settings.who,
        expect=expect,
        key=key,
    )


def unalias(ws: Workspace, name: str, alias: str, *, why: str) -> Event | None:
    """Let an alias point nowhere; an event that stays. None where it points nowhere already. Raises Refused for a
    protected one."""
    key = resolved(ws, name)
    if alias not in aliases(ws, name):
        return None
    if isinstance(ws.graph, SqlGraph):
        with reading(ws) as link:
            require_movable(link, key, alias)
    body = {"version": None, "model": None, "why": why, "at": iso(ws.now)}
    return ws.graph.record(f"model/{key}@{alias}", "alias", body, actor=ws.settings.who)


def moves(ws: Workspace, name: str, alias: str) -> list[Event]:
    """All moves of an alias, oldest first."""
    return ws.graph.events(f"model/{resolved(ws, name)}@{alias}", kind="alias")


def alias_at(ws: Workspace, name: str, alias: str, time: datetime | None = None) -> int:
    """The version that the alias pointed at at `time` (default: the workspace's time if it has a clock, else now).

    Times are the workspace's: simulated ones where a clock was set when the alias moved.
    """
    asked = time or ws.clock
    until = None if asked is None else iso(asked)
    events = moves(ws, name, alias)
    found = [event for event in events if until is None or str(event.body["at"]) <= until]
    if found and found[-1].body["version"] is not None:
        return int(found[-1].body["version"])
    if found:
        raise NotFound(f"alias {alias!r} of model {name!r} pointed nowhere then: {found[-1].body['why']}")
    if events:
        raise NotFound(
            f"alias {alias!r} of model {name!r} did not exist at {until}; it was made {events[0].body['at']}"
        )
    known = sorted(aliases(ws, name))
    shown = f"it has {', '.join(known)}" if known else "it has no aliases yet"
    raise NotFound(f"no alias {alias!r} of model {name!r}; {shown}.{nearest(alias, known)}")


def aliases(ws: Workspace, name: str) -> dict[str, int]:
    """Each alias of a model and the version that it points at."""
    start = f"model/{resolved(ws, name)}@"
    events = ws.graph.events("model/*", kind="alias")
    last = {event.subject.removeprefix(start): event.body for event in events if event.subject.startswith(start)}
    return {name: int(body["version"]) for name, body in last.items() if body["version"] is not None}


def _ranges(numbers: Sequence[int]) -> str:
    """Whole numbers in order, as people write them: "1 to 3, 5"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
