"""Bytes by digest in a folder: objects/ab/abcd..., each published by one rename."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from tidemill.core.errors import Corrupt, NoRoom, NotFound
from tidemill.core.ids import CHUNK_BYTES, digest, new_id
from tidemill.core.store import Blob, is_digest, require_digest

DRAFTS = ".drafts"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


class FolderStore:
    """See tidemill.core.store.Store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Write to a draft, flush it to disk, rename."""
        name = digest(data)
        try:
            os.utime(self._place(name))
        except FileNotFoundError:
            with self._draft(lambda: name) as file:
                file.write(data)
        return name

    def put_file(self, path: Path) -> str:
        """Copy in chunks of 1 MiB, digesting on the way."""
        if not path.is_file():
            raise NotFound(f"no file {path} to store")
        state = hashlib.sha256()
        with path.open("rb") as source, self._draft(state.hexdigest) as file:
            while chunk := source.read(CHUNK_BYTES):
                state.update(chunk)
                file.write(chunk)
        return state.hexdigest()

    def get(self, digest: str) -> bytes:
        """Read and verify."""
        try:
            data = self._place(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"no blob {digest} in {self.root}; `tidemill doctor` says what is missing") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(f"blob {digest} in {self.root} has other bytes than its name says; restore it from a backup")
        return data

    def get_part(self, digest: str, start: int, size_bytes: int) -> bytes:
        """Some bytes of a blob, unverified: the caller knows their digest. See tidemill.core.packs.PartialReads."""
        try:
            with self._place(digest).open("rb") as file:
                file.seek(start)
                return file.read(size_bytes)
        except FileNotFoundError:
            raise NotFound(f"no blob {digest} in {self.root}; `tidemill doctor` says what is missing") from None

    def has(self, digest: str) -> bool:
        """Whether it is there."""
        return is_digest(digest) and self._place(digest).exists()

    def list(self) -> Iterator[Blob]:
        """All blobs, in order of digest."""
        for place in sorted(self.root.glob("[0-9a-f][0-9a-f]/*")):
            try:
                stat = place.stat()
            except FileNotFoundError:  # deleted since the folder was read
                continue
            yield Blob(place.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def delete(self, digest: str) -> None:
        """Remove it."""
        self._place(digest).unlink(missing_ok=True)

    def sweep_drafts(self, *, older_than_s: float = 3600.0) -> int:
        """Remove drafts that a killed process left; returns how many."""
        now = datetime.now(UTC).timestamp()
        removed = 0
        for draft in (self.root / DRAFTS).glob("*"):
            with suppress(FileNotFoundError):  # published since the folder was read
                if now - draft.stat().st_mtime > older_than_s:
                    draft.unlink()
                    removed += 1
        return removed

    def _place(self, name: str) -> Path:
        return self.root / require_digest(name)[:2] / name

    @contextmanager
    def _draft(self, name: Callable[[], str]) -> Iterator[BinaryIO]:
        draft = self.root / DRAFTS / new_id()
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            place = self._place(name())
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(place)
        except BaseException as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in FULL:
                raise NoRoom(f"cannot write to {self.root} ({error.strerror}); free space, then retry") from error
            raise


def open_store(url: str) -> FolderStore:
    """The store in the folder `url` (a path, or file://path)."""
    return FolderStore(Path(url.removeprefix("file://")))
