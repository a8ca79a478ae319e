"""What an event says, in one phrase a person reads: what was set, given, taken, decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tidemill.core import checks
from tidemill.core.errors import TidemillError
from tidemill.core.types import Event, Json

FACTS = ("owner", "steward", "licence", "classification", "description")
SHOWN = 4
DAY_S = 86_400


def said(event: Event, before: Json | None = None) -> str:
    """The phrase. before: the body of the subject's last event "set", from which this one differs.

    >>> from datetime import UTC, datetime
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> said(Event(1, at, "ada", "role/eve", "granted", {"role": "pii"}, "", ""))
    'role pii given'
    """
    head = event.subject.partition("/")[0]
    tell = TOLD.get((head, event.kind)) or TOLD.get((head, ""))
    try:
        return tell(event.body, before or {}) if tell is not None else _plain(event.body)
    except (KeyError, TypeError, AttributeError, TidemillError):  # an erasure has taken a part of it
        return _plain(event.body)


def _governance(body: Json, before: Json) -> str:
    changed = [fact for fact in FACTS if (body.get(fact) or "") != (before.get(fact) or "")]
    parts = [f"{fact} {body[fact]}" if body.get(fact) else f"{fact} taken back" for fact in changed]
    for name, new, gone in (("tags", "tagged {}", "no longer tagged {}"), ("rejected", "not {}", "{} open again")):
        now, was = body.get(name) or {}, before.get(name) or {}
        for column in sorted({*now, *was}):
            for words, one, other in ((new, now, was), (gone, was, now)):
                tags = [tag for tag in one.get(column, ()) if tag not in other.get(column, ())]
                parts += [f"column {column} {words.format(', '.join(tags))}"] if tags else []
    return "; ".join(parts)


def _policy(body: Json, before: Json) -> str:
    now, was = body.get("purposes") or {}, before.get("purposes") or {}
    parts = [f"{name} allowed ({each['basis']})" for name, each in now.items() if was.get(name) != each]
    parts += [f"{name} no longer allowed" for name in was if name not in now]
    if body.get("limited") != before.get("limited", False) and not now:
        parts.append("no purpose allowed" if body.get("limited") else "any purpose allowed")
    kept_s = body.get("keep_for_s")
    if kept_s != before.get("keep_for_s"):
        parts.append("rows kept for ever" if kept_s is None else f"rows kept for {kept_s / DAY_S:,.6g} days")
    return "; ".join(parts)


def _contract(body: Json, before: Json) -> str:
    now, was = _rules(body), _rules(before)
    parts = [f"new rules: {', '.join(new)}"] if (new := [each for each in now if each not in was]) else []
    parts += [f"without: {', '.join(gone)}"] if (gone := [each for each in was if each not in now]) else []
    return "; ".join(parts) or f"{len(now)} rules"


def _rules(body: Json) -> list[str]:
    found = [f"{checks.quoted(column)} type {kind}" for column, kind in (body.get("types") or {}).items()]
    for each in body.get("checks") or ():
        check = checks.from_json(each)
        found.append(("warn " if check.severity == "warn" else "") + checks.named(check))
    fresh = body.get("freshness")
    return found + ([f"{checks.quoted(fresh['column'])} fresh {fresh['at_most_s'] / DAY_S:g}d"] if fresh else [])


def _kept_out(body: Json, _: Json) -> str:
    reasons = "; ".join(f"{rule} ({count})" for rule, count in (body.get("reasons") or {}).items())
    return f"{_rows(body.get('rows'))} kept out: {reasons}"


def _traffic(body: Json, _: Json) -> str:
    to = [f"{name} {body[name]}" for name in ("champion", "challenger", "shadow", "share") if body.get(name)]
    return _because(", ".join(to) or "traffic", body.get("why"))


def _read(body: Json, _: Json) -> str:
    parts = [f"version {body['version']}"] if body.get("version") else []
    parts += [f"purpose {body['purpose']}"] if body.get("purpose") else []
    parts += [f"masked {', '.join(body['masked'])}"] if body.get("masked") else []
    return "; ".join(parts)


def _refused(body: Json, _: Json) -> str:
    purpose = body.get("purpose")
    return f"version {body.get('version')} refused " + (f"for purpose {purpose}" if purpose else "without a purpose")


def _plain(body: Json, _: Json | None = None) -> str:
    """Its first plain values, of a kind that nobody has put into words."""
    values = {name: each for name, each in body.items() if isinstance(each, str | int | float) and name != "format"}
    return ", ".join(f"{name} {each}" for name, each in list(values.items())[:SHOWN])


def _because(what: str, why: Any) -> str:  # Any: a JSON value
    return f"{what} ({why})" if why else what


def _rows(count: Any) -> str:  # Any: a JSON value
    return "1 row" if count == 1 else f"{count or 0:,} rows"


Told = Callable[[Json, Json], str]
TOLD: Mapping[tuple[str, str], Told] = {
    ("governance", "set"): _governance,
    ("policy", "set"): _policy,
    ("contract", "set"): _contract,
    ("contract", "dropped"): lambda *_: "contract dropped",
    ("tags", "set"): lambda body, _: f"tag {body['tag']} on version {body['version']}",
    ("tags", "removed"): lambda body, _: f"tag {body['tag']} taken away",
    ("branches", "made"): lambda body, _: f"branch {body['branch']} begun at version {body['version']}",
    ("role", "granted"): lambda body, _: f"role {body['role']} given",
    ("role", "revoked"): lambda body, _: f"role {body['role']} taken away",
    ("hold", "held"): lambda body, _: _because(f"held for case {body['case']}", body.get("reason")),
    ("hold", "released"): lambda body, _: _because(f"case {body['case']} released", body.get("reason")),
    ("quarantine", "added"): _kept_out,
    ("quarantine", "released"): lambda body, _: f"{_rows(len(body.get('ids', ())))} released",
    ("quarantine", "discarded"): lambda body, _: _because(
        f"{_rows(len(body.get('ids', ())))} discarded", body.get("reason")
    ),
    ("files", "scanned"): lambda body, _: f"folder read as version {body.get('version')}",
    ("read", "read"): _read,
    ("read", "refused"): _refused,
    ("model", "alias"): lambda body, _: _because(f"version {body.get('version')}", body.get("why")),
    ("deployment", "traffic"): _traffic,
    ("alert", "raised"): lambda body, _: str(body.get("text", "")),
    ("alert", "acknowledged"): lambda body, _: _because("alert seen", body.get("note")),
    ("loop", ""): lambda body, _: str(body.get("text", "")),
    ("labels", "asked"): lambda *_: "a label asked for",
    ("labels", "leased"): lambda body, _: f"taken by {body.get('who')}",
    ("labels", "answered"): lambda body, _: f"answered {body.get('value')}",
    ("flow", "decided"): lambda body, _: _because(f"{body.get('approval')}: {body.get('answer')}", body.get("note")),
    ("flow", "parked"): lambda body, _: f"waits for approval: {body.get('text')}",
    ("flow", "cancel"): lambda *_: "cancelled",
    ("flow", "nodes"): lambda body, _: f"{len(body.get('nodes', ()))} steps went on",
    ("schedule", "deployed"): lambda body, _: _because("deployed", body.get("entry")),
    ("webhook", "token"): lambda body, _: "token given out" if body.get("sha256") else "token taken back",
    ("webhook", "called"): lambda *_: "called",
    ("queue", "limit"): lambda body, _: f"at most {body.get('at_once')} at once",
    ("lost", "ended"): lambda body, _: f"{body.get('kind')} failed: its process {body.get('process')} died",
}
