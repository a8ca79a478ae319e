"""A person out of every blob: reports, profiles, lists of row ids, recipes, packages (signed anew), anything readable.

Each blob of the store is read, and written anew under its new digest where it changes. What refers to it is told by the
mapping of digests that this gives; the old blobs go when nothing refers to them any more.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tidemill.core import packindex, profile
from tidemill.core.errors import TidemillError
from tidemill.core.ids import canonical_json
from tidemill.core.types import Artifact, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.flow.values import KIND as VALUE
from tidemill.improve.erasure import value_erasing
from tidemill.improve.erasure.redacting import Texts, bins_without, cleaned
from tidemill.improve.erasure.taken import Doomed
from tidemill.improve.erasure.value_erasing import PARQUET
from tidemill.improve.sweeping import kept
from tidemill.serve import golden, packages
from tidemill.train.rowids import pack_keys, row_keys

ALL = 10_000_000
ENOUGH = 3  # columns that must agree before a golden row is taken for the person's, where it holds no text of theirs
SAMPLE = 50


@dataclass(frozen=True)
class Role:
    """What a blob is. keys: the person's row ids in the dataset that it is about; columns: that dataset's keys."""

    what: str
    keys: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    artifact: Artifact | None = None


@dataclass
class Rewritten:
    """digests: old blob to new one, None for one that goes. left: what holds the person and could not be changed."""

    digests: dict[str, str | None] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def rewrite(ws: Workspace, doomed: Doomed, texts: Texts) -> Rewritten:
    """Write anew every blob that holds something of the person. Nothing is deleted: the caller does, at the end."""
    roles, models = _roles(ws, doomed)
    made = Rewritten()
    packs, used = packindex.live(ws), kept(ws)
    in_packages = {digest for digest, role in roles.items() if role.what.startswith("package")}
    for blob in list(ws.store.list()):
        if blob.digest in packs or blob.digest in models:
            continue  # files go by digest, manifests when their parts are done
        data = ws.store.get(blob.digest)
        if blob.digest not in used:  # of a killed run, or of an erasure that was killed before it deleted it
            if _is_readable(data, texts):
                made.digests[blob.digest] = None
            continue
        role = roles.get(blob.digest)
        if role is not None and role.what == VALUE:
            assert role.artifact is not None
            if value_erasing.says(str(role.artifact.meta["format"]), data, texts):
                made.digests[blob.digest] = None
            continue
        try:
            new = _without(ws, data, role or Role("unknown"), doomed, texts)
        except (TidemillError, ValueError, KeyError, TypeError, AttributeError):
            new = _any_text(data, texts)  # not of the form that its record says
        if new is None and _is_readable(data, texts):
            what = "a part of a package" if blob.digest in in_packages else "a blob"
            made.left.append(f"{what}, {blob.digest[:12]} ({role.what if role else 'unknown'})")
        elif new is not None and new != data:
            made.digests[blob.digest] = ws.store.put(new)
    for digest in sorted(models):
        _package(ws, digest, texts, made)
    return made


def linked(ws: Workspace, doomed: Doomed, artifact: Artifact) -> tuple[frozenset[str], tuple[str, ...]]:
    """The person's row ids in the datasets that an artifact's run read, and the names of their keys."""
    if artifact.run_id is None:
        return frozenset(), ()
    names = {one.name for one in _inputs(ws, artifact.run_id) if one.kind == "dataset"}
    taken = [doomed.datasets[name] for name in sorted(names) if name in doomed.datasets]
    keys = frozenset(key for each in taken for key in each.keys)
    return keys, tuple(sorted({column for each in taken for column in each.key_columns}))


def keys_of_rows(ws: Workspace, doomed: Doomed, rows: Artifact) -> frozenset[str]:
    """The person's row ids among the kind of ids that a fit's list of rows has; none where it is of other datasets."""
    if rows.run_id is None:
        return frozenset()
    column = str(rows.meta.get("key", ""))
    read = {one.name for one in _inputs(ws, rows.run_id) if one.kind == "dataset"}
    mine = [name for name in sorted(read & doomed.datasets.keys()) if column in doomed.datasets[name].key_columns]
    if len(mine) > 1 or (mine and len(read) > 1):
        listed = row_keys(ws, rows)[:SAMPLE]
        mine = [name for name in mine if _holds_most(ws, name, column, listed, doomed.datasets[name].keys)]
    return frozenset(key for name in mine for key in doomed.datasets[name].keys)


def _inputs(ws: Workspace, run_id: str) -> list[Artifact]:
    ids = [edge.artifact_id for edge in ws.graph.edges([run_id]) if edge.role == "in"]
    return [one for one in map(ws.graph.get, dict.fromkeys(ids)) if isinstance(one, Artifact)]


def _holds_most(ws: Workspace, name: str, column: str, listed: Sequence[str], known: Sequence[str]) -> bool:
    held = set(known)
    for version in datasets.log(ws, name):
        if column in version.columns:
            rows = datasets.scan(ws, version, columns=[column], verify=False)
            wanted = rows.filter(pl.col(column).cast(pl.String).is_in(list(listed)))
            held |= set(wanted.collect()[column].cast(pl.String).to_list())
            if sum(key in held for key in listed) * 2 >= len(listed):
                return True
    return False


def _roles(ws: Workspace, doomed: Doomed) -> tuple[dict[str, Role], set[str]]:
    """What each blob that something refers to is, and the packages' manifests."""
    roles: dict[str, Role] = {}
    for run in ws.graph.find(Query("run", limit=ALL)):
        assert isinstance(run, Run)
        for what, digest in (("code", run.code), ("environment", run.environment)):
            if digest is not None:
                roles.setdefault(digest, Role(what))
    models: set[str] = set()
    for artifact in ws.graph.find(Query("artifact", limit=ALL)):
        assert isinstance(artifact, Artifact)
        if artifact.kind == "model" and "package" in artifact.meta:
            models.add(artifact.digest)
        elif artifact.kind != "dataset":
            keys, columns = linked(ws, doomed, artifact)
            roles[artifact.digest] = Role(artifact.kind, keys, columns, artifact)
    for digest in list(models):
        if not ws.store.has(digest):
            models.discard(digest)
            continue
        for part, each in packages.read_manifest(ws, digest)["blobs"].items():
            roles.setdefault(each, Role(f"package {part}"))
    return roles, models


