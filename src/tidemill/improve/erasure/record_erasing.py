"""A person out of the graph's records: new digests of tables and blobs, label tasks, and what runs and events say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from tidemill.core.delta import table_erasing
from tidemill.core.ids import canonical_json
from tidemill.core.rowhash import as_text, rows_digest
from tidemill.core.types import Artifact, DatasetVersion, Pinned, Query
from tidemill.core.workspace import Workspace
from tidemill.data.versioning import layers
from tidemill.improve.erasure.blob_erasing import ALL, linked
from tidemill.improve.erasure.redacting import Texts, cleaned, everywhere
from tidemill.improve.erasure.taken import Doomed
from tidemill.train.rowids import row_keys

DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
ID = re.compile(r'"id":"([0-9a-f]{32})"')
TRACE = '{"trace":'  # how the graph hands out a trace, or some of its spans
Update = Mapping[str, Any]  # an artifact's new digest and meta


def new_contents(ws: Workspace, tables: Iterable[str]) -> dict[str, Update]:
    """The new digest, row count and pins of each artifact whose rows are in these tables, where they changed.

    What a table's commits say is what counts, so it is the same however often it is asked.
    """
    marks = {name: table_erasing.marks(ws.tables, name) for name in tables if ws.tables.exists(name)}
    found: dict[str, Update] = {}
    for artifact in ws.graph.find(Query("artifact", limit=ALL)):
        assert isinstance(artifact, Artifact)
        if "table_version" in artifact.meta:
            meta, digest = _amended(ws, artifact, marks)
            if (meta, digest) != (dict(artifact.meta), artifact.digest):
                found[artifact.id] = {"meta": meta, "digest": digest}
    return found


def new_counts(ws: Workspace, digests: Mapping[str, str | None]) -> dict[str, Update]:
    """The same of each list of row ids that was written anew."""
    found: dict[str, Update] = {}
    for artifact in ws.graph.find(Query("artifact", kind="rows", limit=ALL)):
        assert isinstance(artifact, Artifact)
        new = digests.get(artifact.digest)
        if new is not None:
            left = row_keys(ws, replace(artifact, digest=new))
            found[artifact.id] = {"meta": {"rows": len(left)}, "digest": new}
    return found


def tasks_of(ws: Workspace, doomed: Doomed, texts: Texts) -> set[str]:
    """The subjects of label tasks that are about the person.

    By row id where the queue's tasks came from a dataset of theirs, or from one that nobody named; by text in any.
    """
    keys: dict[str, frozenset[str]] = {}
    for artifact in ws.graph.find(Query("artifact", kind="tasks", limit=ALL)):
        assert isinstance(artifact, Artifact)
        keys[artifact.name] = keys.get(artifact.name, frozenset()) | linked(ws, doomed, artifact)[0]
    everywhere = frozenset(key for taken in doomed.datasets.values() for key in taken.keys)
    unnamed = {queue for queue in keys if not _sources(ws, queue)}
    found = set()
    for event in ws.graph.events("labels/*", kind="asked"):
        queue = event.subject.split("/")[1]
        mine = everywhere if queue in unnamed or queue not in keys else keys[queue]
        if str(event.body.get("key")) in mine or texts.within(canonical_json(dict(event.body)).decode()):
            found.add(event.subject)
    return found


def rewriting(
    doomed: Doomed,
    texts: Texts,
    *,
    contents: Mapping[str, Update],
    digests: Mapping[str, str | None],
    tasks: set[str],
) -> Callable[[str], str | None]:
    """What Graph.amend is given."""
    subject = Texts((doomed.subject,)) if doomed.subject in texts.texts else Texts(())

    def rewrite(text: str) -> str | None:
        moved = DIGEST.sub(lambda found: digests.get(found[0]) or found[0], text)
        if text.startswith("["):
            return _event(moved, doomed, texts, subject, tasks, text)
        if text.startswith(TRACE):
            return canonical_json(everywhere(json.loads(moved), texts)).decode() if texts.within(text) else moved
        found = ID.search(text)
        content = contents.get(found[1]) if found else None
        if content is None and moved == text and not texts.within(text):
            return None
        value = json.loads(moved)
        if content is not None:
            value |= {"meta": {**value["meta"], **content["meta"]}, "digest": content["digest"]}
        value["name"] = subject.out_of(value["name"])
        for part in ("params", "tags", "metrics", "error", "meta"):
            if part in value:
                value[part] = cleaned(value[part], texts)
        return canonical_json(value).decode()

    return rewrite


def _event(moved: str, doomed: Doomed, texts: Texts, subject: Texts, tasks: set[str], before: str) -> str | None:
    name = before[2 : before.index('"', 2)]
    about, _, rest = name.partition("/")
    if about in ("run", "artifact", "event") and '"files"' not in before and '"removed"' not in before:
        return None  # digests of records, which the graph tells anew
    taken = doomed.datasets.get(rest.partition("@")[0])
    if moved == before and name not in tasks and taken is None and not texts.within(before):
        return None
    told, actor, key, body = json.loads(moved)
    if about == "amended":  # it is found by the old digest
        told, _, key, _ = json.loads(before)
    if name in tasks:
        body = {"erased": True}
    else:
        keys = frozenset() if taken is None else frozenset(taken.keys)
        body = cleaned(body, texts, keys=keys, columns=() if taken is None else taken.key_columns)
    made = [subject.out_of(told), actor, None if key is None else subject.out_of(key), body]
    return canonical_json(made).decode()


def _amended(
    ws: Workspace, artifact: Artifact, marks: Mapping[str, Mapping[int, Pinned]]
) -> tuple[dict[str, Any], str]:
    meta = dict(artifact.meta)
    base = marks.get(str(meta["table"]), {}).get(int(meta["table_version"]))
    over = [_layer(each, marks) for each in meta.get("layers") or ()]
    if not over:
        return ({**meta, "rows": base.rows}, base.digest) if base is not None else (meta, artifact.digest)
    changed = {**meta, "layers": over}
    if base is not None:
        changed["base"] = {"rows": base.rows, "digest": base.digest}
    if changed == meta:
        return meta, artifact.digest
    version = DatasetVersion(replace(artifact, meta=changed))
    held = layers.content(version)
    rows = layers.scan(ws.tables, held, verify=False, order=held.ordered).collect()
    return {**changed, "rows": rows.height}, as_text(rows_digest(rows))


def _layer(layer: Mapping[str, Any], marks: Mapping[str, Mapping[int, Pinned]]) -> dict[str, Any]:
    pinned = marks.get(str(layer["table"]), {}).get(int(layer["version"]))
    return dict(layer) if pinned is None else {**layer, "rows": pinned.rows, "digest": pinned.digest}


def _sources(ws: Workspace, queue: str) -> list[str]:
    """The datasets that a queue's tasks came from."""
    names: set[str] = set()
    for artifact in ws.graph.find(Query("artifact", kind="tasks", name=queue, limit=ALL)):
        assert isinstance(artifact, Artifact)
        for edge in ws.graph.edges([str(artifact.run_id)]):
            if edge.role == "in":
                read = ws.graph.get(edge.artifact_id)
                names |= {read.name} if isinstance(read, Artifact) and read.kind == "dataset" else set()
    return sorted(names)
