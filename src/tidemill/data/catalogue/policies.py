"""Policies: what a dataset may be used for and on which legal basis, how long rows are kept, and what a court holds.

The policy of a dataset is the body of the last event of subject "policy/<dataset>", kind "set". Legal holds are events
of subject "hold/<dataset>": a dataset is held while any case is open. Legality goes by the real time, not by a view's
clock; rows age by the view's clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

from tidemill.core.errors import BadInput, Conflict, NotFound, Refused, nearest
from tidemill.core.ids import iso, parse_time, utc_now
from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion, Event
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue.upstream import upstream
from tidemill.data.versioning import branches

FORMAT = 1
TRIES = 20
# Regulation (EU) 2016/679, article 6 (1) a to f; and data that is about no person at all.
BASES = (
    "consent",
    "contract",
    "legal_obligation",
    "vital_interests",
    "public_task",
    "legitimate_interests",
    "not_personal",
)
PURPOSE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Permit:
    """A purpose that a dataset may be used for: its legal basis, and until when (None: until it is taken back)."""

    dataset: str
    purpose: str
    basis: str
    until: datetime | None = None

    @property
    def text(self) -> str:
        """As people read it."""
        return f"{self.purpose} ({self.basis}{f', until {self.until:%Y-%m-%d}' if self.until else ''})"

    def as_json(self) -> dict[str, Any]:
        """As a JSON object."""
        until = None if self.until is None else iso(self.until)
        return {"dataset": self.dataset, "purpose": self.purpose, "basis": self.basis, "until": until}


@dataclass(frozen=True, slots=True)
class Policy:
    """What was decided for a dataset. limited: only the permits' purposes are allowed. keep_for None: for ever."""

    dataset: str
    permits: Mapping[str, Permit] = field(default_factory=dict)
    limited: bool = False
    keep_for: timedelta | None = None
    seq: int = 0

    def body(self) -> dict[str, Any]:
        """As the body of an event, the format first."""
        return {
            "format": FORMAT,
            "limited": self.limited,
            "purposes": {
                name: {"basis": each.basis, "until": each.as_json()["until"]}
                for name, each in sorted(self.permits.items())
            },
            "keep_for_s": None if self.keep_for is None else self.keep_for.total_seconds(),
        }


class NotPermitted(Refused):
    """The purpose, or none, is not among those that a policy allows."""


@dataclass(frozen=True, slots=True)
class Due:
    """Rows that are kept for longer than the policy says.

    rows: different ones in the heads of branches, with an event time before `before`. older_versions: how many other
    versions hold such rows. held: the cases that forbid to remove them.
    """

    dataset: str
    rows: int
    older_versions: int
    before: datetime
    held: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done about rows that were due. older_versions: those that still hold some of them."""

    dataset: str
    rows: int
    how: Literal["deleted", "erased", "held"]
    older_versions: int


Erase = Callable[[Workspace, str, list[Any]], object]  # Any: values of the key column


# ------------------------------------------------------------------------------------------------------- purposes


def get(ws: Workspace, dataset: str) -> Policy:
    """The dataset's policy; an empty one where nothing was decided."""
    for event in ws.graph.events(f"policy/{dataset}", kind="set", last=1):
        return _of(dataset, event)
    return Policy(dataset)


def allow(ws: Workspace, dataset: str, purpose: str, basis: str, *, until: datetime | None = None) -> Policy:
    """Allow a purpose on a legal basis. From the first one on, what is not allowed is refused (see `allow_any`).

    purpose: a word, "churn-model". basis: see BASES. until: the last moment, with its zone.
    """
    datasets.get(ws, dataset)
    if not PURPOSE.fullmatch(purpose):
        raise BadInput(f"purpose {purpose!r} cannot be used; allowed: small letters, digits, '-', '_' and '.'")
    if basis not in BASES:
        raise BadInput(f"legal basis {basis!r} is not known; allowed: {', '.join(BASES)}.{nearest(basis, BASES)}")
    if until is not None:
        iso(until)
    permit = Permit(dataset, purpose, basis, until)
    return _change(ws, dataset, lambda known: replace(known, limited=True, permits={**known.permits, purpose: permit}))


def disallow(ws: Workspace, dataset: str, purpose: str) -> Policy:
    """Take a purpose back. A dataset whose last purpose was taken back may be used for none."""
    known = get(ws, dataset)
    if purpose not in known.permits:
        raise NotFound(
            f"purpose {purpose!r} is not allowed for dataset {dataset!r} anyway; {_allowed(known)}"
            f"{nearest(purpose, known.permits)}"
        )
    return _change(
        ws,
        dataset,
        lambda was: replace(was, permits={name: each for name, each in was.permits.items() if name != purpose}),
    )


def allow_any(ws: Workspace, dataset: str) -> Policy:
    """Forget the permits: any purpose is allowed again."""
    return _change(ws, dataset, lambda known: replace(known, limited=False, permits={}))


