"""What `tidemill doctor` looks at: Python, extras, disk, workspace, log and blobs."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tidemill.core.errors import TidemillError
from tidemill.core.settings import Settings
from tidemill.core.types import Artifact, Query
from tidemill.core.workspace import Workspace, open_workspace

FREE_MIB = 1024
BLOB_KINDS = ("recipe", "profile", "rows", "report", "model")  # artifacts whose digest is a blob's


class Finding(NamedTuple):
    """One thing looked at: whether it is fine, what was found, what to do if not."""

    what: str
    fine: bool
    found: str
    then: str = ""


def findings(settings: Settings) -> list[Finding]:
    """Look at everything; nothing is changed."""
    version = sys.version.split()[0]
    found = [Finding("Python", sys.version_info >= (3, 11), version, "tidemill needs 3.11 or newer")]
    for extra, module in (("postgres", "psycopg"), ("s3", "obstore")):
        there = find_spec(module) is not None
        found.append(
            Finding(f"extra {extra}", fine=True, found="installed" if there else "not installed (only needed if used)")
        )
    place = Path(settings.workspace).expanduser()
    free = shutil.disk_usage(place if place.exists() else place.absolute().parent).free // 2**20
    found.append(Finding("free disk", free >= FREE_MIB, f"{free:,} MiB", f"free at least {FREE_MIB:,} MiB"))
    try:
        ws = open_workspace(settings.workspace, settings=settings, create=False)
    except TidemillError as error:
        return [*found, Finding("workspace", fine=False, found=str(error), then="tidemill demo, or -w FOLDER")]
    try:
        return [*found, *_of_workspace(ws)]
    finally:
        ws.close()


def _of_workspace(ws: Workspace) -> list[Finding]:
    faults = ws.graph.verify()
    newest = ws.graph.events(last=1)
    missing = [
        artifact.label
        for kind in BLOB_KINDS
        for artifact in ws.graph.find(Query("artifact", kind=kind, limit=1_000_000))
        if isinstance(artifact, Artifact) and not ws.store.has(artifact.digest)
    ]
    events = f"{newest[0].seq if newest else 0:,} events"
    return [
        Finding("workspace", fine=True, found=ws.url),
        Finding(
            "audit log",
            not faults,
            f"{events}, whole" if not faults else f"{len(faults)} faults: {faults[0].where} {faults[0].what}",
            "tidemill audit verify",
        ),
        Finding(
            "blobs",
            not missing,
            "all there" if not missing else f"{len(missing)} missing, such as {missing[0]}",
            "restore the objects folder from a backup",
        ),
    ]
