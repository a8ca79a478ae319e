"""Folders of files as they are on this machine: what is in them, and what was in them when they were last read.

A file is not read again when its size, inode, modification and change times are those seen when it was read. The racy
case, known from git: a file written again within the clock tick in which it was read keeps those times, so an entry
whose times are not older than a moment at its reading is not trusted: 50 ms, or 2 s where times are whole seconds. The
change time cannot be set by a program, so a file whose old modification time was put back is read again all the same.
"""

from __future__ import annotations

import io
import os
import re
import stat
import time
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.ids import digest, new_id
from tidemill.core.workspace import Workspace

Links = Literal["inside", "follow", "skip"]
DRAFT = ".tidemill-"
IGNORED = frozenset({".git", ".DS_Store", "Thumbs.db"})
MOMENT_NS, COARSE_NS, SECOND_NS = 50_000_000, 2_000_000_000, 1_000_000_000
CACHES = "caches/files"
STATE = {
    "path": pl.String,
    "size_bytes": pl.Int64,
    "mtime_ns": pl.Int64,
    "ctime_ns": pl.Int64,
    "inode": pl.UInt64,
}
FOUND = {
    "digest": pl.String,
    "media_type": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "trusted": pl.Boolean,
}
SEEN = {**STATE, **FOUND}


class Entry(NamedTuple):
    """A file in a folder: its path from there, with '/', and what tells whether it was written since."""

    path: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Seen(NamedTuple):
    """A file as it was read: its entry, what was found, and whether an equal entry means equal bytes."""

    path: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    digest: str
    media_type: str
    width: int | None
    height: int | None
    trusted: bool


def entry_of(path: str, found: os.stat_result) -> Entry:
    """The entry of a file with that state."""
    return Entry(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def walk(folder: Path, *, pattern: str = "**/*", links: Links = "inside", skip: Iterable[Path] = ()) -> pl.DataFrame:
    """The files below the folder whose path matches the pattern, in order of path: columns STATE.

    Left out are .git, .DS_Store, Thumbs.db, what `skip` names, and drafts of a checkout. links: "inside" reads links to
    files within the folder as those files and raises BadInput for others; "follow" reads links to any file; "skip"
    leaves links out. Raises NotFound for no folder, BadInput for names that are not UTF-8 and for what is no file.
    """
    if not folder.is_dir():
        raise NotFound(f"no folder {folder}; give a folder of files")
    wanted = None if pattern == "**/*" else _pattern(pattern)
    inside = os.path.realpath(folder) + os.sep
    left_out = {os.path.realpath(each).removeprefix(inside).replace(os.sep, "/") for each in skip}
    # plain tuples: the garbage collector stops looking at those, of a million files too
    entries: list[tuple[str, int, int, int, int]] = []
    waiting = [(str(folder), "")]
    while waiting:
        place, before = waiting.pop()
        with os.scandir(place) as found:
            for each in found:
                path = before + each.name
                if each.name in IGNORED or each.name.startswith(DRAFT) or path in left_out:
                    continue
                if each.is_dir(follow_symlinks=False):
                    waiting.append((each.path, path + "/"))
                elif wanted is None or wanted.fullmatch(path):
                    _require_text(path)
                    state = each.stat(follow_symlinks=False)
                    if stat.S_ISLNK(state.st_mode):
                        if links == "skip":
                            continue
                        state = _behind(each.path, path, inside if links == "inside" else "")
                    if not stat.S_ISREG(state.st_mode):
                        raise BadInput(f"{path!r} in {folder} is no file but a device, pipe or socket; remove it")
                    entries.append((path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))
    return pl.DataFrame(entries, STATE, orient="row").sort("path")


def _require_text(path: str) -> None:
    if path.isascii():
        return
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise BadInput(f"the name '{shown}' is not UTF-8, and a path is the text key of a row; rename it") from None


def _behind(place: str, path: str, inside: str) -> os.stat_result:
    target = os.path.realpath(place)
    try:
        state = Path(target).stat()
    except OSError:
        raise BadInput(f"link {path!r} leads nowhere (to {target}); remove it, or give links='skip'") from None
    if stat.S_ISDIR(state.st_mode):
        raise BadInput(f"link {path!r} leads to folder {target}; copy the folder here, or give links='skip'")
    if inside and not target.startswith(inside):
        raise BadInput(f"link {path!r} leads out of the folder, to {target}; give links='follow' or links='skip'")
    return state


def _pattern(pattern: str) -> re.Pattern[str]:
    """`**/` any folders, `*` and `?` within a name, as pathlib's glob has them.

    >>> bool(_pattern("**/*.png").fullmatch("a/b/c.png")), bool(_pattern("*.png").fullmatch("a/b.png"))
    (True, False)
    """
    said = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(said.get(part) or re.escape(part) for part in parts), re.S)


