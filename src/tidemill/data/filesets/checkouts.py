"""A version's files back in a folder: each by one rename, and nothing lost that is not stored."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

from tidemill.core import packs
from tidemill.core.errors import BadInput, Conflict, NoRoom, NotFound
from tidemill.core.ids import new_id
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data.filesets import files, folders
from tidemill.data.filesets.folders import DRAFT, Entry, Seen

STALE_S = 3600.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
SHOWN = 5


def checkout(
    ws: Workspace,
    version: DatasetVersion,
    folder: Path,
    *,
    force: bool = False,
    progress: files.Progress | None = None,
) -> dict[str, int]:
    """Make the folder hold the version's files; returns {"written", "removed", "unchanged"}: how many.

    Each file is a copy, put in place by one rename. A file with other bytes is overwritten, and a file that is not in
    the version removed, only where this workspace put or read it there and its bytes are stored; other files that are
    not in the version are left. Before anything is touched, raises Conflict for changed files whose bytes are stored
    nowhere (force=True overwrites them), NotFound for bytes that were erased, BadInput for a path that leads out of the
    folder, also by a link, and for paths that the file system cannot tell apart; later only NoRoom, or Corrupt. Not
    flushed to disk: after a power cut, `status` says what is missing.
    """
    wanted = files.open_files(ws, version).digests
    for path in wanted:
        folders.require_safe(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _drafts(folder) as drafts:
            return _checkout(ws, wanted, folder, drafts, force=force, progress=progress)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NoRoom(f"cannot write to {folder} ({error.strerror}); free space, then run it again") from error


def _checkout(
    ws: Workspace,
    wanted: Mapping[str, str],
    folder: Path,
    drafts: Path,
    *,
    force: bool,
    progress: files.Progress | None,
) -> dict[str, int]:
    _require_distinct(wanted, drafts)
    entries = folders.walk(folder, links="skip")
    seen = _there(folder, entries, wanted, folders.recall(ws, folder))
    there: dict[str, str] = dict(seen.select("path", "digest").iter_rows())
    reader = packs.Reader(ws)
    stored = dict(zip(there, reader.index.has(there.values()), strict=True))
    lost = [
        path for (path, digest), has in zip(wanted.items(), reader.index.has(wanted.values()), strict=True) if not has
    ]
    if lost:
        raise NotFound(
            f"the bytes of {len(lost)} files, such as {lost[0]!r}, are stored nowhere: they were erased, or their "
            "packs are missing; `tidemill doctor` says which"
        )
    write = [path for path, digest in wanted.items() if there.get(path) != digest]
    changed = [path for path in write if path in there and not stored[path]]
    if changed and not force:
        raise Conflict(
            f"{len(changed)} files in {folder} were changed and are stored nowhere, such as "
            f"{', '.join(map(repr, changed[:SHOWN]))}; add the folder first, or overwrite them: force=True (--force)"
        )
    remove = [path for path in there if path not in wanted and stored[path]]
    _require_room(folder, write, set(entries["path"]).difference(remove))
    for path in remove:
        (folder / path).unlink(missing_ok=True)
        _remove_empty(folder, (folder / path).parent)
    made: list[Seen] = []
    alike: dict[str, list[str]] = {}
    for path in write:
        alike.setdefault(wanted[path], []).append(path)
    for digest in reader.in_order(alike):
        for path in alike[digest]:
            made.append(_place(reader, digest, path, folder, f"{drafts}/{len(made)}"))
            if progress is not None:
                progress(len(made), len(write))
    left = seen.filter(~pl.col("path").is_in([*remove, *write]))
    folders.remember(ws, folder, pl.concat([left, folders.seen_frame(made)]))
    same = len(wanted) - len(write)
    return {"written": len(write), "removed": len(remove), "unchanged": same}


def _there(folder: Path, entries: pl.DataFrame, wanted: Mapping[str, str], before: pl.DataFrame) -> pl.DataFrame:
    """What the files hold that are in the version, or were put or read here before; others are of no interest."""
    of_interest = pl.col("path").is_in([*wanted, *before["path"]])
    known = folders.known(entries.filter(of_interest), before)
    unknown = known.filter(pl.col("digest").is_null()).select(*folders.STATE)
    read = folders.seen_frame(files.look(folder, Entry(*row)) for row in unknown.iter_rows())
    return pl.concat([known.filter(pl.col("digest").is_not_null()), read])


def _require_room(folder: Path, paths: list[str], stays: set[str]) -> None:
    """Conflict or BadInput where a link, a folder or a file that stays is in the way of a path."""
    full = {step for path in stays for step in _above(path)}
    checked: set[str] = set()
    for path in paths:
        for step in (*_above(path), path):
            if step in checked:
                continue
            checked.add(step)
            try:
                mode = (folder / step).lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                break
            if stat.S_ISLNK(mode):
                raise BadInput(f"{step!r} in {folder} is a link, and {path!r} would be written through it; remove it")
            if step == path and stat.S_ISDIR(mode) and not _will_go(folder / step, step in full):
                raise Conflict(f"a folder is at {step!r} in {folder}, where a file has to be written; move it away")
            if step != path and not stat.S_ISDIR(mode) and step in stays:
                raise Conflict(f"a file is at {step!r} in {folder}, where {path!r} has to be written; move it away")


def _will_go(place: Path, stays: bool) -> bool:
    """Whether a folder will be removed with the files in it: all of them go, and there are some."""
    return not stays and any(place.iterdir())


def _above(path: str) -> list[str]:
    """The folders that a path is in, outermost first.

    >>> _above("a/b/c")
    ['a', 'a/b']
    """
    steps = path.split("/")
    return ["/".join(steps[:n]) for n in range(1, len(steps))]


def _require_distinct(paths: Mapping[str, str], drafts: Path) -> None:
    """BadInput for paths that this file system takes for one."""
    alike = folders.collisions(paths)
    if alike:
        (drafts / "case").touch()
        if (drafts / "CASE").exists():
            raise BadInput(
                f"this file system does not tell {alike[0][0]!r} from {alike[0][1]!r}; check out where it does"
            )
        (drafts / "case").unlink()


def _place(reader: packs.Reader, digest: str, path: str, folder: Path, draft: str) -> Seen:
    # text paths and os: with pathlib's a checkout of small files takes a third longer
    head = b""
    with open(draft, "xb") as file:  # noqa: PTH123
        for piece in reader.pieces(digest):
            head = head or piece
            file.write(piece)
    target = os.path.join(folder, path)  # noqa: PTH118
    try:
        os.replace(draft, target)  # noqa: PTH105
    except FileNotFoundError:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(draft, target)  # noqa: PTH105
    return files.described(folders.entry_of(path, os.stat(target)), digest, head)  # noqa: PTH116


def _remove_empty(folder: Path, place: Path) -> None:
    with suppress(OSError):
        while place != folder:
            place.rmdir()
            place = place.parent


@contextmanager
def _drafts(folder: Path) -> Iterator[Path]:
    """A folder for files that are not in place yet; those of killed checkouts go after an hour."""
    for old in folder.glob(f"{DRAFT}*"):
        with suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > STALE_S:
                shutil.rmtree(old, ignore_errors=True)
    made = folder / f"{DRAFT}{new_id()}"
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
