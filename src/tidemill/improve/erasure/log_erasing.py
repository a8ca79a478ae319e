"""A person out of the prediction logs: servers' segments, the tables made of them, the truth, servers' text logs.

An answer is about the person when its row key is one of theirs (of a row that the deployment's models are about, or the
subject itself), or when a feature holds the subject or a text that only their rows hold.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tidemill.core import segments
from tidemill.core.delta import table_erasing
from tidemill.core.errors import NotFound
from tidemill.core.types import Artifact, Pinned, Query
from tidemill.core.workspace import Workspace
from tidemill.improve.erasure.blob_erasing import keys_of_rows
from tidemill.improve.erasure.redacting import Texts
from tidemill.improve.erasure.taken import Doomed
from tidemill.track import own
from tidemill.watch import log, truth


@dataclass(frozen=True)
class Asked:
    """What of one deployment's log is about the person. keys: row keys that would be; ids: of the answers there are."""

    deployment: str
    keys: frozenset[str]
    ids: tuple[str, ...]


def find(ws: Workspace, doomed: Doomed, texts: Texts) -> list[Asked]:
    """The answers about the person in every deployment's log, compacted or not."""
    found = []
    for deployment in log.deployments(ws):
        keys = _keys(ws, doomed, deployment)
        is_about = _about(doomed, texts, keys)
        ids = {str(row["id"]) for row in _logged(ws, deployment, doomed, texts, keys) if is_about(row)}
        folder = log.segment_folder(ws, deployment)
        if folder.is_dir():
            ids |= {str(row["id"]) for _, payload in segments.read(folder) if is_about(row := json.loads(payload))}
        found.append(Asked(deployment, keys, tuple(sorted(ids))))
    return found


def erase(ws: Workspace, doomed: Doomed, texts: Texts, asked: Iterable[Asked]) -> dict[Pinned, Pinned]:
    """Remove them; returns what is found at each changed version of a log's or truth's table."""
    left: dict[Pinned, Pinned] = {}
    for each in asked:
        folder = log.segment_folder(ws, each.deployment)
        is_about = _about(doomed, texts, each.keys)
        ids = set(each.ids)
        segments.erase(folder, lambda payload, ids=ids, is_about=is_about: _is_doomed(payload, ids, is_about, texts))  # type: ignore[misc]  # bound for ruff's sake
        table = log.table_name(each.deployment)
        if ws.tables.exists(table):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with log.alone(folder):
                left |= table_erasing.erase(ws.tables, table, lambda _, ids=each.ids: pl.col("id").is_in(list(ids)))  # type: ignore[misc]
        table = f"{truth.KIND}/{each.deployment}"
        if ws.tables.exists(table):
            left |= table_erasing.erase(ws.tables, table, _of_truth(doomed, each))
    own.recover(ws)  # what dead processes left goes to the graph first
    for name in ("logs", own.FOLDER):
        _blank_logs(ws.root / name, texts)
    return left


def truths(ws: Workspace, doomed: Doomed, asked: Iterable[Asked]) -> int:
    """How many truths are about the person."""
    found = 0
    for each in asked:
        table = f"{truth.KIND}/{each.deployment}"
        if ws.tables.exists(table):
            rows = ws.tables.scan(ws.tables.latest(table), verify=False)
            found += int(rows.filter(_of_truth(doomed, each)({})).select(pl.len()).collect().item())
    return found


def _keys(ws: Workspace, doomed: Doomed, deployment: str) -> frozenset[str]:
    """The person's row ids among those that this deployment is asked about."""
    found = {doomed.subject} - {""}
    for revision in ws.graph.find(Query("artifact", kind="deployment", name=deployment, limit=100_000)):
        assert isinstance(revision, Artifact)
        rows = rows_of(ws, str(revision.meta["model"]))
        found |= frozenset() if rows is None else keys_of_rows(ws, doomed, rows)
    return frozenset(found)


def rows_of(ws: Workspace, model_id: str) -> Artifact | None:
    """The list of row ids that a model was fitted on."""
    try:
        model = ws.graph.get(model_id)
        rows = ws.graph.get(str(model.meta["rows"])) if isinstance(model, Artifact) and "rows" in model.meta else None
    except NotFound:
        return None
    return rows if isinstance(rows, Artifact) else None


def _logged(ws: Workspace, deployment: str, doomed: Doomed, texts: Texts, keys: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of the log's table that may be about the person, of any version."""
    table = log.table_name(deployment)
    if not ws.tables.exists(table):
        return []
    parts = sorted({form for text in texts.texts for form in (text, json.dumps(text, ensure_ascii=False)[1:-1])})
    wanted = pl.col("row_key").is_in(sorted(keys))
    if parts:
        wanted |= pl.col("features").str.contains_any(parts)
    for column in sorted({name for taken in doomed.datasets.values() for name in taken.subjects}):
        wanted |= pl.col("features").str.json_path_match(f"$['{column}']") == doomed.subject
    rows = []
    for frame in table_erasing.matching(ws.tables, table, lambda _: wanted):
        rows += frame.select("id", "row_key", "features").to_dicts()
    return [{**row, "features": json.loads(row["features"])} for row in rows]


def _about(doomed: Doomed, texts: Texts, keys: frozenset[str]) -> Callable[[Mapping[str, Any]], bool]:
    columns = {name for taken in doomed.datasets.values() for name in taken.subjects}

    def is_about(row: Mapping[str, Any]) -> bool:
        features = row["features"]
        if str(row["row_key"]) in keys or texts.out_of(str(row["row_key"])) != row["row_key"]:
            return True
        named = any(name in columns and str(value) == doomed.subject for name, value in features.items())
        return named or any(isinstance(each, str) and texts.out_of(each) != each for each in features.values())

    return is_about


def _is_doomed(payload: bytes, ids: set[str], is_about: Callable[[Mapping[str, Any]], bool], texts: Texts) -> bool:
    try:
        row = json.loads(payload)
        return row["id"] in ids or is_about(row)
    except (ValueError, KeyError, TypeError):  # the half of a record that a kill left
        return texts.within(payload.decode(errors="replace"))


def _of_truth(doomed: Doomed, asked: Asked) -> Callable[[Mapping[str, pl.DataType]], pl.Expr]:
    by_id = (pl.col("by") == "id") & pl.col("ref").is_in(list(asked.ids))
    by_key = (pl.col("by") == "row_key") & pl.col("ref").is_in(sorted({*asked.keys, *doomed.texts}))
    return lambda _: by_id | by_key


def _blank_logs(folder: Path, texts: Texts) -> None:
    """Asterisks in the place of the texts, as many: a server goes on appending to the file."""
    forms = sorted({form.encode() for text in texts.texts for form in (text, json.dumps(text)[1:-1])}, key=len)
    if not forms:
        return
    pattern = re.compile(b"|".join(re.escape(form) for form in reversed(forms)))
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if not path.is_file():
            continue
        places = [match.span() for match in pattern.finditer(path.read_bytes())]
        if places:
            file = os.open(path, os.O_WRONLY)
            try:
                for start, end in places:
                    os.pwrite(file, b"*" * (end - start), start)
                os.fsync(file)
            finally:
                os.close(file)
