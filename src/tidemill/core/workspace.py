"""The workspace: the one place where graph, store, tables and settings meet; what every phase function takes first.

A workspace is a folder; its `tidemill.json` holds the format version first. `tm.open("departures.mill")` keeps all of
it in that folder; `tm.open("postgresql://...", store="s3://...")` keeps the graph and the bytes elsewhere and only
spools, keys and logs here.

    departures.mill/
      tidemill.json     {"format": 1, "id": ...}
      graph.db          runs, artifacts, events        objects/      bytes by digest
      tables/           Delta tables                   predictions/  the prediction logs, one folder a deployment
      keys/             signing keys, mode 0600        logs/         of server processes
      locks/            between processes
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from tidemill.core import amending, extend
from tidemill.core.errors import BadInput, NoRoom, NotFound, WrongFormat
from tidemill.core.graph import Graph
from tidemill.core.ids import digest, new_id, utc_now
from tidemill.core.settings import Settings
from tidemill.core.store import Store
from tidemill.core.tables import Tables

FORMAT = 1
MARKER = "tidemill.json"
DRAFT = f".{MARKER}."


@dataclass(frozen=True, slots=True)
class Workspace:
    """A graph, a store, tables and settings. `clock`: the time at which this view stands, None for now."""

    url: str
    root: Path
    graph: Graph
    store: Store
    tables: Tables
    settings: Settings
    clock: datetime | None = None

    @property
    def now(self) -> datetime:
        """The view's time: simulated where one is set, else the real time, UTC."""
        return self.clock or utc_now()

    def at(self, time: datetime) -> Workspace:
        """The same workspace as it could be known at `time`: datasets show only rows whose known time is not later."""
        if time.tzinfo is None:
            raise BadInput(f"time {time} has no zone; give one, for example datetime({time.year}, ..., tzinfo=UTC)")
        return replace(self, clock=time)

    def close(self) -> None:
        """Let go of connections."""
        self.graph.close()


def open_workspace(
    url: str | os.PathLike[str], *, store: str | None = None, settings: Settings | None = None, create: bool = True
) -> Workspace:
    """Open a workspace, making it where there is none (`create=False` raises NotFound instead).

    url: a folder, or postgresql://user@host/name. store: a folder, memory:// or s3://bucket/prefix; default: beside the
    graph. Raises WrongFormat for a workspace of a newer format, BadInput for a path that is no workspace.
    """
    settings = settings or Settings.load()
    text = os.fspath(url)
    remote = text.startswith(("postgresql://", "postgres://"))
    if remote:
        root = Path(settings.state_folder).expanduser() / digest(text.encode())[:16]
        graph_url = text
    else:
        if "://" in text:
            raise BadInput(f"cannot open {text!r}; allowed: a folder, or postgresql://user@host/name")
        root = Path(text).expanduser().resolve()
        graph_url = str(root / "graph.db")
    _mark(root, create=create, remote=remote)
    bytes_at = store or settings.store or str(root / "objects")
    graph: Graph = extend.load("graph", "postgresql" if remote else "sqlite")(graph_url)
    blobs: Store = extend.load("store", _store_name(bytes_at))(bytes_at)
    tables = Tables(
        settings.tables or (bytes_at.rstrip("/") + "-tables" if "://" in bytes_at else str(root / "tables"))
    )
    tables.amended = partial(amending.table, graph)
    return Workspace(text, root, graph, blobs, tables, settings)


def _store_name(url: str) -> str:
    scheme, found, _ = url.partition("://")
    return scheme if found else "file"


def _mark(root: Path, *, create: bool, remote: bool) -> None:
    marker = root / MARKER
    if marker.exists():
        _check_format(marker)
        return
    if root.is_file():
        raise BadInput(f"{root} is a file; a workspace is a folder, for example {root.stem}.mill")
    if root.is_dir() and not remote and any(not each.name.startswith(DRAFT) for each in root.iterdir()):
        if marker.exists():  # another process has made it since
            _check_format(marker)
            return
        raise BadInput(
            f"folder {root} is not empty and holds no {MARKER}; name a new folder, or one that tidemill made"
        )
    if not create and not remote:
        raise NotFound(
            f"no workspace at {root}; make one with tm.open({str(root)!r}), `tidemill init` or `tidemill demo`"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        draft = root / f"{DRAFT}{new_id()}"
        draft.write_text(json.dumps({"format": FORMAT, "id": new_id()}) + "\n")
        with suppress(FileExistsError):  # of processes that make it at once, one names it
            os.link(draft, marker)
        draft.unlink()
    except NotADirectoryError as error:
        raise BadInput(f"{root} is below a file; a workspace is a folder within folders") from error
    except OSError as error:
        raise NoRoom(
            f"cannot make a workspace at {root}: {error.strerror}; choose a folder that can be written"
        ) from error


def _check_format(marker: Path) -> None:
    try:
        head: Mapping[str, Any] = json.loads(marker.read_text())
        found = int(head["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise WrongFormat(f"{marker} does not say which format it has; restore it from a backup") from error
    if found > FORMAT:
        raise WrongFormat(
            f"{marker.parent} has workspace format {found}, this tidemill reads up to {FORMAT}: pip install -U tidemill"
        )
