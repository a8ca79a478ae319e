"""Sweep a workspace: the blobs that nothing refers to, and what killed writers left: files beside tables, open runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tidemill.core import packindex
from tidemill.core.delta import table_log
from tidemill.core.delta.table_erasing import JOURNAL
from tidemill.core.delta.table_place import Entry, Place
from tidemill.core.errors import BadInput, NotFound
from tidemill.core.graphs.tracked import FILES_EVENT
from tidemill.core.ids import utc_now
from tidemill.core.recording import end_lost, lost, recorded
from tidemill.core.store import Blob, is_digest
from tidemill.core.stores import sweep as stores
from tidemill.core.types import Artifact, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.improve.erasure.doomed import tables_of
from tidemill.serve import packages
from tidemill.track import files
from tidemill.track.tracing import traces

ALL = 10_000_000
DRAFT_ENDS = (".tmp",)


@dataclass(frozen=True)
class Swept:
    """What a sweep removed, or would. files: of tables, "table/file" to bytes. runs: whose processes were dead."""

    blobs: tuple[Blob, ...]
    file_bytes: Mapping[str, int]
    runs: tuple[Run, ...] = ()
    dry_run: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Of tables, as "table/file"."""
        return tuple(self.file_bytes)

    @property
    def size_bytes(self) -> int:
        """Of blobs and files together."""
        return sum(blob.size_bytes for blob in self.blobs) + sum(self.file_bytes.values())


def sweep(ws: Workspace, *, older_than_s: float = 86_400.0, dry_run: bool = False) -> Swept:
    """Delete blobs that no record, package or pack index refers to, and data files that no commit of a table names.

    older_than_s: how old they must be, longer than any run or import takes: what is written but not recorded yet looks
    like an orphan. Runs whose process ended without a word are ended as failed (`recording.lost`). Recorded as a run
    "store.sweep". dry_run: only say what would go; nothing changes and nothing is recorded. Raises BadInput for a
    negative age.
    """
    if older_than_s < 0:
        raise BadInput(f"older_than_s is {older_than_s:g}; give an age in seconds, longer than your longest run")
    if dry_run:
        unused = stores.orphans(ws.store, keep=kept(ws), older_than_s=older_than_s)
        found = {f"{table}/{entry.name}": entry.size_bytes for table, entry in _orphan_files(ws, older_than_s)}
        found |= {f"{files.UPLOADS}/{each.name}": each.stat().st_size for each in files.left_over(ws, older_than_s)}
        return Swept(tuple(unused), found, tuple(lost(ws)), dry_run=True)
    with recorded(ws, "store.sweep", "workspace", params={"older_than_s": older_than_s}) as run:
        blobs = stores.sweep(ws.store, keep=kept(ws), older_than_s=older_than_s)
        removed: dict[str, int] = {}
        for table, entry in _orphan_files(ws, older_than_s):
            Place(ws.tables.uri(table)).remove(entry.name)
            removed[f"{table}/{entry.name}"] = entry.size_bytes
        for draft in files.left_over(ws, older_than_s):
            removed[f"{files.UPLOADS}/{draft.name}"] = draft.stat().st_size
            draft.unlink(missing_ok=True)
        swept = Swept(tuple(blobs), removed, tuple(end_lost(ws)))
        counts = {"blobs": len(blobs), "size_bytes": swept.size_bytes, "files": len(removed), "runs": len(swept.runs)}
        run.result(counts)
    return swept


def kept(ws: Workspace) -> set[str]:
    """The digests of all blobs that are in use: what artifacts, runs, traces, packages, packs and events
    refer to.

    Of artifacts, traces and events every text of the form of a digest counts, wherever it stands: a blob too many costs
    room, a blob too few costs data.
    """
    found = set(packindex.live(ws))
    for run in ws.graph.find(Query("run", limit=ALL)):
        assert isinstance(run, Run)
        found |= {each for each in (run.code, run.environment) if each is not None}
        found |= set(_digests([dict(run.params), dict(run.tags)]))
    for artifact in ws.graph.find(Query("artifact", limit=ALL)):
        assert isinstance(artifact, Artifact)
        found.add(artifact.digest)
        found |= set(_digests(dict(artifact.meta)))
        if artifact.kind == "model" and "package" in artifact.meta:
            try:
                found |= packages.blobs(ws, artifact.digest)
            except NotFound:
                continue  # its package is gone already; `tidemill doctor` says so
    for event in ws.graph.events():
        if event.kind != FILES_EVENT:  # a run's file may have been taken away again: the table says which are there
            found |= set(_digests(dict(event.body)))
    return found | files.digests(ws) | traces.digests(ws)


def _digests(value: Any) -> Iterator[str]:  # Any: a JSON value
    if isinstance(value, str):
        if is_digest(value):
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _digests(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _digests(each)


def _orphan_files(ws: Workspace, older_than_s: float) -> Iterator[tuple[str, Entry]]:
    """Table and file: data files that no commit names, and drafts.

    A table whose erasure was killed keeps its own: the erasure ends it.
    """
    before = utc_now() - timedelta(seconds=older_than_s)
    for name in tables_of(ws):
        place = Place(ws.tables.uri(name))
        entries = list(place.entries())
        if any(entry.name == JOURNAL for entry in entries):
            continue
        try:
            orphans = table_log.read(place, name).orphans
        except BadInput:
            continue  # a table of another kind: what of it is in use cannot be told
        for entry in entries:
            if entry.written_at <= before and (entry.name in orphans or entry.name.endswith(DRAFT_ENDS)):
                yield name, entry
