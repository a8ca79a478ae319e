"""Locks between processes of one machine, on a file, and between machines that share a graph; a kill frees both.

`exclusive` is for a body that changes something; `lease` is for thousands of names at once, such as cache keys and
what is alive.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tidemill.core.errors import Busy
from tidemill.core.holding import names_at
from tidemill.core.ids import digest
from tidemill.core.workspace import Workspace

STEP_S = 0.02


@contextmanager
def locked(path: Path, *, what: str, wait_s: float = 60.0) -> Iterator[None]:
    """Hold the lock while the body runs; threads exclude each other too. Raises Busy, naming `what`, after wait_s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait_s
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Busy(f"{what} is locked by another process for {wait_s:g} s; try again later") from None
                time.sleep(STEP_S)
        yield


@contextmanager
def exclusive(ws: Workspace, name: str, *, what: str, wait_s: float = 60.0) -> Iterator[None]:
    """Hold the name for the body, against all that write to this workspace: on this machine, and on others too where
    the graph is in PostgreSQL. Raises Busy, naming `what`, after wait_s of waiting for either.
    """
    place = ws.root / "locks" / f"{digest(name.encode())[:16]}.lock"
    shared = getattr(ws.graph, "exclusive", None)
    with (
        locked(place, what=what, wait_s=wait_s),
        nullcontext() if shared is None else shared(name, what=what, wait_s=wait_s),
    ):
        yield


class Holder(Protocol):
    """What holds names: a file of this machine, or a database for all machines. grace_s: see `grace_s`."""

    grace_s: float

    def hold(self, name: str) -> bool:
        """Take the name; False where somebody has it."""
        ...

    def let_go(self, name: str) -> None:
        """Give the name back."""
        ...

    def is_held(self, name: str) -> bool:
        """Whether somebody has it."""
        ...


class Lease:
    """A name that this process holds until `release`, or until it ends, however it ends. Use it in a `with`."""

    def __init__(self, holder: Holder, name: str) -> None:
        self._holder: Holder | None = holder
        self.name = name

    def release(self) -> None:
        """Give the name back; a second time does nothing. Any thread may."""
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.let_go(self.name)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lease(ws: Workspace, name: str, *, wait_s: float = 0.0) -> Lease | None:
    """The name for this process alone; None where another process or thread has it still after `wait_s`.

    Where the graph is in PostgreSQL, against all machines that share it, else against all processes of this machine.
    """
    holder = _holder(ws)
    until, step_s = time.monotonic() + wait_s, 0.002
    while not holder.hold(name):
        left_s = until - time.monotonic()
        if left_s <= 0:
            return None
        time.sleep(min(step_s, left_s))
        step_s = min(step_s * 2, 0.05)
    return Lease(holder, name)


def is_held(ws: Workspace, name: str) -> bool:
    """Whether a process that lives, this one too, has a lease of that name. Asking takes nothing."""
    return _holder(ws).is_held(name)


def grace_s(ws: Workspace) -> float:
    """For how long a name may look free while its holder lives: a lease in a database goes with its connection."""
    return _holder(ws).grace_s


def _holder(ws: Workspace) -> Holder:
    shared: Holder | None = getattr(ws.graph, "leases", None)
    return names_at(ws.root / "locks" / "leases.lock") if shared is None else shared
