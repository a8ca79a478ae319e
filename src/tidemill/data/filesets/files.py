"""Datasets of files: a version's rows say which paths there are and what they hold, the bytes are in packs.

Rows are path (the key), digest (SHA-256), size_bytes, media_type, width and height of images, and a manifest's columns,
in the ordinary datasets' tables: so diff, branches and lineage are those of every dataset. Bytes with the same content
are stored once (tidemill.core.packs). Packs are durable before the version that needs them is recorded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import polars as pl

from tidemill.core import ids, packindex, packs
from tidemill.core.errors import BadInput, Conflict, EmptyInput, NotFound, nearest
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.filesets import folders, manifests, media
from tidemill.data.filesets.folders import Entry, Links, Seen
from tidemill.data.transfer import importing

Progress = Callable[[int, int | None], None]
KEY = "path"
SCHEMA: Mapping[str, pl.DataType] = {
    "path": pl.String(),
    "digest": pl.String(),
    "size_bytes": pl.Int64(),
    "media_type": pl.String(),
    "width": pl.Int32(),
    "height": pl.Int32(),
}
WHOLE_BYTES = 1 << 20  # smaller files are one piece: less than 16 chunks have too few to share
LISTED = 1000
TRIES = 3
KEPT = 4
NOWHERE = "0" * 64  # no file has this digest


def add_folder(
    ws: Workspace,
    name: str,
    folder: Path,
    *,
    manifest: Path | None = None,
    pattern: str = "**/*",
    links: Links = "inside",
    unmatched: Literal["report", "refuse"] = "report",
    message: str = "",
    branch: str = datasets.MAIN,
    progress: Progress | None = None,
    told: importing.Told | None = None,
) -> DatasetVersion:
    """The folder's files as the dataset's next version; the newest one where nothing differs.

    Files that were not written since they were last read are not read again (filesets.folders says when that is
    safe). pattern, links: which files, see folders.walk. manifest: CSV, JSON lines or Parquet with a column `path`,
    joined on; it is no file of the dataset where it lies in the folder. unmatched: rows without a file (left out)
    and files without a row (nulls) are recorded as an event, see `scanned`, or refused. progress: files done,
    files.
    Rows are held to the dataset's contract; told: called with what became of those that do not keep it.
    Permissions and times of files are not kept. Raises NotFound, EmptyInput, BadInput, or Conflict for a file that is
    written all the time.
    """
    skip = [ws.root, *([] if manifest is None else [manifest])]
    entries = folders.walk(folder, pattern=pattern, links=links, skip=skip)
    if not entries.height:
        raise EmptyInput(f"no file in {folder} matches {pattern!r}; give another folder or pattern")
    packer = packs.Packer(ws)
    seen = _read_all(folder, folders.known(entries, folders.recall(ws, folder)), packer, progress)
    packer.finish()
    folders.remember(ws, folder, seen)
    lost = seen["path"].filter(~pl.Series(packer.index.has(seen["digest"])))
    if len(lost):
        raise Conflict(f"{len(lost)} files, such as {lost[0]!r}, were erased while they were added; run it again")
    rows = seen.select(*SCHEMA)
    without_file: list[str] = []
    without_row: list[str] = []
    if manifest is not None:
        rows, without_file, without_row = manifests.join(rows, manifest)
        if unmatched == "refuse" and (without_file or without_row):
            raise BadInput(
                f"{len(without_file)} rows of manifest {manifest} have no file, such as {without_file[:3]}, and "
                f"{len(without_row)} files have no row, such as {without_row[:3]}; mend it, or give unmatched='report'"
            )
    version = importing.add(
        ws, name, rows, key=KEY, mode="replace", message=message, source=str(folder), branch=branch, told=told
    )
    inside = manifest is not None and manifest.resolve().is_relative_to(folder.resolve())
    body = {
        "format": 1,
        "version": version.version,
        "branch": branch,
        "pattern": pattern,
        "links": links,
        "manifest": manifest.resolve().relative_to(folder.resolve()).as_posix() if manifest and inside else None,
        "rows_without_file": {"count": len(without_file), "first": without_file[:LISTED]},
        "files_without_row": {"count": len(without_row), "first": without_row[:LISTED]},
        "collisions": folders.collisions(rows[KEY])[:LISTED],
    }
    ws.graph.record(f"files/{name}", "scanned", body, actor=ws.settings.who)
    return version


def scanned(ws: Workspace, name: str) -> Mapping[str, Any]:
    """What the last `add_folder` was asked and saw: {"version", "pattern", "links", "manifest",
    "rows_without_file": {"count", "first"}, "files_without_row": the same, "collisions": paths that differ by case}."""
    events = ws.graph.events(f"files/{name}", kind="scanned", last=1)
    if not events:
        raise NotFound(f"no folder was added to dataset {name!r}; add one with files.add_folder")
    return events[0].body


def status(ws: Workspace, name: str, folder: Path, *, version: DatasetVersion | None = None) -> dict[str, Any]:
    """How the folder differs from the dataset's newest version (or the one given).

    {"added": paths, "changed": paths, "removed": paths, "unchanged": how many}. Files are taken as the last add_folder
    took them; those not written since they were last read are not read again.
    """
    version = version or datasets.get(ws, name)
    require_files(version)
    asked = next(iter(ws.graph.events(f"files/{name}", kind="scanned", last=1)), None)
    how = {} if asked is None else asked.body
    skip = [ws.root, *([folder / how["manifest"]] if how.get("manifest") else [])]
    entries = folders.walk(folder, pattern=how.get("pattern", "**/*"), links=how.get("links", "inside"), skip=skip)
    before = folders.recall(ws, folder)
    both = folders.known(entries, before).join(
        _rows(ws, version).rename({"digest": "was", "size_bytes": "was_bytes"}), on="path", how="full", coalesce=True
    )
    there, recorded = pl.col("size_bytes").is_not_null(), pl.col("was").is_not_null()
    alike = both.filter(there & recorded & (pl.col("size_bytes") == pl.col("was_bytes")))
    fresh = folders.seen_frame(
        look(folder, Entry(*row)) for row in alike.filter(pl.col("digest").is_null()).select(*folders.STATE).iter_rows()
    )
    if fresh.height:
        folders.remember(ws, folder, pl.concat([before.join(fresh, on="path", how="anti"), fresh]))
    same = pl.concat(
        [alike.select("path", "digest", "was"), fresh.join(alike, on="path").select("path", "digest", "was")]
    )
    unchanged = same.filter(pl.col("digest") == pl.col("was")).select("path")
    return {
        "added": _paths(both.filter(there & ~recorded)),
        "changed": _paths(both.filter(there & recorded).join(unchanged, on="path", how="anti")),
        "removed": _paths(both.filter(~there)),
        "unchanged": unchanged.height,
    }


class Files:
    """The files of one version, for reading: a mapping from path to digest, read once, and the packs' index."""

    def __init__(self, ws: Workspace, version: DatasetVersion) -> None:
        require_files(version)
        self.version = version
        self.digests: dict[str, str] = dict(_rows(ws, version).select("path", "digest").iter_rows())
        self._reader = packs.Reader(ws)

    def read(self, path: str) -> bytes:
        """The file's bytes, verified; NotFound names the nearest path."""
        return self._reader.read(self.digest(path))

    def digest(self, path: str) -> str:
        """SHA-256 of the file."""
        if path not in self.digests:
            where = f"{self.version.name}@{self.version.version}"
            raise NotFound(f"no file {path!r} in {where}, which has {len(self.digests)}.{nearest(path, self.digests)}")
        return self.digests[path]

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(path, bytes) of these files, in the order in which the bytes lie."""
        wanted: dict[str, list[str]] = {}
        for path in paths:
            wanted.setdefault(self.digest(path), []).append(path)
        for digest in self._reader.in_order(wanted):
            data = self._reader.read(digest)
            yield from ((path, data) for path in wanted[digest])


_open: dict[tuple[int, str, datetime | None], Files] = {}


def open_files(ws: Workspace, version: DatasetVersion) -> Files:
    """The version's files, for reading many of them; the last few are kept in memory."""
    known = (id(ws.graph), version.id, ws.clock)
    made = _open.get(known)
    if made is None:
        made = _open[known] = Files(ws, version)
        while len(_open) > KEPT:
            _open.pop(next(iter(_open)), None)
    return made


