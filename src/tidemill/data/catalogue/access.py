"""Reading with respect: personal columns are masked for who may not see them, and each read is in the audit log.

For the doors that people read through (pages, API, exports). Somebody who can read the workspace's folder can read its
tables: file permissions keep them out, not this.

Roles are events of subject "role/<actor>". "pii" sees personal data of all datasets, "pii@<dataset>" of one. "admin"
gives and takes roles; while nobody was given it, that is who did the first thing that the workspace's log knows of.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from tidemill.core.errors import BadInput, Corrupt, NoRoom, NotFound, Refused, nearest, require_columns
from tidemill.core.ids import iso, new_id
from tidemill.core.types import DatasetVersion, Event
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue import policies
from tidemill.data.catalogue.governance import PII, SUBJECT, is_personal
from tidemill.data.catalogue.tagging import tagged

MASK = "***"
SEES, ADMIN = "pii", "admin"
ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}(@.+)?")
# Of these a pseudonym is shown, so that rows can be counted and joined; of other kinds, "***".
JOINABLE = {SUBJECT, *(f"{PII}{kind}" for kind in ("email", "phone", "card", "iban", "ip", "national_id"))}
KEY_BYTES = 32


# ------------------------------------------------------------------------------------------------------- roles


def grant(ws: Workspace, actor: str, role: str) -> Event:
    """Give somebody a role; a role that he has already is no new event. Refused for who is no administrator.

    The first grant of a workspace also writes down who its administrator is.
    """
    _check_role(ws, role)
    if not actor.strip():
        raise BadInput("a role needs somebody who gets it; name an actor, as in `tidemill audit log`")
    _require_admin(ws, f"give {actor!r} role {role!r}")
    if role in roles(ws, actor):
        return next(each for each in reversed(ws.graph.events(f"role/{actor}")) if each.body["role"] == role)
    return ws.graph.record(f"role/{actor}", "granted", {"role": role}, actor=ws.settings.who)


def revoke(ws: Workspace, actor: str, role: str) -> Event:
    """Take a role away. NotFound names those that he has; Refused for who is no administrator, BadInput: the last."""
    _require_admin(ws, f"take role {role!r} from {actor!r}")
    have = roles(ws, actor)
    if role not in have:
        shown = f"has {', '.join(have)}" if have else "has none"
        raise NotFound(f"{actor!r} does not have role {role!r}; he {shown}.{nearest(role, have)}")
    if role == ADMIN and administrators(ws) == [actor]:
        raise BadInput(f"{actor!r} is the only administrator; give somebody else role {ADMIN!r} first")
    return ws.graph.record(f"role/{actor}", "revoked", {"role": role}, actor=ws.settings.who)


def administrators(ws: Workspace) -> list[str]:
    """Who may give and take roles, sorted; nobody yet in a workspace in which nothing was done."""
    named = [actor for actor, have in everybody(ws).items() if ADMIN in have]
    return named or [event.actor for event in ws.graph.events()[:1]]


def _require_admin(ws: Workspace, deed: str) -> None:
    admins, who = administrators(ws), ws.settings.who
    if admins and who not in admins:
        raise Refused(
            f"{who!r} may not {deed}; {' and '.join(admins)} may. Ask there, or for role {ADMIN!r}: "
            f"tidemill role grant {who} {ADMIN}"
        )
    if ADMIN not in roles(ws, who):
        ws.graph.record(f"role/{who}", "granted", {"role": ADMIN}, actor=who)


def roles(ws: Workspace, actor: str) -> list[str]:
    """The roles that somebody has now, sorted."""
    have: set[str] = set()
    for event in ws.graph.events(f"role/{actor}"):
        if event.kind == "granted":
            have.add(str(event.body["role"]))
        elif event.kind == "revoked":
            have.discard(str(event.body["role"]))
    return sorted(have)


def everybody(ws: Workspace) -> dict[str, list[str]]:
    """The roles of each actor who has some."""
    actors = sorted({event.subject.removeprefix("role/") for event in ws.graph.events("role/*")})
    return {actor: have for actor in actors if (have := roles(ws, actor))}


def sees_personal(ws: Workspace, actor: str, dataset: str) -> bool:
    """Whether somebody may see the personal columns of a dataset."""
    have = roles(ws, actor)
    return SEES in have or f"{SEES}@{dataset}" in have


# ------------------------------------------------------------------------------------------------------- reading


def scan(
    ws: Workspace,
    version: DatasetVersion,
    *,
    actor: str | None = None,
    purpose: str | None = None,
    columns: Iterable[str] | None = None,
) -> pl.LazyFrame:
    """The rows of that version as the actor may see them: `datasets.scan` with personal columns masked.

    actor: who reads (default: the settings'). purpose: checked against policies. columns: all by default. The read is
    recorded as an event "read" of subject "read/<dataset>" before anything is read. A column is personal by its own
    tags and by those of the columns that it came from. Masked texts that identify a person become a pseudonym that is
    the same wherever the same value stands in this workspace; other texts "***", whole numbers that identify a person
    another whole number (Int64), everything else null. Raises UnknownColumn, Refused.
    """
    who = actor or ws.settings.who
    wanted = list(version.columns) if columns is None else list(dict.fromkeys(columns))
    require_columns(wanted, version.columns, where=f"dataset {version.name!r}")
    permits = policies.require(ws, version, purpose)
    hidden = {} if sees_personal(ws, who, version.name) else hidden_columns(ws, version, wanted)
    body = {
        "version": version.version,
        "id": version.id,
        "purpose": purpose,
        "basis": sorted({each.basis for each in permits}),
        "columns": wanted,
        "masked": sorted(hidden),
        "at": iso(ws.now),
    }
    ws.graph.record(f"read/{version.name}", "read", body, actor=who)
    rows = datasets.scan(ws, version, columns=None if columns is None else wanted)
    return masked(ws, rows, hidden) if hidden else rows


def hidden_columns(
    ws: Workspace, version: DatasetVersion, columns: Iterable[str] | None = None
) -> dict[str, list[str]]:
    """The personal columns (among these; all by default) and their tags: what somebody without roles sees masked."""
    tags = {column: each["tags"] for column, each in tagged(ws, version.artifact).items()}
    among = version.columns if columns is None else columns
    return {column: tags[column] for column in among if column in tags and is_personal(tags[column])}


def masked(ws: Workspace, rows: pl.LazyFrame, hidden: Mapping[str, Iterable[str]]) -> pl.LazyFrame:
    """The rows with these columns masked. hidden: column to its tags, which say how."""
    kinds = rows.collect_schema()
    key = pseudonym_key(ws)
    made = [_mask(column, kinds[column], set(tags) & JOINABLE != set(), key) for column, tags in hidden.items()]
    return rows.with_columns(made)


def mask_values(ws: Workspace, values: Mapping[str, Any], hidden: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """One row as `masked` would show it: a prediction's features, for example. hidden: column to its tags.

    The same text gets the same pseudonym here as in a table.
    """
    key = pseudonym_key(ws)
    return {
        name: _masked_value(key, value, set(hidden[name]) & JOINABLE != set()) if name in hidden else value
        for name, value in values.items()
    }


def pseudonym(key: bytes, text: str) -> str:
    """A pseudonym of the text: 16 hexadecimal digits of keyed BLAKE2b (RFC 7693, section 2.9), behind "p_".

    Who has the key can test a guess, so it stays in keys/; 64 bits: among ten million values a chance of 3 in a million
    that any two share one.
    """
    return _texts(key)(text)


def pseudonym_key(ws: Workspace) -> bytes:
    """The workspace's key for pseudonyms, keys/pseudonym.key, made at first use with mode 0600.

    Workspaces that share a graph from several machines each make their own; copy the file for the same pseudonyms.
    """
    path = ws.root / "keys" / "pseudonym.key"
    if not path.exists():
        _publish(path, secrets.token_hex(KEY_BYTES).encode())
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Corrupt(f"{path} holds no key of {KEY_BYTES} bytes; restore it from a backup")
    return key


def _mask(column: str, kind: pl.DataType, joinable: bool, key: bytes) -> pl.Expr:
    value = pl.col(column)
    textual = kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum)
    if textual and joinable:
        return _mapped(value.cast(pl.String), _texts(key), pl.String()).alias(column)
    if textual:
        return pl.when(value.is_not_null()).then(pl.lit(MASK)).otherwise(None).alias(column)
    if kind.is_integer() and joinable:
        return _mapped(value, _numbers(key), pl.Int64()).alias(column)
    return pl.lit(None, dtype=kind).alias(column)


def _masked_value(key: bytes, value: Any, joinable: bool) -> Any:
    if isinstance(value, str):
        return _texts(key)(value) if joinable else MASK
    if isinstance(value, int) and not isinstance(value, bool) and joinable:
        return _numbers(key)(value)
    return None


def _texts(key: bytes) -> Callable[[str], str]:
    begun = hashlib.blake2b(key=key, digest_size=8)

    def of(text: str) -> str:
        one = begun.copy()  # with the key taken in: 0.6 us a value, HMAC-SHA-256 takes 3
        one.update(text.encode())
        return f"p_{one.hexdigest()}"

    return of


def _numbers(key: bytes) -> Callable[[int], int]:
    begun = hashlib.blake2b(key=key, digest_size=8)

    def of(number: int) -> int:
        one = begun.copy()
        one.update(str(number).encode())
        return int.from_bytes(one.digest(), "big") >> 1

    return of


def _mapped(value: pl.Expr, make: Callable[[str], str] | Callable[[int], int], kind: pl.DataType) -> pl.Expr:
    def each_once(values: pl.Series) -> pl.Series:
        distinct = values.drop_nulls().unique()
        made = pl.Series([make(one) for one in distinct], dtype=kind)
        if distinct.is_empty():
            return pl.Series(values.name, [None] * len(values), dtype=kind)
        return values.replace_strict(distinct, made, default=None, return_dtype=kind)

    return value.map_batches(each_once, return_dtype=kind, is_elementwise=True)


def _check_role(ws: Workspace, role: str) -> None:
    if not ROLE.fullmatch(role):
        raise BadInput(f"role {role!r} cannot be used; allowed: a word such as 'pii', or 'pii@<dataset>'")
    _, at, dataset = role.partition("@")
    if at:
        datasets.get(ws, dataset)


def _publish(path: Path, data: bytes) -> None:
    """Write a secret once: of two processes that make it at once, the first wins."""
    draft = path.with_name(f".{path.name}.{new_id()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    except OSError as error:
        raise NoRoom(f"cannot write {path}: {error.strerror}; make {path.parent} writable") from error
    finally:
        with suppress(OSError):
            draft.unlink()
