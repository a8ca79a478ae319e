"""Writing a dataset: hold it, begin at the head of a branch, record what was written as the next version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import polars as pl

from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.locks import exclusive
from tidemill.core.recording import Recorder
from tidemill.core.types import DatasetVersion, Pinned
from tidemill.core.workspace import Workspace
from tidemill.data.versioning import layers
from tidemill.data.versioning.layers import Content
from tidemill.data.versioning.versions import KIND, MAIN, branch_starts, get, head, newest

# Sees rows as a write would leave them, and raises to stop it.
Judge = Callable[[pl.DataFrame], None]
Step = Literal["append", "replace", "update", "columns", "delete", "revert", "merge"]


@contextmanager
def writing(ws: Workspace, name: str) -> Iterator[None]:
    """Hold the dataset for a write: others wait. Raises BadInput for a name that no table can have, Busy."""
    table = f"datasets/{name}"
    ws.tables.uri(table)  # a bad name stops here
    if ("/" in name or name.startswith("_") or name.endswith(".json")) and newest(ws, name) is None:
        raise BadInput(
            f"{name!r} is no name for a dataset, whose page could not be asked for; allowed are letters, digits, '.', "
            "'_', '-', neither beginning with '_' nor ending in '.json'"
        )
    with exclusive(ws, table, what=f"dataset {name!r}"):
        yield


def required(ws: Workspace, name: str, branch: str = MAIN) -> DatasetVersion:
    """The head of the branch, whatever the clock; NotFound names the nearest dataset or branch."""
    found = begin(ws, name, branch)
    return get(ws, name) if found is None else found


def plain(ws: Workspace, before: DatasetVersion) -> Pinned:
    """The base table at a version that holds all the rows of `before`: what a streamed append takes as its parent.

    Layers are merged into the base first. BadInput for an ordered dataset: its rows are appended by `add`.
    """
    held = layers.content(before)
    if held.ordered:
        raise BadInput(f"dataset {before.name!r} keeps its rows in order; append rows to it from memory, with add")
    return layers.merged(ws.tables, held).base


def record(
    run: Recorder,
    name: str,
    made: Content,
    *,
    step: Step,
    branch: str = MAIN,
    event_time: str | None = None,
    known_time: str | None = None,
    parent: DatasetVersion | None = None,
    added: int,
    first_known: str | None = None,
    message: str = "",
    more: Mapping[str, Any] | None = None,
) -> DatasetVersion:
    """Record content that is written already as the branch's next version, made by this run, and end the run with it.

    added: rows that this version has and its parent hasn't. more: further facts of the version's record.
    """
    meta: dict[str, Any] = {
        "table": made.base.table,
        "table_version": made.base.version,
        "rows": made.rows,
        "columns": {column: str(kind) for column, kind in layers.schema(run.ws.tables, made).items()},
        "key": made.key,
        "event_time": event_time,
        "known_time": known_time,
        "parent": None if parent is None else parent.id,
        "message": message,
        "added": added,
        "first_known": first_known,
        "step": step,
        **({} if branch == MAIN else {"branch": branch}),
        **made.meta(),
        **(more or {}),
    }
    run.result({"rows": made.rows, "added": added})
    return DatasetVersion(run.emit(KIND, name, digest=made.digest, meta=meta, last=True))


def begin(ws: Workspace, name: str, branch: str) -> DatasetVersion | None:
    """Where the next version of the branch begins; None only for a dataset that is not there yet."""
    found = head(ws, name, branch)
    if found is None and branch != MAIN:
        get(ws, name)
        known = sorted({MAIN, *branch_starts(ws, name)})
        raise NotFound(
            f"dataset {name!r} has no branch {branch!r}; it has {', '.join(known)}.{nearest(branch, known)} "
            "Make it with branch first"
        )
    return found


def next_number(ws: Workspace, name: str) -> int:
    """The number that the dataset's next version gets."""
    last = newest(ws, name)
    return 1 if last is None else last.version + 1
