"""The files of one table, in a folder or below an S3 prefix: listed, read, written whole, removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.core.delta.table_files import bucket
from tidemill.core.errors import NoRoom
from tidemill.core.ids import new_id


class Entry(NamedTuple):
    """One file: its name below the place, with '/', when it was written, and its size."""

    name: str
    written_at: datetime
    size_bytes: int


class Place:
    """A folder or an s3://bucket/prefix."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._remote: Any = bucket(uri) if uri.startswith("s3://") else None  # Any: obstore is an extra
        self._root = Path(uri)

    def entries(self) -> Iterator[Entry]:
        """Every file below, in order of name."""
        if self._remote is not None:
            for part in self._remote.list():
                for meta in part:
                    yield Entry(str(meta["path"]), meta["last_modified"], int(meta["size"]))
            return
        for path in sorted(self._root.rglob("*")):
            if path.is_file():
                seen = path.stat()
                written = datetime.fromtimestamp(seen.st_mtime, UTC)
                yield Entry(path.relative_to(self._root).as_posix(), written, seen.st_size)

    def source(self, name: str) -> Any:  # Any: what Polars takes for a file
        """What Polars reads: the path, or the bytes."""
        return self._root / name if self._remote is None else self.read(name)

    def read(self, name: str) -> bytes:
        """The file's bytes; FileNotFoundError where there is none."""
        if self._remote is not None:
            return bytes(self._remote.get(name).bytes())
        return (self._root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """The file anew: a reader sees the old bytes or the new ones. On the disk when it returns; NoRoom."""
        if self._remote is not None:
            self._remote.put(name, data)
            return
        target = self._root / name
        draft = target.with_name(f".{target.name}.{new_id()}.tmp")
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise NoRoom(f"cannot write {target} ({error.strerror}); free space, then run it again") from error

    def remove(self, name: str) -> None:
        """Remove it; one that is not there is no error."""
        try:
            if self._remote is not None:
                self._remote.delete(name)
            else:
                (self._root / name).unlink()
        except FileNotFoundError:
            return