def limited(ws: Workspace, version: DatasetVersion) -> bool:
    """Whether a purpose must be named to use the version: by a policy of its dataset or of one that it came from."""
    known = {event.subject.removeprefix("policy/"): event for event in ws.graph.events("policy/*", kind="set")}
    if not known:
        return False
    return any(_of(name, known[name]).limited for name in upstream(ws, version.artifact).datasets & set(known))


def require(ws: Workspace, versions: DatasetVersion | Iterable[DatasetVersion], purpose: str | None) -> list[Permit]:
    """The permits under which these versions may be used for the purpose, one a dataset that has a policy.

    Data that was derived keeps the limits of what it came from: each dataset that a version came from is asked too.
    Raises Refused, naming what is allowed; the refusal is recorded as an event "refused" of "read/<dataset>".
    """
    limited = {event.subject.removeprefix("policy/"): event for event in ws.graph.events("policy/*", kind="set")}
    if not limited:
        return []
    permits: dict[str, Permit] = {}
    for version in [versions] if isinstance(versions, DatasetVersion) else versions:
        for name in upstream(ws, version.artifact).datasets & set(limited):
            known = _of(name, limited[name])
            if known.limited and name not in permits:
                permits[name] = _permitted(ws, known, purpose, version)
    return [permits[name] for name in sorted(permits)]


def _permitted(ws: Workspace, policy: Policy, purpose: str | None, version: DatasetVersion) -> Permit:
    permit = policy.permits.get(purpose or "")
    if permit is not None and (permit.until is None or permit.until >= utc_now()):
        return permit
    body = {"purpose": purpose, "version": version.version, "id": version.id}
    ws.graph.record(f"read/{version.name}", "refused", body, actor=ws.settings.who)
    where = f"dataset {policy.dataset!r}"
    if version.name != policy.dataset:
        where = f"{where}, which {version.artifact.label} came from,"
    if purpose is None:
        raise NotPermitted(
            f"{where} may be used for named purposes only; say which with purpose= (--purpose). {_allowed(policy)}"
        )
    expired = "" if permit is None else f" since {permit.until:%Y-%m-%d}, when its permit ended"
    raise NotPermitted(
        f"{where} may not be used for {purpose!r}{expired}. {_allowed(policy)}{nearest(purpose, policy.permits)} "
        f"Its owner can allow it: tidemill dataset allow {policy.dataset} {purpose} --basis consent"
    )


def _allowed(policy: Policy) -> str:
    if not policy.permits:
        return "No purpose is allowed." if policy.limited else "Any purpose is allowed."
    return f"Allowed: {', '.join(each.text for _, each in sorted(policy.permits.items()))}."


# ------------------------------------------------------------------------------------------------------- retention


def keep_for(ws: Workspace, dataset: str, period: timedelta | None) -> Policy:
    """Keep rows for so long after their event time; None keeps them for ever. Raises BadInput without an event time."""
    version = datasets.get(ws, dataset)
    if period is not None and period <= timedelta(0):
        raise BadInput(f"rows cannot be kept for {period}; give a period such as timedelta(days=365)")
    if period is not None and version.event_time is None:
        raise BadInput(f"dataset {dataset!r} has no event time to count from; add it with event_time= first")
    return _change(ws, dataset, lambda known: replace(known, keep_for=period))


def due(ws: Workspace, name: str | None = None) -> list[Due]:
    """The datasets (or the one of that name) that hold rows for longer than their policy says, held ones too."""
    if name is not None:
        datasets.get(ws, name)  # or NotFound
    found = []
    asked = "policy/*" if name is None else f"policy/{name}"
    for subject in sorted({event.subject for event in ws.graph.events(asked, kind="set")}):
        policy = get(ws, subject.removeprefix("policy/"))
        if policy.keep_for is None:
            continue
        before = ws.now - policy.keep_for
        heads = branches.branches(ws, policy.dataset)
        rows = len(_keys(ws, heads.values(), before))
        older = _holding(ws, policy.dataset, {each.id for each in heads.values()}, before)
        if rows or older:
            found.append(Due(policy.dataset, rows, older, before, tuple(held(ws, policy.dataset))))
    return found


def apply_retention(ws: Workspace, name: str | None = None, *, erase: Erase | None = None) -> list[Applied]:
    """Remove what is due (of all datasets, or that one) but for a legal hold. Each dataset is a run "data.retention".

    erase: removes the rows of these keys from every version, as erasure does; called once a dataset. Without it each
    branch goes on without them and earlier versions keep them: `older_versions` says how many do.
    """
    done = []
    for each in due(ws, name):
        if each.held:
            done.append(Applied(each.dataset, each.rows, "held", each.older_versions))
            continue
        heads = branches.branches(ws, each.dataset)
        versions = list(heads.values()) if erase is None else datasets.log(ws, each.dataset)
        keys = _keys(ws, versions, each.before)
        params = {"before": iso(each.before), "how": "deleted" if erase is None else "erased"}
        with recorded(ws, "data.retention", each.dataset, inputs=[("rows", heads["main"])], params=params) as run:
            if erase is not None:
                erase(ws, each.dataset, keys)
                done.append(Applied(each.dataset, len(keys), "erased", 0))
            else:
                _delete(ws, heads, each)
                after = {head.id for head in branches.branches(ws, each.dataset).values()}
                left = _holding(ws, each.dataset, after, each.before)
                done.append(Applied(each.dataset, len(keys), "deleted", left))
            run.result({"rows": len(keys)})
    return done


