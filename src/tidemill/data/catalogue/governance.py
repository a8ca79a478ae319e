"""Governance: who answers for a dataset, what may be done with it, and which columns hold personal data.

The facts of a dataset are the body of the last event of subject "governance/<dataset>", kind "set": each change writes
all of them, so the log says who knew what when. Tags: "pii:<kind>" (see catalogue.pii), "subject" (the column
identifies the person that a row is about: what an erasure and a pseudonym go by), or any word of yours.
`catalogue.tagging` follows them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidemill.core.errors import BadInput, Conflict, NotFound, require_columns
from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion, Event
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue.pii import Finding, find

FORMAT = 1
SUBJECT = "subject"
PII = "pii:"
CLASSES = ("public", "internal", "confidential", "restricted")
TAG = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}(:[a-z0-9][a-z0-9_-]{0,31})?")
TRIES = 20

Tags = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Governance:
    """What people said about a dataset. Empty text and None: nobody said anything.

    tags: of each column. rejected: tags that a person said a column does not have; rules don't suggest them again, and
    columns that they came from by lineage don't pass them on. seq: of the event that set it, 0 for none.
    """

    dataset: str
    owner: str | None = None
    steward: str | None = None
    description: str = ""
    licence: str = ""
    classification: str | None = None
    tags: Tags = field(default_factory=dict)
    rejected: Tags = field(default_factory=dict)
    seq: int = 0

    def body(self) -> dict[str, Any]:
        """As the body of an event, the format first."""
        return {
            "format": FORMAT,
            "owner": self.owner,
            "steward": self.steward,
            "description": self.description,
            "licence": self.licence,
            "classification": self.classification,
            "tags": {column: list(each) for column, each in sorted(self.tags.items()) if each},
            "rejected": {column: list(each) for column, each in sorted(self.rejected.items()) if each},
        }


def get(ws: Workspace, dataset: str) -> Governance:
    """What is known about the dataset; all empty where nobody said anything."""
    for event in ws.graph.events(f"governance/{dataset}", kind="set", last=1):
        return _of(dataset, event)
    return Governance(dataset)


def describe(
    ws: Workspace,
    dataset: str,
    *,
    owner: str | None = None,
    steward: str | None = None,
    description: str | None = None,
    licence: str | None = None,
    classification: str | None = None,
) -> Governance:
    """Set what is given and keep the rest. An empty text takes a fact back.

    classification: public, internal, confidential or restricted. Raises NotFound, BadInput.
    """
    datasets.get(ws, dataset)
    if classification and classification not in CLASSES:
        raise BadInput(f"classification {classification!r} is not known; allowed: {', '.join(CLASSES)}")
    given = {"owner": owner, "steward": steward, "description": description, "licence": licence}
    given |= {"classification": classification}
    said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    said |= {name: said[name] or None for name in ("owner", "steward", "classification") if name in said}
    return _change(ws, dataset, lambda known: replace(known, **said))


def tag(ws: Workspace, dataset: str, column: str, *tags: str) -> Governance:
    """Give a column tags: "pii:email", "subject", or a word of yours. What was rejected before is not any more."""
    _check_tags(tags)
    _check_column(ws, dataset, column)
    return _change(
        ws,
        dataset,
        lambda known: replace(
            known,
            tags=_plus(known.tags, column, tags),
            rejected=_minus(known.rejected, column, tags),
        ),
    )


def untag(ws: Workspace, dataset: str, column: str, *tags: str) -> Governance:
    """Take tags from a column (all, if none is named)."""
    _check_column(ws, dataset, column)
    return _change(
        ws,
        dataset,
        lambda known: replace(known, tags=_minus(known.tags, column, tags or known.tags.get(column, ()))),
    )


def reject(ws: Workspace, dataset: str, column: str, *tags: str) -> Governance:
    """Say that a column does not have these tags, whatever rules suggest or columns that it came from pass on."""
    _check_tags(tags)
    _check_column(ws, dataset, column)
    return _change(
        ws,
        dataset,
        lambda known: replace(
            known,
            tags=_minus(known.tags, column, tags),
            rejected=_plus(known.rejected, column, tags),
        ),
    )


def suggest(ws: Workspace, version: DatasetVersion) -> list[Finding]:
    """What rules find in that version (see catalogue.pii) and nobody has confirmed or rejected: questions for a person.

    Recorded as a run "data.find-pii" whose report keeps columns, kinds and shares; examples show only the shape.
    """
    known = get(ws, version.name)
    with recorded(ws, "data.find-pii", version.name, inputs=[("rows", version)]) as run:
        found = find(datasets.scan(ws, version, verify=False))
        run.emit_json(
            "report",
            f"pii/{version.name}",
            {"format": FORMAT, "findings": [each.as_json() for each in found]},
            meta={"what": "personal data", "dataset": version.id},
        )
        run.result({"findings": len(found)})
    said = {column: {*known.tags.get(column, ()), *known.rejected.get(column, ())} for column in version.columns}
    return [each for each in found if each.tag not in said[each.column]]


def confirm(ws: Workspace, finding: Finding, *, dataset: str) -> Governance:
    """A person says that the finding is right: the column gets its tag."""
    return tag(ws, dataset, finding.column, finding.tag)


def tags(ws: Workspace, dataset: str) -> dict[str, list[str]]:
    """The tags of each column that has some, as people gave them."""
    return {column: list(each) for column, each in get(ws, dataset).tags.items()}


def subject_columns(ws: Workspace) -> dict[str, list[str]]:
    """The columns that identify a person, of each dataset that has some."""
    newest: dict[str, Event] = {event.subject: event for event in ws.graph.events("governance/*", kind="set")}
    found = {}
    for subject, event in sorted(newest.items()):
        known = _of(subject.removeprefix("governance/"), event)
        columns = [column for column, each in known.tags.items() if SUBJECT in each]
        if columns:
            found[known.dataset] = columns
    return found


def is_personal(tags: Sequence[str]) -> bool:
    """Whether tags say that a column holds personal data."""
    return any(each == SUBJECT or each.startswith(PII) for each in tags)


def _of(dataset: str, event: Event) -> Governance:
    body = event.body
    return Governance(
        dataset=dataset,
        owner=body.get("owner"),
        steward=body.get("steward"),
        description=str(body.get("description") or ""),
        licence=str(body.get("licence") or ""),
        classification=body.get("classification"),
        tags={column: tuple(each) for column, each in dict(body.get("tags") or {}).items()},
        rejected={column: tuple(each) for column, each in dict(body.get("rejected") or {}).items()},
        seq=event.seq,
    )


def _change(ws: Workspace, dataset: str, change: Callable[[Governance], Governance]) -> Governance:
    """Read, change, write if nobody wrote in between; what changes nothing writes nothing."""
    for _ in range(TRIES):
        known = get(ws, dataset)
        wanted = change(known)
        if wanted.body() == known.body():
            return known
        try:
            event = ws.graph.record(
                f"governance/{dataset}", "set", wanted.body(), actor=ws.settings.who, expect=known.seq
            )
        except Conflict:
            continue
        return _of(dataset, event)
    raise Conflict(f"the facts of dataset {dataset!r} were changed by others {TRIES} times in a row; try again later")


def _plus(tags: Tags, column: str, more: Sequence[str]) -> Tags:
    return {**tags, column: tuple(dict.fromkeys([*tags.get(column, ()), *more]))}


def _minus(tags: Tags, column: str, gone: Sequence[str]) -> Tags:
    left = {**tags, column: tuple(each for each in tags.get(column, ()) if each not in gone)}
    return {name: each for name, each in left.items() if each}


def _check_tags(tags: Sequence[str]) -> None:
    if not tags:
        raise BadInput("no tag is given; give at least one, for example 'pii:email' or 'subject'")
    for each in tags:
        if not TAG.fullmatch(each):
            raise BadInput(
                f"tag {each!r} cannot be used; allowed: small letters, digits, '-' and '_', with at most one ':', "
                "for example 'pii:email'"
            )


def _check_column(ws: Workspace, dataset: str, column: str) -> None:
    """The column must be in some version: one that was renamed since still holds personal data in the old ones."""
    versions = datasets.log(ws, dataset)
    if not versions:
        raise NotFound(f"no dataset {dataset!r}; see `tidemill dataset list`")
    have = dict.fromkeys(name for version in versions for name in version.columns)
    require_columns([column], have, where=f"dataset {dataset!r}")
