"""Features for serving: one entity's vector, the same one that the join in time gives for the same moment.

`materializing` brings what a view's datasets hold into an online store (a SQLite file of the workspace by default);
`lookup` answers from there, without reading a dataset and without loading a DataFrame library. A store keeps, of each
key, every row that is found at some moment; with `history` only those that are found in the last so much time.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.ids import iso
from tidemill.core.types import Artifact, Query
from tidemill.core.workspace import Workspace
from tidemill.data.feature_store.online_stores import Keys, OnlineStore, open_store
from tidemill.data.feature_store.vectors import Reader, State, Vector, microseconds, moment
from tidemill.data.feature_store.views import View

FOLDER, SUFFIX = "online", ".db"
KEPT_OPEN = 16  # stores a thread
KIND = "online"


@dataclass(frozen=True, slots=True)
class Materialized:
    """What a materialization did: how many entries it wrote, whether it built the store anew, and its artifact.

    until: rows known later are not there; None when all are (a row shows from when it is known on).
    """

    view: str
    written: int
    anew: bool
    until: datetime | None
    artifact: Artifact


class Online:
    """A view's online store, open for look-ups by one thread."""

    def __init__(self, ws: Workspace, view: str, store: str | None = None) -> None:
        self.ws = ws
        self.view = view
        self._store = open_store(address(ws, view, store), view)
        self._raw: bytes | None = None
        self._state: State | None = None
        self._readers: list[Reader] = []

    def lookup(self, entities: Sequence[Mapping[str, Any]], *, at: datetime | None = None) -> list[Vector]:
        """See `lookup`."""
        state = self.state()
        ticks = microseconds(self.ws.now if at is None else at)
        if state.horizon is not None and ticks < state.horizon:
            raise BadInput(
                f"online view {self.view!r} answers for times from {iso(moment(state.horizon))} on, not for "
                f"{iso(moment(ticks))}; materialize it with a longer history="
            )
        keys: dict[object, Keys] = {}  # sources of the same entity have the same keys
        for reader in self._readers:
            if reader.by not in keys:
                keys[reader.by] = [reader.key(entity) for entity in entities]
        found = self._store.latest([(n, keys[reader.by]) for n, reader in enumerate(self._readers)], ticks)
        made: list[Vector] = [{} for _ in entities]
        for reader, entries in zip(self._readers, found, strict=True):
            reader.fill(made, entries, ticks)
        return made

    def state(self) -> State:
        """What the store holds. Raises NotFound before the first materialization."""
        raw = self._store.state()
        if raw is None:
            raise NotFound(
                f"feature view {self.view!r} is not in its online store yet; materialize it first: "
                f"tidemill features materialize {self.view}"
            )
        if self._state is None or raw != self._raw:
            self._raw, self._state = raw, State.of(raw)
            self._readers = [
                Reader(source, held) for source, held in zip(self._state.view.sources, self._state.held, strict=True)
            ]
        return self._state

    def close(self) -> None:
        """Let go of connections."""
        self._store.close()


def lookup(
    ws: Workspace,
    view: View | str,
    entities: Sequence[Mapping[str, Any]],
    *,
    at: datetime | None = None,
    store: str | None = None,
) -> list[Vector]:
    """For each entity the features of the view at a moment (default: now): what `features.offline` gives there.

    entities: mappings with the view's entity columns; others are ignored. Null where nothing was known, or where it is
    older than a source allows. Raises NotFound before the first materialization, UnknownColumn or WrongType for an
    entity that names no key, BadInput for a moment before the kept history or a view that was defined anew since.
    """
    name = view if isinstance(view, str) else view.name
    online = _opened(ws, name, store)
    if isinstance(view, View) and online.state().view != view:
        raise BadInput(f"feature view {name!r} was materialized with another definition; materialize it again")
    return online.lookup(entities, at=at)


