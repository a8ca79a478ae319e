"""A workspace's folder for what an import or export keeps for its own time: keys of a stream, downloads, query results.

It may hold rows, so it is in the workspace, not in the system's temporary folder; what a killed process left goes with
the next import.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

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
