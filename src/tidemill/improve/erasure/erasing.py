"""Erase a person from every version, statistic, log, blob, online store, prediction and label; all else stays.

First everything is found and noted in a file that only the owner reads (`erasures/`, removed at the end), since it
cannot be found again once a part is gone: an erasure that was killed goes on from the note when it is asked for again.
Then logs, online stores, files and tables lose the rows, blobs are written anew, records are amended (their events say
so), and old blobs are deleted. What models have learned from the rows stays in them: they are named, to be rebuilt.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tidemill.core import amending
from tidemill.core.delta import table_erasing
from tidemill.core.errors import BadInput
from tidemill.core.ids import canonical_json, digest, new_id
from tidemill.core.locks import locked
from tidemill.core.recording import recorded
from tidemill.core.stores.folder import FolderStore
from tidemill.core.types import Artifact, Query
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue import governance, policies
from tidemill.data.feature_store import online
from tidemill.data.filesets import files
from tidemill.improve.erasure import blob_erasing, doomed, log_erasing, record_erasing
from tidemill.improve.erasure.doomed import Progress
from tidemill.improve.erasure.log_erasing import Asked
from tidemill.improve.erasure.redacting import Texts
from tidemill.improve.erasure.taken import Doomed, Taken
from tidemill.improve.sweeping import sweep
from tidemill.train.rowids import row_keys
from tidemill.watch import log

SALT_BYTES = 32


@dataclass(frozen=True)
class Erasure:
    """What an erasure took, or would take. subject: a keyed hash; it names nobody.

    rows: different row ids, by dataset. versions: the dataset versions that lost rows. models, deployments: those that
    learned from the rows; answers: how many answers these models gave. predictions, truths: about the person, removed.
    tasks: of label queues. blobs: written anew or deleted. records: runs, artifacts and events amended. left: what
    still holds a text of the person and could not be changed, such as a model that learned it; empty is good.
    """

    subject: str
    rows: Mapping[str, int]
    versions: tuple[str, ...]
    models: tuple[str, ...]
    deployments: tuple[str, ...]
    answers: int
    predictions: int
    truths: int
    tasks: int
    files: int
    blobs: int = 0
    records: int = 0
    left: tuple[str, ...] = ()
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """As JSON, the format first."""
        return {"format": 1, **asdict(self)}


def erase(
    ws: Workspace,
    subject: str,
    *,
    columns: Mapping[str, Sequence[str]] | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Erasure:
    """Remove a person from everything, by what identifies them ("ada@example.org", a customer number as text).

    columns: dataset to the columns that name a person; by default those tagged "subject". A row that named them in any
    version goes from all, and so does a row of any dataset that holds the subject or the id of such a row (see
    doomed.find). dry_run: only say what would go. progress: called with the tables that are searched, then rewritten,
    and with all of them where that is known. Recorded as a run "data.erase" that names nobody. Writers of these
    datasets wait meanwhile; training and compaction of logs should not run. Raises Refused under a legal hold,
    BadInput where no dataset says which column names people, NotFound and UnknownColumn for wrong names.
    """
    ws = replace(ws, clock=None)
    if not subject.strip():
        raise BadInput("no subject to erase; give what identifies the person, such as an e-mail address")
    wanted = governance.subject_columns(ws) if columns is None else columns
    if not wanted:
        raise BadInput(
            "no dataset says which column names a person, so nobody can be found; tag one: "
            "`tidemill dataset tag-column DATASET COLUMN subject`, or give columns={'dataset': ['column']}"
        )
    doomed.require_datasets(ws, wanted)
    with _alone(ws, datasets.names(ws)):  # rows elsewhere may hang on theirs
        return _erase(
            ws, subject, lambda: doomed.find(ws, subject, wanted, progress), dry_run=dry_run, progress=progress
        )


def erase_rows(ws: Workspace, dataset: str, keys: Sequence[Any], *, dry_run: bool = False) -> Erasure:
    """Remove rows of a dataset by their keys from everything, as `erase` does: what retention asks for.

    What only these rows hold goes from reports, labels and logs too. Raises what `erase` raises.
    """
    ws = replace(ws, clock=None)
    doomed.require_datasets(ws, {dataset: ()})
    name = canonical_json([dataset, sorted({str(key) for key in keys})]).decode()
    with _alone(ws, [dataset]):
        return _erase(ws, name, lambda: doomed.find_rows(ws, dataset, keys), dry_run=dry_run)


@contextmanager
def _alone(ws: Workspace, names: Iterable[str]) -> Iterator[None]:
    """No other erasure, and no writer of these datasets or their quarantines."""
    locks = ws.root / "locks"
    with locked(locks / "erase.lock", what="erasure"), ExitStack() as held:
        for name in sorted(names):
            held.enter_context(datasets.writing(ws, name))
            quarantine = f"quarantine/{name}".encode()
            held.enter_context(locked(locks / f"{digest(quarantine)[:16]}.lock", what=f"the quarantine of {name!r}"))
        yield


def _erase(
    ws: Workspace, subject: str, find: Callable[[], Doomed], *, dry_run: bool, progress: Progress | None = None
) -> Erasure:
    name = keyed_hash(ws, subject)
    note = ws.root / "erasures" / f"{name[:32]}.json"
    known = json.loads(note.read_text()) if note.exists() else None
    found = find() if known is None else Doomed.of_json(known["doomed"])
    for dataset, taken in found.datasets.items():
        if taken.keys:
            policies.require_free(ws, dataset)
    texts = Texts(found.texts)
    if known is None:
        asked = log_erasing.find(ws, found, texts)
        tasks = record_erasing.tasks_of(ws, found, texts)
        erasure = _impact(ws, name, found, asked, tasks)
        known = {"doomed": found.to_json(), "erasure": asdict(erasure), "tasks": sorted(tasks)}
        known["asked"] = [[each.deployment, sorted(each.keys), list(each.ids)] for each in asked]
        if not dry_run:
            _write_private(note, json.dumps(known).encode())
    asked = [Asked(deployment, frozenset(keys), tuple(ids)) for deployment, keys, ids in known["asked"]]
    erasure = _of_json(known["erasure"])
    if dry_run:
        return replace(erasure, dry_run=True)
    inputs = [("erased from", _version(ws, label)) for label in erasure.versions]
    with recorded(ws, "data.erase", "subject", inputs=inputs, params={"subject": name}) as run:
        made = _remove(ws, found, texts, asked, note, known, run.run.id, progress)
        erasure = replace(erasure, blobs=len(made.digests), records=made.records, left=tuple(made.left))
        counts = {key: each for key, each in asdict(erasure).items() if isinstance(each, int)}
        run.result({**counts, "rows": sum(erasure.rows.values()), "left": len(made.left)})
    note.unlink()
    return erasure


@dataclass
class _Removed(blob_erasing.Rewritten):
    records: int = 0


def _remove(
    ws: Workspace,
    found: Doomed,
    texts: Texts,
    asked: Sequence[Asked],
    note: Path,
    known: dict[str, Any],
    run_id: str,
    progress: Progress | None,
) -> _Removed:
    """Everything goes, in an order that can be begun again at any point."""
    actor = ws.settings.who
    left = log_erasing.erase(ws, found, texts, asked)
    _forget_online(ws, found)
    files.forget(ws, [each for taken in found.datasets.values() for each in taken.files])
    theirs = [(taken, table) for taken in found.datasets.values() for table in taken.tables]
    for done, (taken, table) in enumerate(theirs):
        left |= table_erasing.erase(ws.tables, table, doomed.condition(taken, found.subject))
        if progress is not None:
            progress(done + 1, len(theirs))
    amending.record_tables(ws.graph, left, actor=actor)
    blobs = blob_erasing.rewrite(ws, found, texts)
    blobs.digests = {**known.get("digests", {}), **blobs.digests}  # also those whose old blobs a kill left
    _write_private(note, json.dumps({**known, "digests": blobs.digests}).encode())
    amending.record_blobs(ws.graph, blobs.digests, actor=actor)
    tables = [table for taken in found.datasets.values() for table in taken.tables]
    for each in asked:
        tables += [log.table_name(each.deployment), f"truth/{each.deployment}"]
    rewrite = record_erasing.rewriting(
        found,
        texts,
        contents=record_erasing.new_contents(ws, tables) | record_erasing.new_counts(ws, blobs.digests),
        digests=blobs.digests,
        tasks=set(known["tasks"]),
    )
    amended = ws.graph.amend(rewrite, reason=f"erasure, run {run_id}", actor=actor)
    for old in blobs.digests:
        ws.store.delete(old)
    if isinstance(ws.store, FolderStore):
        ws.store.sweep_drafts(older_than_s=60.0)
    sweep(ws)
    return _Removed(blobs.digests, blobs.left, len(amended))


def _of_json(value: Mapping[str, Any]) -> Erasure:
    made: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in value.items()}
    return Erasure(**made)


def keyed_hash(ws: Workspace, subject: str) -> str:
    """The name under which an erasure is recorded: the same for the same person here, and of no use elsewhere.

    HMAC-SHA-256 (RFC 2104) under keys/erasure.key, made at first use, mode 0600.
    """
    path = ws.root / "keys" / "erasure.key"
    if not path.exists():
        _write_private(path, secrets.token_bytes(SALT_BYTES))
    return hmac.new(path.read_bytes(), subject.encode(), "sha256").hexdigest()


def _impact(ws: Workspace, name: str, found: Doomed, asked: Sequence[Asked], tasks: set[str]) -> Erasure:
    models = [model for model in _all(ws, "model") if _learned_from(ws, found, model)]
    ids = {model.id for model in models}
    answers = sum(
        log.predictions(ws, each.deployment, columns=["id", "model_id"])["model_id"].is_in(list(ids)).sum()
        for each in asked
        if ids
    )
    return Erasure(
        subject=name,
        rows={dataset: len(taken.keys) for dataset, taken in found.datasets.items()},
        versions=tuple(_versions(ws, found)),
        models=tuple(model.label for model in models),
        deployments=tuple(each.label for each in _all(ws, "deployment") if each.meta["model"] in ids),
        answers=int(answers),
        predictions=sum(len(each.ids) for each in asked),
        truths=log_erasing.truths(ws, found, asked),
        tasks=len(tasks),
        files=sum(len(taken.files) for taken in found.datasets.values()),
    )


def _versions(ws: Workspace, found: Doomed) -> list[str]:
    """The dataset versions that hold rows of the person."""
    labels = []
    for dataset, taken in found.datasets.items():
        if not taken.keys:
            continue
        theirs = doomed.condition(taken, found.subject)
        for version in reversed(datasets.log(ws, dataset)):
            rows = datasets.scan(ws, version, verify=False)
            wanted = theirs(dict(rows.collect_schema()))
            if wanted is not None and rows.filter(wanted).head(1).collect().height:
                labels.append(version.artifact.label)
    return labels


def _learned_from(ws: Workspace, found: Doomed, model: Artifact) -> bool:
    """Whether the model was fitted on a row of the person, or on rows joined with one of their datasets."""
    rows = log_erasing.rows_of(ws, model.id)
    if rows is None:
        return False
    keys = blob_erasing.keys_of_rows(ws, found, rows)
    if keys:
        return not keys.isdisjoint(row_keys(ws, rows))
    read = ws.graph.trail(rows.id, "down").artifacts
    return any(each.kind == "dataset" and _has_rows(found, each.name) for each in read)


def _has_rows(found: Doomed, dataset: str) -> bool:
    return dataset in found.datasets and bool(found.datasets[dataset].keys)


def _all(ws: Workspace, kind: str) -> list[Artifact]:
    found = ws.graph.find(Query("artifact", kind=kind, limit=blob_erasing.ALL))
    return [each for each in reversed(found) if isinstance(each, Artifact)]


def _version(ws: Workspace, label: str) -> Artifact:
    name, _, version = label.partition("/")[2].rpartition("@")
    return datasets.get(ws, name, int(version)).artifact


def _forget_online(ws: Workspace, found: Doomed) -> None:
    """The person's entities in the online stores: by the columns that name people, and by the rows' ids."""
    people: dict[str, list[str]] = {}
    rows: dict[str, list[Any]] = {}
    for dataset, taken in found.datasets.items():
        for column in taken.subjects:
            people.setdefault(column, []).append(found.subject)
        rows[dataset] = _typed(ws, dataset, taken)
    online.forget(ws, people, rows=rows)


def _typed(ws: Workspace, dataset: str, taken: Taken) -> list[Any]:
    """The row ids as the dataset's newest key column has them: numbers where they are."""
    kind = datasets.log(ws, dataset)[0]
    is_number = "Int" in kind.columns[kind.key]
    return [int(key) if is_number and key.lstrip("-").isdigit() else key for key in taken.keys]


def _write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, for the owner's eyes only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{new_id()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(path)


def unfinished(ws: Workspace) -> int:
    """How many erasures were killed before they ended: ask for them again, by the same subject."""
    folder = ws.root / "erasures"
    return len(list(folder.glob("*.json"))) if folder.is_dir() else 0