def forget(
    ws: Workspace,
    entity_values: Mapping[str, Sequence[Any]],
    *,
    rows: Mapping[str, Sequence[Any]] | None = None,
    store: str | None = None,
) -> int:
    """Erase from all online stores the entries of these entities and rows, so that no page holds them; how many.

    entity_values: values by column, as a view (by=) or a dataset (on=) calls it. rows: row ids by dataset; what those
    rows had superseded is back after the next `materialize`, which builds anew.
    """
    gone = 0
    for name in stored(ws, store):
        held = open_store(address(ws, name, store), name)
        try:
            gone += _forget(held, entity_values, rows or {})
        finally:
            held.close()
    return gone


def stored(ws: Workspace, store: str | None = None) -> list[str]:
    """The names of the views that have an online store."""
    if "://" not in _place(ws, store):
        return sorted(unquote(path.name.removesuffix(SUFFIX)) for path in _files(ws))
    return sorted({each.name for each in ws.graph.find(Query("artifact", kind=KIND, limit=10_000))})


def address(ws: Workspace, view: str, store: str | None = None) -> str | Path:
    """Where a view's online store is: a file of its own, or a server."""
    place = _place(ws, store)
    return place if "://" in place else Path(place) / f"{quote(view, safe='')}{SUFFIX}"


def _place(ws: Workspace, store: str | None) -> str:
    return store or str(ws.settings.online or ws.root / FOLDER)


def _files(ws: Workspace) -> Iterator[Path]:
    yield from Path(_place(ws, None)).glob(f"*{SUFFIX}")


def close() -> None:
    """Let go of the connections that this thread's look-ups keep open; the next one opens what it needs."""
    known = _known()
    while known:
        known.popitem()[1].close()


_local = threading.local()
_all: weakref.WeakSet[Online] = weakref.WeakSet()


def _known() -> dict[tuple[object, ...], Online]:
    known: dict[tuple[object, ...], Online] = _local.__dict__.setdefault("known", {})
    return known


def _opened(ws: Workspace, name: str, store: str | None) -> Online:
    """This thread's open store: opening a file costs more than a look-up."""
    place = address(ws, name, store)
    which: tuple[object, ...] = (os.getpid(), name, str(place))
    if isinstance(place, Path):  # one that is another file by now is opened anew, one that is not there isn't made
        try:
            which = (*which, place.stat().st_ino)
        except FileNotFoundError:
            raise NotFound(
                f"feature view {name!r} is not in its online store yet; materialize it first: "
                f"tidemill features materialize {name}"
            ) from None
    known = _known()
    if which not in known:
        while len(known) >= KEPT_OPEN:
            known.pop(next(iter(known))).close()
        known[which] = Online(ws, name, store)
        _all.add(known[which])
    online = known[which]
    online.ws = ws
    return online


@atexit.register
def _close_all() -> None:
    for online in list(_all):
        with suppress(Exception):  # of threads that have ended, some are closed already
            online.close()


def _forget(held: OnlineStore, entity_values: Mapping[str, Sequence[Any]], rows: Mapping[str, Sequence[Any]]) -> int:
    raw = held.state()
    if raw is None:
        return 0
    state = State.of(raw)
    gone, by_row = 0, 0
    for number, source in enumerate(state.view.sources):
        places = {
            place: {str(value) for name in (by, on) for value in entity_values.get(name, ())}
            for place, (by, on) in enumerate(zip(source.by, source.keys, strict=True))
        }
        doomed = [
            key
            for key in held.keys(number)
            if any(str(value) in places[place] for place, value in enumerate(json.loads(key)))
        ]
        gone += held.drop(number, keys=doomed) if doomed else 0
        ids = [json.dumps(value) for value in rows.get(source.dataset, ())]
        by_row += held.drop(number, rows=ids) if ids else 0
    if by_row:
        held.write(state.marked_stale().encoded(), [])
    if gone + by_row:
        held.scrub()
    return gone + by_row
