"""A path that a step gave stands for what is there: the content of a file, or of a folder with all in it.

What is read again lies, read-only, in a folder of its content's digest under the system's temporary folder.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat
import struct
import tempfile
from typing import Any

from tidemill.core.errors import Corrupt
from tidemill.core.ids import digest

NAMES = ("file",)


def encode(value: Any) -> tuple[str, bytes] | None:
    """The file or folder: a head of names and sizes, then the contents in order of their names.

    None for what is no path, and for a path where nothing is: a promise of a file is no content.
    """
    if not isinstance(value, pathlib.Path) or not value.exists():
        return None
    whole = [value] if value.is_file() else sorted(value.rglob("*"))
    inside = [each for each in whole if each.is_file()]
    names = [value.name if value.is_file() else each.relative_to(value).as_posix() for each in inside]
    empty = [each.relative_to(value).as_posix() for each in whole if each.is_dir() and not any(each.iterdir())]
    contents = [each.read_bytes() for each in inside]
    runs = [bool(each.stat().st_mode & stat.S_IXUSR) for each in inside]
    head = json.dumps(
        {
            "name": value.name,
            "folder": not value.is_file(),
            "files": [[name, len(data), run] for name, data, run in zip(names, contents, runs, strict=True)],
            "empty": empty,
        },
        ensure_ascii=True,
        separators=(",", ":"),
    ).encode()
    return "file", b"".join([struct.pack("<Q", len(head)), head, *contents])


def decode(name: str, data: bytes) -> pathlib.Path:  # noqa: ARG001  there is one
    """The path of a copy. Raises Corrupt for a name that leads out of its folder."""
    (length,) = struct.unpack_from("<Q", data)
    head = json.loads(data[8 : 8 + length])
    folder = _ours() / digest(data)[:32]
    given = str(head["name"])
    place = folder / given
    if _leads_out(head["name"]) or any(_leads_out(each) for each, _, _ in head["files"]):
        raise Corrupt(f"a stored file is named {head['name']!r} or holds such a name; run its step again")
    if place.exists() and encode(place) == ("file", data):
        return place
    made = pathlib.Path(tempfile.mkdtemp(prefix="new-", dir=_ours()))
    at = 8 + length
    for each, size, runs in head["files"]:
        into = made / head["name"] / each if head["folder"] else made / each
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_bytes(data[at : at + size])
        into.chmod(0o500 if runs else 0o400)
        at += size
    for each in head["empty"]:
        (made / head["name"] / each).mkdir(parents=True, exist_ok=True)
    if head["folder"]:
        (made / head["name"]).mkdir(exist_ok=True)
    try:
        made.rename(folder)
    except OSError:  # another process was first; or it was changed since, and this copy stays its own
        if encode(place) != ("file", data):
            return made / given
        shutil.rmtree(made, ignore_errors=True)
    return place


def _ours() -> pathlib.Path:
    """The folder for this user alone."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"tidemill-files-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        return pathlib.Path(tempfile.mkdtemp(prefix="tidemill-files-"))
    return folder


def _leads_out(name: str) -> bool:
    path = pathlib.PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or not path.parts
