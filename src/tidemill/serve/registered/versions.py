"""Versions of registered models that are made of files, and what is said of any version.

The files are those of a run or of a logged model at the moment of registering: the version names their digests, so
that it stays what it was whatever becomes of the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from tidemill.core.errors import Conflict
from tidemill.core.graphs.committing import Operation, committer_of, reading
from tidemill.core.graphs.schema import artifacts
from tidemill.core.graphs.tracked import ms
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import canonical_json, new_id, utc_now
from tidemill.core.types import Artifact, Batch, Edge, Run
from tidemill.core.workspace import Workspace
from tidemill.serve.registered import states
from tidemill.serve.registered.states import NO_STAGE, Version

FORMAT = "files"  # of a version that is no package


@dataclass(frozen=True, slots=True)
class Source:
    """What a version is made of. uri: as it was said. files: path, digest, bytes. made_of: the artifacts, by id, that
    it came from. run: the run that made it. model_id: of a logged model."""

    uri: str
    files: Sequence[tuple[str, str, int]] = ()
    made_of: Sequence[str] = ()
    run: str = ""
    run_link: str = ""
    model_id: str = ""
    made: Sequence[tuple[str, Artifact]] = field(default=())  # artifacts to be written with it, which it came from too


def add(
    ws: Workspace, name: str, source: Source, *, description: str = "", tags: Mapping[str, str] | None = None
) -> Version:
    """Register the model's next version. Raises NotFound for an unknown model."""
    manifest = canonical_json([list(each) for each in source.files])
    digest = ws.store.put(manifest)

    def operation(now: Transaction) -> Version:
        now.flush()
        model, _, _ = states.of_name(now.link, name)
        who, at = ws.settings.who, utc_now()
        run = Run(
            id=new_id(), kind="serve.register", name=model.key, status="done", started_at=at, ended_at=at,
            params={"source": source.uri}, actor=who, parent=None,
        )  # fmt: skip
        meta = {
            "format": FORMAT,
            "source": source.uri,
            "run": source.run,
            "run_link": source.run_link,
            "model_id": source.model_id,
            "files": [list(each) for each in source.files],
            "registration": run.id,  # the same files again are another version
        }
        artifact = Artifact(new_id(), "model", model.key, 0, digest, at, run.id, meta)
        read = [*source.made_of, *(each.id for _, each in source.made)]
        edges = [Edge(run.id, each, "in", "model") for each in read]
        written = now.write(Batch([run], [*source.made, ("model", artifact)], edges))
        made = Version(written[-1], model.name, ms(at), description, dict(tags or {}))
        _say(ws, now, made)
        return made

    return committer_of(ws).call(operation)


def get(ws: Workspace, name: str, number: int) -> Version:
    """A version by its number. Raises NotFound."""
    with reading(ws) as link:
        return states.version_of(link, name, number)


def describe(ws: Workspace, name: str, number: int, description: str) -> Version:
    """Say what it is."""
    return committer_of(ws).call(
        _changing(ws, name, number, lambda _, version: replace(version, description=description))
    )


def set_tag(ws: Workspace, name: str, number: int, key: str, value: str) -> Version:
    """Set a tag."""
    return committer_of(ws).call(
        _changing(ws, name, number, lambda _, found: replace(found, tags={**found.tags, key: value}), touch=False)
    )


def delete_tag(ws: Workspace, name: str, number: int, key: str) -> Version:
    """Take a tag away; nothing where it has none of that name."""

    def change(_: Transaction, version: Version) -> Version:
        return replace(version, tags={each: value for each, value in version.tags.items() if each != key})

    return committer_of(ws).call(_changing(ws, name, number, change, touch=False))


def set_stage(ws: Workspace, name: str, number: int, stage: str, *, others: str | None = None) -> Version:
    """Put it into a stage. others: where versions that are in that stage now are put, at the same moment."""

    def change(now: Transaction, version: Version) -> Version:
        if others is not None and stage != NO_STAGE:
            _, versions, _ = states.of_name(now.link, name)
            for each in versions:
                if each.stage == stage and each.number != number:
                    _say(ws, now, replace(each, stage=others, updated_ms=ms(utc_now())))
        return replace(version, stage=stage)

    return committer_of(ws).call(_changing(ws, name, number, change))


def delete(ws: Workspace, name: str, number: int) -> None:
    """Take a version, and the aliases that point at it, out of the registry; what came of it stays traceable.

    Raises Conflict where a deployment answers with it.
    """

    def change(now: Transaction, version: Version) -> Version:
        require_unused(now.link, version)
        _, _, aliases = states.of_name(now.link, name)
        for alias, at in aliases.items():
            if at == number:
                states.require_movable(now.link, version.artifact.name, alias)
                body = {
                    "version": None,
                    "model": None,
                    "why": f"version {number} was deleted",
                    "at": ws.now.isoformat(),
                }
                now.say(f"model/{version.artifact.name}@{alias}", states.ALIAS, body, ws.settings.who)
        return replace(version, deleted=True)

    committer_of(ws).call(_changing(ws, name, number, change))


def require_unused(link: sa.Connection, version: Version) -> None:
    """Raise Conflict where a deployment answers with the version."""
    asked = sa.select(artifacts.c.name, artifacts.c.version, artifacts.c.body).where(artifacts.c.kind == "deployment")
    for name, revision, body in link.execute(asked.order_by(artifacts.c.version.desc())):
        if json.loads(body)["meta"].get("model") == version.artifact.id:
            raise Conflict(
                f"{version.name}@{version.number} is deployed as {name} (revision {revision}); it stays, for what it "
                "answered leads to it"
            )


def _changing(
    ws: Workspace, name: str, number: int, change: Callable[[Transaction, Version], Version], *, touch: bool = True
) -> Operation[Version]:
    def operation(now: Transaction) -> Version:
        now.flush()
        version = states.version_of(now.link, name, number)
        made = change(now, version)
        if touch:
            made = replace(made, updated_ms=max(ms(utc_now()), version.updated_ms))
        if made != version:
            _say(ws, now, made)
        return made

    return operation


def _say(ws: Workspace, now: Transaction, version: Version) -> None:
    subject = f"model/{version.artifact.name}@{version.number}"
    now.say(subject, states.VERSION, states.body_of_version(version), ws.settings.who)