def read(ws: Workspace, version: DatasetVersion, path: str) -> bytes:
    """One file's bytes, verified. Raises NotFound for an unknown path, Corrupt for bytes that differ."""
    return open_files(ws, version).read(path)


def forget(ws: Workspace, digests: Iterable[str]) -> int:
    """Erase files by digest: their bytes are gone from all packs, chunks that other files share stay.

    Rows that name them are the caller's to remove. Returns how many were there. See packs.forget.
    """
    gone = packs.forget(ws, digests)
    folders.forget(ws)
    _open.clear()
    return gone


def blobs_of(ws: Workspace, version: DatasetVersion) -> set[str]:
    """The digests in the store that the version needs: its packs and the packs' index; none for rows without files."""
    if not is_files(version):
        return set()
    return packindex.load(ws).blobs_of(_rows(replace(ws, clock=None), version)["digest"])


def is_files(version: DatasetVersion) -> bool:
    """Whether the version's rows are files."""
    return version.key == KEY and {"digest", "size_bytes", "media_type"} <= version.columns.keys()


def require_files(version: DatasetVersion) -> None:
    """BadInput when the version's rows are no files."""
    if not is_files(version):
        raise BadInput(
            f"dataset {version.name!r} holds rows, not files; files come with files.add_folder, rows with datasets.scan"
        )