def _without(ws: Workspace, data: bytes, role: Role, doomed: Doomed, texts: Texts) -> bytes | None:
    """The blob without the person; None where nothing of them is found in a way that can be taken out."""
    match role.what:
        case "rows":
            assert role.artifact is not None
            gone = keys_of_rows(ws, doomed, role.artifact)
            left = [key for key in row_keys(ws, role.artifact) if key not in gone and texts.out_of(key) == key]
            return pack_keys(left)
        case "profile":
            return _profile(data, doomed, texts)
        case "profile-report":
            return canonical_json({"erased": True}) if role.keys or texts.within(_as_text(data)) else None
        case "package golden":
            return _golden(data, doomed, texts)
        case "package model":
            return None  # what a model has learned is named in the report, not changed
        case "report" | "tasks" | "labels" | "value" | "package recipe" | "package schema" | "recipe":
            value = json.loads(data)
            found = cleaned(value, texts, keys=role.keys, columns=role.columns)
            if found == value:
                return None
            return canonical_json(found) if not role.what.startswith("package") else packages.as_json(found)
        case _ if data[:4] == PARQUET:
            return value_erasing.table_without(data, texts)
        case _:
            return _any_text(data, texts)


def _profile(data: bytes, doomed: Doomed, texts: Texts) -> bytes | None:
    value = json.loads(data)
    bins, counts = profile.bins_from_json(value["bins"]), profile.counts_from_json(value["counts"])
    numbers: dict[str, set[float]] = {}
    for taken in doomed.datasets.values():
        for name in bins:
            for column, values in taken.numbers.items():
                if _same_column(name, column):
                    numbers.setdefault(name, set()).update(values)
    left, tally = bins_without(bins, counts, texts, numbers)
    if left == bins:
        return None
    made = {**value, "bins": profile.bins_to_json(left), "counts": profile.counts_to_json(tally)}
    return canonical_json(made)


def _golden(data: bytes, doomed: Doomed, texts: Texts) -> bytes | None:
    value = json.loads(data)
    rows, features, scores = golden.of_json(value)
    gone = _theirs(rows, doomed, texts)
    if not gone:
        return None
    stays = [place for place in range(len(rows)) if place not in gone]
    some = [rows[place] for place in stays]
    return packages.as_json(golden.as_json(some, features[np.array(stays, dtype=np.int64)], scores[stays]))


def _theirs(rows: Sequence[Mapping[str, Any]], doomed: Doomed, texts: Texts) -> set[int]:
    """Which raw input rows are the person's: they hold a text of theirs, or share all columns with theirs."""
    found = {
        place
        for place, row in enumerate(rows)
        if any(isinstance(value, str) and texts.out_of(value) != value for value in row.values())
    }
    names = list(rows[0]) if rows else []
    for taken in doomed.datasets.values():
        known = {column for one in taken.rows for column in one}
        shared = [(name, column) for name in names for column in sorted(known) if _same_column(name, column)]
        if len(shared) >= min(ENOUGH, len(names)):
            ours = {tuple(_plain(one.get(column)) for _, column in shared) for one in taken.rows}
            found |= {
                place for place, row in enumerate(rows) if tuple(_plain(row.get(name)) for name, _ in shared) in ours
            }
    return found


def _same_column(name: str, column: str) -> bool:
    """Whether a feature's raw column comes from a dataset's column, maybe under a join's prefix."""
    return name == column or name.endswith(f"_{column}")


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) else value


def _package(ws: Workspace, digest: str, texts: Texts, made: Rewritten) -> None:
    """The manifest with the new digests of its parts, signed anew."""
    manifest = packages.read_manifest(ws, digest)
    parts = {part: made.digests.get(each) or each for part, each in manifest["blobs"].items()}
    environment = made.digests.get(manifest["environment"]) or manifest["environment"]
    meta = cleaned(manifest["meta"], texts)
    changed = {**manifest, "blobs": parts, "environment": environment, "meta": meta}
    if changed == dict(manifest):
        return
    made.digests[digest] = packages.seal(ws, changed)
    packages.load(ws, str(made.digests[digest]))


def _any_text(data: bytes, texts: Texts) -> bytes | None:
    """Text, packed or not, without the person; None for what is no text, or holds nothing of them."""
    packed = data[:2] == b"\x1f\x8b"
    text = _as_text(data)
    if not texts.within(text):
        return None
    new = texts.out_of_json(text).encode()
    return gzip.compress(new, mtime=0) if packed else new


def _as_text(data: bytes) -> str:
    """A blob as text, unpacked; empty for what is none."""
    try:
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (UnicodeDecodeError, OSError, EOFError):
        return ""


def _is_readable(data: bytes, texts: Texts) -> bool:
    """Whether a text of the person can be read in a blob that was not changed."""
    return any(texts.within(part) for part in readable(data))


def readable(data: bytes) -> Iterator[str]:
    """What of a blob people can read: all of it as Latin letters, and unpacked."""
    yield data.decode("utf-8", errors="replace")
    text = _as_text(data)
    if text:
        yield text
