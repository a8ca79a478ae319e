"""What a step gave, as it is recorded and passed on: a small description that says how to have the value again.

A small value stands in its record as JSON. Everything else is bytes in the store, under the digest of its content, in a
format (tidemill.flow.formats). A record of the workspace (a dataset version, a model version) is passed by its id. The
digest is what counts for the keys of the steps that get it, so equal outputs are equal whoever made them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any

from tidemill.core.errors import Corrupt
from tidemill.core.ids import digest, json_digest
from tidemill.core.store import Store
from tidemill.core.types import Artifact, View
from tidemill.core.workspace import Workspace
from tidemill.flow import formats

INLINE_BYTES = 4096
KIND = "flow.value"
_UNCHANGING = frozenset({bool, int, float, str, bytes, NoneType, complex, date, datetime, timedelta, Decimal})
RECORD = "record"  # the "format" of an artifact of the workspace


@dataclass(frozen=True, slots=True)
class Output:
    """A recorded value. inline: its JSON text, when small. artifact: the id under which it is recorded."""

    format: str
    digest: str
    size_bytes: int
    blob: str | None = None
    inline: str = ""
    artifact: str | None = None
    view: str | None = None  # of a record: the typed view it was given as

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; absent is the default."""
        made: dict[str, Any] = {"format": self.format, "digest": self.digest, "size_bytes": self.size_bytes}
        if self.inline:
            made["value"] = self.inline
        for name in ("blob", "artifact", "view"):
            if getattr(self, name) is not None:
                made[name] = getattr(self, name)
        return made

    @staticmethod
    def of_json(body: Mapping[str, Any]) -> Output:
        """From that JSON."""
        return Output(
            body["format"],
            body["digest"],
            int(body["size_bytes"]),
            body.get("blob"),
            str(body.get("value", "")),
            body.get("artifact"),
            body.get("view"),
        )


@dataclass(frozen=True, slots=True)
class Packed:
    """A value in its format, not yet in the store."""

    output: Output
    data: bytes | None  # to be stored; None where it stands inline, or is a record


def pack(value: Any) -> Packed | None:
    """The value in its format; None where no format takes it."""
    if isinstance(value, View | Artifact):
        artifact = value if isinstance(value, Artifact) else value.artifact
        view = None if isinstance(value, Artifact) else type(value).__name__
        content = json_digest([RECORD, artifact.kind, artifact.name, artifact.digest])
        return Packed(Output(RECORD, content, 0, artifact=artifact.id, view=view), None)
    found = formats.encode(value)
    if found is None:
        return None
    name, data = found
    if name == "json" and len(data) <= INLINE_BYTES:
        return Packed(Output(name, digest(b"json\0" + data), len(data), inline=data.decode()), None)
    blob = digest(data)  # and the content's digest of it: not the data twice
    return Packed(Output(name, digest(f"{name}\0{blob}".encode()), len(data), blob), data)


def stored(packed: Packed, store: Store) -> Output:
    """The output, its bytes in the store."""
    if packed.data is not None:
        store.put(packed.data)
    return packed.output


def load(output: Output, ws: Workspace | Callable[[], Workspace], data: bytes | None = None) -> Any:
    """The value again, from `data` where the store has not got it yet. Raises NotFound, Corrupt.

    ws: or what opens it, called where it is needed.
    """
    if data is not None:
        return formats.decode(output.format, data)
    if output.inline:
        return formats.decode("json", output.inline.encode())
    ws = ws if isinstance(ws, Workspace) else ws()
    if output.format == RECORD:
        assert output.artifact is not None
        return _record(ws, output)
    if output.blob is None:
        raise Corrupt(f"a value {output.digest[:12]} has neither bytes nor a record; run the step again: cache=False")
    return formats.decode(output.format, ws.store.get(output.blob))


def is_there(output: Output, ws: Workspace) -> bool:
    """Whether the value can be had still: nothing of it was swept or erased."""
    if output.format == RECORD:
        return True
    if output.inline:
        return digest(b"json\0" + output.inline.encode()) == output.digest
    if output.blob is None or digest(f"{output.format}\0{output.blob}".encode()) != output.digest:
        return False
    return ws.store.has(output.blob)


def part(value: Any, path: tuple[Any, ...]) -> Any:
    """The part of a value at that path of indexes."""
    for place in path:
        value = value[place]
    return value


def own(value: Any) -> Any:
    """A copy that shares nothing with the value that could be changed; the value where there is no making one."""
    if unchanging(value):
        return value
    if is_table(value):
        return value.clone()
    try:
        return deepcopy(value)
    except Exception:  # locks, connections, what a user's __deepcopy__ raises
        return value


def unchanging(value: Any) -> bool:
    """Whether nobody can change the value."""
    return type(value) in _UNCHANGING or isinstance(value, Artifact | View)


def is_table(value: Any) -> bool:
    """Whether it is a table or column of Polars, whose clones share their bytes until one of them is changed."""
    kind = type(value)
    return kind.__module__.startswith("polars.") and kind.__name__ in ("DataFrame", "Series", "LazyFrame")


def artifact_meta(output: Output) -> dict[str, Any]:
    """What the artifact of a value says of it."""
    made = output.to_json()
    made.pop("digest")
    made.pop("artifact", None)
    return made


def _record(ws: Workspace, output: Output) -> Any:
    from tidemill.core import types

    found = ws.graph.get(str(output.artifact))
    view: type[View] | None = getattr(types, output.view or "", None)
    assert isinstance(found, Artifact)
    return found if view is None else view(found)
