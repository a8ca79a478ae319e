"""Bytes by content digest: what a store must do, and the sweep of what nothing refers to.

Contract
    Threads and processes: any method from any thread of any process at once.
    Atomicity: `put` publishes by one rename (or one object upload): a reader sees the whole blob or none. When it
    returns, the bytes survive kill -9. Putting the same bytes again is cheap; it renews `stored_at` (at the latest
    when it is RENEW_S old), so that a sweep spares them.
    Errors: NotFound for an unknown digest or a text that is none, Corrupt when bytes differ from their digest (never
    returned), NoRoom when the disk is full (nothing half-written stays under a final name).

`tidemill.testing.stores` is the public suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from tidemill.core.errors import NotFound

RENEW_S = 600.0


def is_digest(text: str) -> bool:
    """Whether the text has the form of a digest: 64 hexadecimal digits, small letters."""
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)


def require_digest(text: str) -> str:
    """The text, or NotFound when it is no digest: nothing else may become a part of a path."""
    if not is_digest(text):
        raise NotFound(f"{text!r} is no digest; a digest has 64 hexadecimal digits")
    return text


class Blob(NamedTuple):
    """One stored blob, as `list` shows it."""

    digest: str
    size_bytes: int
    stored_at: datetime


class Store(Protocol):
    """Bytes by the SHA-256 of their content."""

    def put(self, data: bytes) -> str:
        """Store the bytes; returns their digest."""
        ...

    def put_file(self, path: Path) -> str:
        """Store a file's content, streamed; returns its digest."""
        ...

    def get(self, digest: str) -> bytes:
        """The bytes, verified."""
        ...

    def has(self, digest: str) -> bool:
        """Whether it is there."""
        ...

    def list(self) -> Iterator[Blob]:
        """All blobs, in order of digest."""
        ...

    def delete(self, digest: str) -> None:
        """Remove it; an unknown digest is no error."""
        ...
