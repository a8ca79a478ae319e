"""Registered models: made, described, tagged, renamed, deleted. Each change is an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.core.graphs.committing import Operation, committer_of
from tidemill.core.graphs.tracked import ms
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import digest, utc_now
from tidemill.core.workspace import Workspace
from tidemill.serve.registered import states
from tidemill.serve.registered.states import Registered
from tidemill.serve.registered.versions import require_unused
from tidemill.serve.registry import NAME

NAME_LENGTH = 256


def create(ws: Workspace, name: str, *, description: str = "", tags: Mapping[str, str] | None = None) -> Registered:
    """A new model, without versions. Raises BadInput for a name that cannot be one, Conflict where it is taken."""
    require_name(name)

    def operation(now: Transaction) -> Registered:
        now.flush()
        if _there(now, name):
            raise Conflict(f"a model {name!r} is registered already; register another version of it")
        at = ms(utc_now())
        made = Registered(_free_key(now, name), name, at, at, description, dict(tags or {}))
        _say(ws, now, made)
        return made

    return committer_of(ws).call(operation)


def get(ws: Workspace, name: str) -> Registered:
    """The model that is called so. Raises NotFound with the nearest."""
    return states.one(ws, name)[0]


def describe(ws: Workspace, name: str, description: str) -> Registered:
    """Say what it is."""
    return committer_of(ws).call(changing(ws, name, lambda _, model: replace(model, description=description)))


def set_tag(ws: Workspace, name: str, key: str, value: str) -> Registered:
    """Set a tag."""
    return committer_of(ws).call(
        changing(ws, name, lambda _, model: replace(model, tags={**model.tags, key: value}), touch=False)
    )


def delete_tag(ws: Workspace, name: str, key: str) -> Registered:
    """Take a tag away; nothing where it has none of that name."""

    def change(_: Transaction, model: Registered) -> Registered:
        return replace(model, tags={each: value for each, value in model.tags.items() if each != key})

    return committer_of(ws).call(changing(ws, name, change, touch=False))


def rename(ws: Workspace, name: str, new_name: str) -> Registered:
    """Call it otherwise; its versions, aliases and history stay. Raises Conflict where the name is taken."""
    require_name(new_name)

    def change(now: Transaction, model: Registered) -> Registered:
        if new_name != name and _there(now, new_name):
            raise Conflict(f"a model {new_name!r} is registered already; choose another name")
        return replace(model, name=new_name)

    return committer_of(ws).call(changing(ws, name, change))


def delete(ws: Workspace, name: str) -> None:
    """Take a model and its versions out of the registry; what came of them stays traceable.

    Raises Conflict where a deployment answers with one of them.
    """

    def change(now: Transaction, model: Registered) -> Registered:
        found = states.read(now.link, model.key)
        for version in found.versions.get(model.key, ()):
            require_unused(now.link, version)
        for alias in found.aliases.get(model.key, {}):
            states.require_movable(now.link, model.key, alias)
        return replace(model, stage="deleted")

    committer_of(ws).call(changing(ws, name, change))


def changing(
    ws: Workspace, name: str, change: Callable[[Transaction, Registered], Registered], *, touch: bool = True
) -> Operation[Registered]:
    """Change a model in a transaction. touch: whether this is an update of it by its time, which a tag is not."""

    def operation(now: Transaction) -> Registered:
        now.flush()
        model, _, _ = states.of_name(now.link, name)
        made = change(now, model)
        if touch:
            made = replace(made, updated_ms=max(ms(utc_now()), model.updated_ms))
        if made != model:
            _say(ws, now, made)
        return made

    return operation


def require_name(name: str) -> None:
    """Raise BadInput unless a model can be called so."""
    if not name.strip() or len(name) > NAME_LENGTH or any(letter in name for letter in "/:\x00") or name in (".", ".."):
        raise BadInput(
            f"model name {name[:60]!r} cannot be used; give 1 to {NAME_LENGTH} characters, not all blank, without "
            "'/' and ':'"
        )


def _there(now: Transaction, name: str) -> bool:
    try:
        states.key_of(now.link, name)
    except NotFound:
        return False
    return True


def _free_key(now: Transaction, name: str) -> str:
    """A key that no model has or had: the name, where artifacts may be called so."""
    base = name if NAME.fullmatch(name) else f"model-{digest(name.encode())[:16]}"
    key, number = base, 1
    while states.taken(now.link, key):
        number += 1
        key = f"{base[:56]}-{number}"
    return key


def _say(ws: Workspace, now: Transaction, model: Registered) -> None:
    now.say(f"registered/{model.key}", states.MODEL, states.body_of(model), ws.settings.who)
