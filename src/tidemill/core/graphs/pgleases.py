"""Names held in PostgreSQL by advisory locks of one session a process: the server frees them when the process ends."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from contextlib import suppress

import sqlalchemy as sa

from tidemill.core.graphs.failing import readable_errors

PING_S = 20.0  # a session that a network cut is made anew, and takes its names again, within this time
_orphans: list[sa.Connection] = []  # a forked child keeps its parent's session untouched: closing it would end it

_TAKE = sa.text("SELECT pg_try_advisory_lock(:number)")
_FREE = sa.text("SELECT pg_advisory_unlock(:number)")
_SEEN = sa.text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid = CAST(:high AS bigint) AND objid = CAST(:low AS bigint)"
)


class Leases:
    """The names that this process holds; any method from any thread."""

    grace_s = 3 * PING_S

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._link: sa.Connection | None = None
        self._held: set[int] = set()
        self._keeper: threading.Thread | None = None
        self._closed = threading.Event()
        mine = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(mine()))

    def hold(self, name: str) -> bool:
        """Take the name; False where another process, or another thread of this one, has it."""
        number = _number(name)
        with self._lock, readable_errors(self._engine, 0.0):
            if number in self._held:
                return False
            if not self._ask(_TAKE, number=number):
                return False
            self._held.add(number)
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="tidemill-leases", daemon=True)
                self._keeper.start()
        return True

    def let_go(self, name: str) -> None:
        """Give the name back."""
        number = _number(name)
        with self._lock:
            if number in self._held:
                self._held.discard(number)
                with suppress(sa.exc.DBAPIError):  # a server that is away has ended the session, and freed the name
                    self._ask(_FREE, number=number)

    def is_held(self, name: str) -> bool:
        """Whether any process on any machine has it."""
        number = _number(name) % (1 << 64)
        with self._lock, readable_errors(self._engine, 0.0):
            return bool(self._ask(_SEEN, high=number >> 32, low=number & 0xFFFFFFFF))

    def close(self) -> None:
        """End the session; the server frees what it held."""
        self._closed.set()
        with self._lock:
            self._held.clear()
            if self._link is not None:
                self._link.invalidate()  # not back to the pool: the next one to have it would hold our names
                self._link.close()
                self._link = None

    def _ask(self, statement: sa.TextClause, **given: int) -> object:
        """One answer, on a session made anew where the old one has ended."""
        if self._link is not None:
            try:
                return self._link.execute(statement, given).scalar()
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                self._link.close()
                self._link = None
        self._link = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        for number in self._held:
            self._link.execute(_TAKE, {"number": number})
        return self._link.execute(statement, given).scalar()

    def _keep(self) -> None:
        """Look after the session while names are held: their holder may ask nothing of it for hours."""
        while not self._closed.wait(PING_S):
            with self._lock:
                if not self._held:
                    break
                try:
                    self._ask(sa.text("SELECT 1"))
                except sa.exc.DBAPIError:
                    continue  # the server is away: the next ping tries again
        with self._lock:
            self._keeper = None


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"lease/{name}".encode()).digest()[:8], "big", signed=True)


def _forget(leases: Leases | None) -> None:
    if leases is None:
        return
    if leases._link is not None:
        _orphans.append(leases._link)
    leases._lock, leases._closed = threading.Lock(), threading.Event()
    leases._link, leases._keeper = None, None
    leases._held = set()