def _delete(ws: Workspace, heads: Mapping[str, DatasetVersion], due: Due) -> None:
    message = f"rows before {due.before:%Y-%m-%d} are past their time"
    for branch, head in heads.items():
        keys = _keys(ws, [head], due.before)
        if keys:
            datasets.delete(ws, due.dataset, keys, message=message, branch=branch)


def _holding(ws: Workspace, dataset: str, but: set[str], before: datetime) -> int:
    """How many versions, but for these, hold rows with an event time before that moment."""
    found = 0
    for version in datasets.log(ws, dataset):
        if version.id not in but and version.event_time is not None:
            rows = datasets.scan(ws, version, columns=[version.event_time], verify=False)
            past = rows.filter(pl.col(version.event_time) < before).select(pl.len())
            found += bool(past.collect().item())
    return found


def _keys(ws: Workspace, versions: Iterable[DatasetVersion], before: datetime) -> list[Any]:
    found: dict[Any, None] = {}
    for version in versions:
        if version.event_time is not None:
            rows = datasets.scan(ws, version, columns=[version.key, version.event_time])
            found |= dict.fromkeys(rows.filter(pl.col(version.event_time) < before).collect()[version.key].to_list())
    return list(found)


# ------------------------------------------------------------------------------------------------------- legal hold


def hold(ws: Workspace, dataset: str, case: str, *, reason: str = "") -> Event:
    """Forbid erasure and retention of a dataset for a case, until it is released. Holding it again changes nothing."""
    datasets.get(ws, dataset)
    if not case.strip():
        raise BadInput("a legal hold needs the name of its case, for example '2026-017'")
    if case in held(ws, dataset):
        return next(each for each in reversed(ws.graph.events(f"hold/{dataset}")) if each.body["case"] == case)
    return ws.graph.record(f"hold/{dataset}", "held", {"case": case, "reason": reason}, actor=ws.settings.who)


def release(ws: Workspace, dataset: str, case: str, *, reason: str = "") -> Event:
    """End the hold of one case. NotFound names the open ones."""
    cases = held(ws, dataset)
    if case not in cases:
        shown = f"open are {', '.join(cases)}" if cases else "it is not held"
        raise NotFound(f"no case {case!r} holds dataset {dataset!r}; {shown}.{nearest(case, cases)}")
    return ws.graph.record(f"hold/{dataset}", "released", {"case": case, "reason": reason}, actor=ws.settings.who)


def held(ws: Workspace, dataset: str) -> list[str]:
    """The open cases that hold a dataset, oldest first; empty when it is free."""
    cases: dict[str, None] = {}
    for event in ws.graph.events(f"hold/{dataset}"):
        if event.kind == "held":
            cases[str(event.body["case"])] = None
        elif event.kind == "released":
            cases.pop(str(event.body["case"]), None)
    return list(cases)


def require_free(ws: Workspace, dataset: str) -> None:
    """Raise Refused while a case holds the dataset."""
    cases = held(ws, dataset)
    if cases:
        raise Refused(
            f"dataset {dataset!r} is under legal hold for {', '.join(cases)}; nothing of it may be removed before "
            f"`tidemill dataset release-hold {dataset} {cases[0]}`"
        )


# ------------------------------------------------------------------------------------------------------- inside


def _of(dataset: str, event: Event) -> Policy:
    body = event.body
    period = body.get("keep_for_s")
    permits = {
        name: Permit(
            dataset, name, str(each["basis"]), None if each.get("until") is None else parse_time(each["until"])
        )
        for name, each in dict(body.get("purposes") or {}).items()
    }
    kept = None if period is None else timedelta(seconds=float(period))
    return Policy(dataset, permits, bool(body.get("limited", permits)), kept, event.seq)


def _change(ws: Workspace, dataset: str, change: Callable[[Policy], Policy]) -> Policy:
    for _ in range(TRIES):
        known = get(ws, dataset)
        wanted = change(known)
        if wanted.body() == known.body():
            return known
        try:
            event = ws.graph.record(f"policy/{dataset}", "set", wanted.body(), actor=ws.settings.who, expect=known.seq)
        except Conflict:
            continue
        return _of(dataset, event)
    raise Conflict(f"the policy of dataset {dataset!r} was changed by others {TRIES} times in a row; try again later")
