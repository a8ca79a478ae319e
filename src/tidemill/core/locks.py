"""A lock between processes of one machine, on a file; a killed process lets go of it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.core.errors import Busy

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
