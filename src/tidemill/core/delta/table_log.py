"""The commits of a Delta table as they lie in `_delta_log`: read for erasure and the sweep, which must know every file.

Source: the Delta transaction protocol, "Delta Log Entries" and "Actions". Tables with partitions, deletion vectors,
change data, clones or a log whose beginning was removed are refused: no table of ours has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tidemill.core.delta.table_marks import DIGEST, ROWS, VERSION
from tidemill.core.delta.table_place import Place
from tidemill.core.errors import BadInput, Corrupt
from tidemill.core.types import Pinned

LOG = "_delta_log/"
COMMIT = re.compile(r"_delta_log/(\d{20})\.json")
CHECKPOINT = re.compile(r"_delta_log/(\d{20})\.checkpoint(\.[^/]*)?\.parquet")
Action = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: its version and its actions in their order."""

    version: int
    actions: tuple[Action, ...]

    @property
    def file(self) -> str:
        """Its name below the table."""
        return f"{LOG}{self.version:020d}.json"

    @property
    def info(self) -> Mapping[str, Any]:
        """The commit's own words, empty where it has none."""
        return next((action["commitInfo"] for action in self.actions if "commitInfo" in action), {})

    def data(self) -> bytes:
        """As the file holds it."""
        return b"\n".join(json.dumps(action, separators=(",", ":")).encode() for action in self.actions)


@dataclass(frozen=True, slots=True)
class Log:
    """All commits of a table, and the other files below it."""

    table: str
    commits: tuple[Commit, ...]
    data: frozenset[str]  # data files that some commit adds
    orphans: frozenset[str]  # data files that no commit knows
    checkpoints: Mapping[str, int]  # file: version
    leftovers: frozenset[str]  # in the log's folder: drafts, checksums and other copies of what commits say

    def versions(self) -> Iterator[tuple[Commit, frozenset[str], tuple[str, ...]]]:
        """(commit, data files, column names) of each version."""
        live: set[str] = set()
        columns: tuple[str, ...] = ()
        for commit in self.commits:
            for action in commit.actions:
                if "metaData" in action:
                    fields = json.loads(action["metaData"]["schemaString"])["fields"]
                    columns = tuple(str(field["name"]) for field in fields)
                live -= {path_of(action["remove"])} if "remove" in action else set()
            live |= {path_of(action["add"]) for action in commit.actions if "add" in action}
            yield commit, frozenset(live), columns

    def marks(self) -> dict[int, Pinned]:
        """What must be found at each version, of those whose commit says so."""
        found = {}
        for commit in self.commits:
            info = commit.info
            if info.get(VERSION) == str(commit.version):
                digest = f"{int(info[DIGEST], 16):032x}"
                found[commit.version] = Pinned(self.table, commit.version, int(info[ROWS]), digest)
        return found


def read(place: Place, table: str) -> Log:
    """The log of the table at that place. Raises BadInput for a kind of table that is not ours, Corrupt."""
    names = [entry.name for entry in place.entries()]
    commits = []
    for name in sorted(name for name in names if COMMIT.fullmatch(name)):
        version = int(name[len(LOG) : len(LOG) + 20])
        try:
            actions = tuple(json.loads(line) for line in place.read(name).splitlines() if line.strip())
        except ValueError as error:
            raise Corrupt(f"table {table}: {name} cannot be read ({error}); restore it from a backup") from error
        for action in actions:
            _refuse(action, table)
        commits.append(Commit(version, actions))
    if [commit.version for commit in commits] != list(range(len(commits))) or not commits:
        raise BadInput(f"table {table} lacks the beginning of its log; copy its rows into a new dataset first")
    known = {path_of(action["add"]) for commit in commits for action in commit.actions if "add" in action}
    files = {name for name in names if name.endswith(".parquet") and not name.startswith(LOG)}
    checkpoints = {name: int(found[1]) for name in names if (found := CHECKPOINT.fullmatch(name))}
    inside = {name for name in names if name.startswith(LOG)}
    return Log(
        table,
        tuple(commits),
        frozenset(known & files),
        frozenset(files - known),
        checkpoints,
        frozenset(inside - checkpoints.keys() - {commit.file for commit in commits}),
    )


def path_of(action: Mapping[str, Any]) -> str:
    """The file that an add or remove names: its path is written as a URL's."""
    return unquote(str(action["path"]))


def _refuse(action: Action, table: str) -> None:
    what = ""
    if "cdc" in action:
        what = "change data"
    elif "sidecar" in action or "domainMetadata" in action:
        what = "actions of a newer kind"
    elif "metaData" in action and action["metaData"].get("partitionColumns"):
        what = "partitions"
    for kind in ("add", "remove"):
        if kind in action and action[kind].get("deletionVector"):
            what = "deletion vectors"
        elif kind in action and ("://" in action[kind]["path"] or action[kind]["path"].startswith("/")):
            what = "files of another table"
    if what:
        raise BadInput(
            f"table {table} has {what}, which erasure cannot rewrite; copy its rows into a new dataset first"
        )