# ------------------------------------------------------------------------------------------------------- reading files


def _read_all(folder: Path, known: pl.DataFrame, packer: packs.Packer, progress: Progress | None) -> pl.DataFrame:
    """All files with what is in them, those read that are not known or whose bytes are stored nowhere."""
    stored = pl.Series("stored", packer.index.has(known["digest"].fill_null(NOWHERE)), pl.Boolean)
    kept, wanted = known.filter(stored), known.filter(~stored).select(*folders.STATE)
    fresh: list[Seen] = []
    if progress is not None and kept.height:
        progress(kept.height, known.height)
    for row in wanted.iter_rows():
        fresh.append(look(folder, Entry(*row), packer))
        if progress is not None:
            progress(kept.height + len(fresh), known.height)
    return pl.concat([kept, folders.seen_frame(fresh)]).sort("path")


def look(folder: Path, entry: Entry, packer: packs.Packer | None = None) -> Seen:
    """Read a file: its digest and what its head says; with a packer its bytes are stored.

    Raises Conflict for a file that vanishes or changes while it is read, BadInput for one that may not be read.
    """
    place = os.path.join(folder, entry.path)  # noqa: PTH118  pathlib's takes a fifth of the time of a small file
    for _ in range(TRIES):
        read_at_ns = folders.now_ns()
        try:
            with open(place, "rb", buffering=0) as file:  # noqa: PTH123
                before = folders.entry_of(entry.path, os.fstat(file.fileno()))
                wanted = min(media.HEAD_BYTES, before.size_bytes + 1)
                head = file.read(wanted)
                if len(head) < wanted and len(head) == before.size_bytes:
                    digest = ids.digest(head) if packer is None else packer.add(head)
                else:
                    digest = _digest(file, before.size_bytes, media.media_type(entry.path, head), packer)
                after = folders.entry_of(entry.path, os.fstat(file.fileno()))
        except FileNotFoundError:
            raise Conflict(f"file {entry.path!r} vanished from {folder} while it was read; run it again") from None
        except PermissionError:
            raise BadInput(f"file {place} may not be read; change its permissions") from None
        if before == after:
            return described(before, digest, head, trusted=folders.trusted(before, read_at_ns))
    raise Conflict(f"file {place} is being written all the time; add it when its writer is done")


def described(entry: Entry, digest: str, head: bytes, *, trusted: bool = False) -> Seen:
    """A file with this digest, and what its first bytes say."""
    kind = media.media_type(entry.path, head)
    return Seen(*entry, digest, kind, *media.image_size(kind, head), trusted)


def _digest(file: FileIO, size_bytes: int, kind: str, packer: packs.Packer | None) -> str:
    file.seek(0)
    if packer is None:
        return hashlib.file_digest(file, "sha256").hexdigest()
    if size_bytes < WHOLE_BYTES:
        return packer.add(file.read())
    return packer.add_stream(file, by_content=not media.dense(kind))[0]


def _rows(ws: Workspace, version: DatasetVersion) -> pl.DataFrame:
    return datasets.scan(ws, version).select("path", "digest", "size_bytes").collect()


def _paths(frame: pl.DataFrame) -> list[str]:
    return sorted(frame["path"].to_list())
