"""Names for things: content digests, and ids that sort by the time they were made."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidemill.core.errors import BadInput

CHUNK_BYTES = 1 << 20


def digest(data: bytes) -> str:
    """SHA-256 of the bytes, 64 hexadecimal digits (FIPS 180-4).

    >>> digest(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, read in chunks of 1 MiB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:  # Any: any JSON value
    """JSON with sorted keys and no spaces: equal values give equal bytes (after RFC 8785, for our own values).

    >>> canonical_json({"b": 1, "a": [1.5, None]})
    b'{"a":[1.5,null],"b":1}'
    """
    return _ENCODER.encode(value).encode()


def json_digest(value: Any) -> str:  # Any: any JSON value
    """The digest of a value's canonical JSON."""
    return digest(canonical_json(value))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(
        f"{type(value).__name__} {value!r} is no JSON value; allowed: numbers, text, lists, mappings, times"
    )


# Once: json.dumps makes an encoder for each call that asks for anything but its defaults.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)

_lock = threading.Lock()
_last_ms = 0
_count = 0


def new_id() -> str:
    """A new id of 32 hexadecimal digits, in the order of their making within a process (after RFC 9562, UUIDv7).

    48 bits of milliseconds, 12 bits of counter, 68 bits of randomness.
    """
    global _last_ms, _count  # noqa: PLW0603  one counter a process is the point
    with _lock:
        now_ms = max(time.time_ns() // 1_000_000, _last_ms)
        _count = _count + 1 if now_ms == _last_ms else 0
        if _count > 0xFFF:
            now_ms, _count = now_ms + 1, 0
        _last_ms = now_ms
        count = _count
    return f"{now_ms:012x}{count:03x}{os.urandom(9).hex()[:17]}"


def utc_now() -> datetime:
    """Now, in UTC with its zone."""
    return datetime.now(UTC)


def iso(at: datetime) -> str:
    """The time in UTC as ISO 8601 with microseconds, so that text order is time order.

    >>> iso(datetime(2013, 4, 1, tzinfo=UTC))
    '2013-04-01T00:00:00.000000Z'
    """
    if at.tzinfo is None:
        raise BadInput(f"time {at} has no zone; use datetime(..., tzinfo=UTC)")
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The UTC time of an ISO 8601 text; a text without a zone is taken as UTC.

    >>> parse_time("2013-04-01").isoformat()
    '2013-04-01T00:00:00+00:00'
    """
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise BadInput(f"{text!r} is no time ({error}); write one such as 2013-04-01 or 2013-04-01T05:30Z") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
