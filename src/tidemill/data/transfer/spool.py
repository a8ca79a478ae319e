"""A workspace's folder for what an import or export keeps for its own time: keys of a stream, downloads, query results.

It may hold rows, so it is in the workspace, not in the system's temporary folder; what a killed process left goes with
the next import.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polars.exceptions import PolarsError

from tidemill.core.delta.table_files import FULL
from tidemill.core.errors import MissingExtra, NoRoom
from tidemill.core.workspace import Workspace

FOLDER = "spool"
PREFIX = "tidemill-"
OLD_S = 86_400.0


def spool(ws: Workspace, *, older_than_s: float = OLD_S) -> Path:
    """The folder, without what is older than that: nobody's import takes a day."""
    place = ws.root / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    before = time.time() - older_than_s
    for left in place.glob(f"{PREFIX}*"):
        try:
            if left.stat().st_mtime <= before:
                shutil.rmtree(left)
        except FileNotFoundError:  # its import ended since
            continue
    return place


@contextmanager
def writable(shown: str) -> Iterator[None]:
    """A full disk, or a place that cannot be written, as NoRoom."""
    try:
        yield
    except (NoRoom, MissingExtra):
        raise
    except (OSError, PolarsError) as error:
        if any(text in str(error) for text in FULL):
            raise NoRoom(f"cannot write to {shown} ({error}); free space or choose another place") from error
        raise
