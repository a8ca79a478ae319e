"""The key of a node: its step's code and what that reaches, and the digests of what it is given."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from tidemill.core.ids import canonical_json, digest, json_digest
from tidemill.core.store import Store
from tidemill.core.types import Artifact, View
from tidemill.core.workspace import Workspace
from tidemill.flow import values
from tidemill.flow.caching.keys import step_key
from tidemill.flow.executing.nodes import Node, clean
from tidemill.flow.refs import Ref, node_of, path_of
from tidemill.flow.tasks import Secret

SHOWN = 200  # letters of an argument in a record
GIVEN = ("input ", "parameter ")  # the parts of a key that differ from call to call

# By the store itself, not its id(): a store that is gone leaves its id to the next one.
_stored: WeakKeyDictionary[Store, set[str]] = WeakKeyDictionary()
_lock = threading.Lock()


class _NoForm(Exception):
    """An argument that has no stored form."""


PartDigest = Callable[[Node, tuple[Any, ...]], "str | None"]


def key(node: Node, part_digest: PartDigest) -> None:
    """Give the node its key, or the reason why it has none; and what it is known by again in its own execution.

    part_digest: of a part of another node's value. An element of a list is keyed by itself: a list that grew by one is
    one element more to compute.
    """
    options = node.step.options
    inputs: dict[str, str] = {}
    params: dict[str, Any] = {}
    reason = ""
    for name, given in node.arguments.items():
        try:
            shape, plain = _shape(given, part_digest)
        except _NoForm as error:
            reason = reason or f"cannot be keyed: argument {name} {error}"
            continue
        if plain:
            params[name] = shape
        else:
            inputs[name] = json_digest(shape)
    node.again = json_digest([node.id, sorted(inputs.items()), params])
    node.env = {name: os.environ.get(name) for name in options.env}
    if not options.cache:
        node.why = "it says cache=False"
        return
    if reason:
        node.why = reason
        return
    found = step_key(node.step.function, inputs=inputs, params=params, env=options.env, extras=options.extras)
    node.key, node.parts, node.text, node.code = found.key, found.parts, found.text, found.code
    if found.key is None:
        node.why = f"cannot be keyed: {found.reason}"


def recorded(ws: Workspace, node: Node) -> dict[str, Any]:
    """What the record of its run says of the key: the parts that the step brings as a blob, the given ones as texts."""
    said: dict[str, Any] = {"arguments": {name: _text(given) for name, given in node.arguments.items()}}
    if node.parts:
        said["given"] = {name: part for name, part in node.parts.items() if name.startswith(GIVEN)}
        steps = {name: part for name, part in node.parts.items() if not name.startswith(GIVEN)}
        said["parts"] = _kept(ws.store, canonical_json(steps))
    return said


def code(ws: Workspace, node: Node) -> str | None:
    """The digest of the code's text in the store."""
    return _kept(ws.store, node.text.encode()) if node.text else None


def _kept(store: Store, data: bytes) -> str:
    """Store once in a process: a map of thousands has one code."""
    name = digest(data)
    with _lock:
        if name in _stored.setdefault(store, set()):
            return name
    store.put(data)
    with _lock:
        _stored[store].add(name)
    return name


def _shape(given: Any, part_digest: PartDigest) -> tuple[Any, bool]:
    """The argument as JSON with digests where data are, and whether it is plain values alone."""
    if isinstance(given, Ref):
        node = node_of(given)
        if node.output is None:
            raise _NoForm(f"is the result of {node.id}, which has no stored form")
        path = path_of(given)
        part = part_digest(node, path) if path else node.output.digest
        return (["ref", node.output.digest, *path] if part is None else ["ref", part]), False
    if type(given) in (list, tuple):
        found = [_shape(each, part_digest) for each in given]
        return [type(given).__name__, *(shape for shape, _ in found)], all(plain for _, plain in found)
    if type(given) is dict:  # in its own order, which a step may go by
        shapes = [(_shape(name, part_digest), _shape(each, part_digest)) for name, each in given.items()]
        shape = [[name, each] for (name, _), (each, _) in shapes]
        return ["dict", *shape], all(name and each for (_, name), (_, each) in shapes)
    if given is None or type(given) in (bool, int, str) or (type(given) is float and math.isfinite(given)):
        return given, True
    if type(given) is Secret:
        return ["secret", given.name], True
    packed = values.pack(given)
    if packed is None:
        raise _NoForm(f"is {type(given).__name__}, which no format takes")
    return ["value", packed.output.digest], type(given) is float


def _text(given: Any) -> str:
    """An argument for people; one that nobody can show by its type."""
    try:
        return clean(_shown(given))
    except Exception:  # the user's __repr__
        return f"<{type(given).__name__}>"


def _shown(given: Any) -> str:
    if isinstance(given, Ref):
        return f"{node_of(given).id}{''.join(f'[{place!r}]' for place in path_of(given))}"
    if isinstance(given, Artifact):
        return given.label
    if isinstance(given, View):
        return given.artifact.label
    if type(given) is Secret:
        return f"secret {given.name}"
    if isinstance(given, list | tuple | Mapping) and len(given) > 20:
        return f"{type(given).__name__} of {len(given)}"
    text = repr(given[: SHOWN + 1] if isinstance(given, str | bytes) else given)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
