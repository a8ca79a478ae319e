"""Files of runs: their bytes are in the store under their digest, their names with the run.

An event "files" of subject "run/<id>" says which were added or taken away; the table `run_files` is its copy.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.graphs.committing import committer_of, reading
from tidemill.core.graphs.schema import run_files
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.graphs.tracked import FILES_EVENT, ms, say
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import utc_now
from tidemill.core.workspace import Workspace

PATH_LENGTH = 500
UPLOADS = "uploads"  # a folder of the workspace: what is being received


@dataclass(frozen=True, slots=True)
class File:
    """A file of a run, or a folder (digest ""). path: within the run; size: bytes, 0 for a folder."""

    path: str
    digest: str
    size: int
    at_ms: int

    @property
    def is_folder(self) -> bool:
        """Whether it holds files."""
        return not self.digest


def require_path(path: str) -> str:
    """The name of a run's file: "loss.png", "plots/roc.png". Raises BadInput for one that could lead elsewhere."""
    parts = path.split("/")
    if (
        not path
        or len(path) > PATH_LENGTH
        or any(part in ("", ".", "..") for part in parts)
        or any(letter == "\\" or ord(letter) < 32 for letter in path)
    ):
        raise BadInput(
            f"a run's file cannot be named {path[:80]!r}; give a name such as 'plots/roc.png', of up to {PATH_LENGTH} "
            "characters, without '..', an empty part or a backslash"
        )
    return path


def record(now: Transaction, run_id: str, files: Sequence[tuple[str, str, int]], actor: str) -> None:
    """Record files of a run, as (path, digest, bytes); one of the same path is replaced. Their bytes are stored."""
    at = ms(utc_now())
    rows = [(run_id, require_path(path), digest, size, at) for path, digest, size in files]
    put = (
        "INSERT INTO run_files (run_id, path, digest, size, at_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT (run_id, path) "
        "DO UPDATE SET digest = excluded.digest, size = excluded.size, at_ms = excluded.at_ms"
    )
    now.link.exec_driver_sql(say(now.link, put), rows)
    body = {"files": [[path, digest, size] for path, digest, size in files], "at": at}
    now.say(f"run/{run_id}", FILES_EVENT, body, actor)


def listed(ws: Workspace, run_id: str, folder: str = "") -> list[File]:
    """What is directly in a folder of the run ("" for its root): files and folders, by name."""
    return within(under(ws, run_id, folder), folder)


def within(all_of_it: Sequence[File], folder: str = "") -> list[File]:
    """What of these files is directly in a folder: files and folders, by name."""
    start = f"{require_path(folder)}/" if folder else ""
    found: dict[str, File] = {}
    for file in (each for each in all_of_it if each.path.startswith(start)):
        name, inner, _ = file.path[len(start) :].partition("/")
        found[name] = File(start + name, "", 0, file.at_ms) if inner else file
    return [found[name] for name in sorted(found)]


def under(ws: Workspace, run_id: str, folder: str = "") -> list[File]:
    """All files below a folder of the run ("": all of the run's), by path."""
    statement = sa.select(run_files).where(run_files.c.run_id == run_id)
    if folder:
        start = f"{require_path(folder)}/"
        statement = statement.where(run_files.c.path >= start, run_files.c.path < f"{folder}0")  # "0" follows "/"
    with reading(ws) as link:
        rows = link.execute(statement.order_by(run_files.c.path))
        return [File(row.path, row.digest, row.size, row.at_ms) for row in rows]


def digests(ws: Workspace) -> set[str]:
    """The digests of all files of all runs."""
    if not isinstance(ws.graph, SqlGraph):
        return set()
    with reading(ws) as link:
        return set(link.execute(sa.select(run_files.c.digest).distinct()).scalars())


def left_over(ws: Workspace, older_than_s: float) -> list[Path]:
    """Uploads that a killed server left."""
    before = time.time() - older_than_s
    return [each for each in sorted((ws.root / UPLOADS).glob("*")) if each.stat().st_mtime <= before]


def get(ws: Workspace, run_id: str, path: str) -> File:
    """One file. Raises NotFound with the nearest."""
    statement = sa.select(run_files).where(run_files.c.run_id == run_id, run_files.c.path == require_path(path))
    with reading(ws) as link:
        row = link.execute(statement).first()
    if row is None:
        known = [file.path for file in under(ws, run_id)]
        raise NotFound(f"run {run_id} has no file {path!r}.{nearest(path, known)}")
    return File(row.path, row.digest, row.size, row.at_ms)


def delete(ws: Workspace, run_id: str, path: str) -> list[str]:
    """Take a file, or all below a folder, from the run; returns their paths. The bytes go with the next sweep."""

    def operation(now: Transaction) -> list[str]:
        inside = (run_files.c.path >= f"{path}/") & (run_files.c.path < f"{path}0")
        where = (run_files.c.run_id == run_id) & ((run_files.c.path == path) | inside)
        gone = list(now.link.execute(sa.select(run_files.c.path).where(where).order_by(run_files.c.path)).scalars())
        if gone:
            now.link.execute(run_files.delete().where(where))
            now.say(f"run/{run_id}", FILES_EVENT, {"removed": gone, "at": ms(utc_now())}, ws.settings.who)
        return gone

    require_path(path)
    return committer_of(ws).call(operation)
