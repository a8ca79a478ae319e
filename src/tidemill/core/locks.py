"""Locks between processes of one machine, on a file, and between machines that share a graph; a kill frees both."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tidemill.core.errors import Busy
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
