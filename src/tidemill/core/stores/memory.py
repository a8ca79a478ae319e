"""Bytes by digest in this process's memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tidemill.core.errors import Corrupt, NotFound
from tidemill.core.ids import digest as digest_of
from tidemill.core.ids import utc_now
from tidemill.core.store import Blob, require_digest


class MemoryStore:
    """See tidemill.core.store.Store; it ends with its process."""

    def __init__(self) -> None:
        self._blobs: dict[str, tuple[bytes, Blob]] = {}

    def put(self, data: bytes) -> str:
        """Keep a copy."""
        name = digest_of(data)
        kept = self._blobs[name][0] if name in self._blobs else bytes(data)
        self._blobs[name] = (kept, Blob(name, len(data), utc_now()))
        return name

    def put_file(self, path: Path) -> str:
        """Keep the file's content."""
        if not path.is_file():
            raise NotFound(f"no file {path} to store")
        return self.put(path.read_bytes())

    def get(self, digest: str) -> bytes:
        """The bytes, verified."""
        if require_digest(digest) not in self._blobs:
            raise NotFound(f"no blob {digest} in memory")
        data = self._blobs[digest][0]
        if digest_of(data) != digest:
            raise Corrupt(f"blob {digest} in memory has other bytes than its name says")
        return data

    def has(self, digest: str) -> bool:
        """Whether it is there."""
        return digest in self._blobs

    def list(self) -> Iterator[Blob]:
        """All blobs, in order of digest."""
        held = dict(self._blobs)
        yield from (held[name][1] for name in sorted(held))

    def delete(self, digest: str) -> None:
        """Remove it."""
        self._blobs.pop(require_digest(digest), None)


def open_store(url: str = "") -> MemoryStore:  # noqa: ARG001  the extension point hands a url to every store
    """A new, empty store."""
    return MemoryStore()