def require_safe(path: str) -> None:
    """BadInput for a path that could lead out of the folder it is written to."""
    parts = path.split("/")
    strange = os.name == "nt" and re.search(r"[\\:]", path)
    if "\0" in path or strange or any(part in ("", ".", "..") for part in parts) or parts[0].startswith(DRAFT):
        raise BadInput(
            f"path {path!r} could lead out of the folder; a path is names joined by '/', none of them '.' or '..'"
        )


def collisions(paths: Iterable[str]) -> list[list[str]]:
    """Paths that are one and the same where capitals, or composed and decomposed letters, are not told apart.

    >>> collisions(["a/X.png", "A/x.png", "b.png"])
    [['A/x.png', 'a/X.png']]
    """
    alike: dict[str, list[str]] = {}
    for path in paths:
        alike.setdefault(path if path.isascii() and path.islower() else _folded(path), []).append(path)
    return sorted(sorted(each) for each in alike.values() if len(each) > 1)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


# ------------------------------------------------------------------------------------------------------- what was seen


def trusted(entry: Entry, read_at_ns: int) -> bool:
    """Whether an equal entry will mean equal bytes, for a file whose reading began at that time (ns since 1970)."""
    newest = max(entry.mtime_ns, entry.ctime_ns)
    window = COARSE_NS if newest % SECOND_NS == 0 else MOMENT_NS
    return newest + window <= read_at_ns


def now_ns() -> int:
    """Nanoseconds since 1970, by the clock that files are stamped with."""
    return time.time_ns()


def recall(ws: Workspace, folder: Path) -> pl.DataFrame:
    """What was seen in this folder, columns SEEN; no rows where there is no cache, or a broken one."""
    try:
        return pl.read_ipc(io.BytesIO(_cache(ws, folder).read_bytes())).select(*SEEN).cast(SEEN)  # type: ignore[arg-type]
    except (OSError, PolarsError):
        return seen_frame([])


def seen_frame(seen: Iterable[Seen]) -> pl.DataFrame:
    """As rows, columns SEEN."""
    return pl.DataFrame(list(seen), SEEN, orient="row")


def known(entries: pl.DataFrame, seen: pl.DataFrame) -> pl.DataFrame:
    """The entries with what is known of them: columns SEEN, those of FOUND null for files that have to be read."""
    return entries.join(seen.filter("trusted"), on=list(STATE), how="left", maintain_order="left")


def remember(ws: Workspace, folder: Path, seen: pl.DataFrame) -> None:
    """Keep what was seen for the next time: a cache of this machine, by one rename."""
    place = _cache(ws, folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f"{DRAFT}{new_id()}")
    seen.write_ipc(draft)
    draft.replace(place)


def forget(ws: Workspace) -> None:
    """Drop what was seen, in all folders: paths and digests of files may be what has to be erased."""
    for place in (ws.root / CACHES).glob("*"):
        place.unlink(missing_ok=True)


def _cache(ws: Workspace, folder: Path) -> Path:
    return ws.root / CACHES / f"{digest(os.fsencode(folder.resolve()))[:32]}.arrow"
