"""Where features wait to be looked up: SQLite (a file of the workspace), PostgreSQL or anything that speaks Redis.

A store holds the entries of one view. An entry says: from `known` on, this is what a key's row is, until the key's next
entry. Times are microseconds since 1970 UTC; keys are JSON texts (feature_store.online makes them), values are bytes.

Contract
    Threads and processes: a store object belongs to one thread; any number of them may read while one writes.
    Atomicity: `write` is all or nothing, also after kill -9, and `latest` sees the entries of one state only (Redis:
    of one key each). Order: at most one entry a key and moment.
    Errors: MissingExtra without the driver, Busy after 30 s of waiting, NotFound where a server does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tidemill.core.errors import BadInput


class Entry(NamedTuple):
    """What a key's row is from `known` on: when it happened, its row id (JSON text) and its values.

    values: a MessagePack array of the features and, last, the event once more.
    """

    key: str
    known: int
    event: int
    row: str
    values: bytes


class Change(NamedTuple):
    """What becomes of one source: of each key in `since` the entries from that moment on go, then `entries` come."""

    source: int
    since: Mapping[str, int]
    entries: Sequence[Entry]


class Pruning(NamedTuple):
    """Let go of what no moment from `horizon` on finds: what is superseded by then, and events before `oldest`."""

    source: int
    horizon: int
    oldest: int | None


Keys = Sequence[str | None]


class OnlineStore(Protocol):
    """The entries of one view, by source and key."""

    def state(self) -> bytes | None:
        """What `write` said last (JSON), or None."""
        ...

    def latest(self, wanted: Sequence[tuple[int, Keys]], at: int) -> list[list[bytes | None]]:
        """For each (source, keys): the values of each key's last entry known by `at`; None where there is none.

        None as a key has no entry.
        """
        ...

    def history(self, source: int, since: Mapping[str, int]) -> list[Entry]:
        """The entries of each key from the last one that is known by then on."""
        ...

    def write(
        self, state: bytes, changes: Sequence[Change], *, clear: bool = False, pruning: Sequence[Pruning] = ()
    ) -> None:
        """Apply the changes (to nothing, with clear), prune, and remember the state."""
        ...

    def keys(self, source: int) -> Iterator[str]:
        """All keys of a source."""
        ...

    def drop(self, source: int, *, keys: Sequence[str] = (), rows: Sequence[str] = ()) -> int:
        """Erase all entries with these keys or row ids; how many. `scrub` must follow."""
        ...

    def scrub(self) -> None:
        """Leave nothing of what was dropped in files or pages."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def open_store(url: str | Path, view: str) -> OnlineStore:
    """The store of that view. url: a file, postgresql://... or redis://[:password@]host[:port][/number]."""
    text = str(url)
    scheme, found, _ = text.partition("://")
    if not found:
        from tidemill.data.feature_store.online_stores.sqlite import SqliteOnline

        return SqliteOnline(Path(text), view)
    if scheme in ("postgresql", "postgres"):
        from tidemill.data.feature_store.online_stores.postgres import PostgresOnline

        return PostgresOnline(text, view)
    if scheme == "redis":
        from tidemill.data.feature_store.online_stores.redis import RedisOnline

        return RedisOnline(text, view)
    raise BadInput(f"no online store for {scheme}://; allowed: a file, postgresql:// or redis://")


def text_of(value: Any) -> str:  # Any: what a driver gives
    """A driver's text, whether it comes as text or bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
