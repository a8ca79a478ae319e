"""Append-only, checksummed record files that survive kill -9: the prediction log, the metric spool.

A folder of segments "00000001.seg", each of which begins with MAGIC (the format). A record is its length and the CRC-32
of its payload (two little-endian 32-bit numbers), then the payload. What `append` returned is on the disk: the records
of all threads that wait share one fsync. A torn tail, the mark of a kill in the middle, was never acknowledged; the
next writer starts a new segment after it. A bad record with others behind it is damage: Corrupt. No record is empty:
the zeros that a power cut may leave at the end would read as empty records, their checksum being zero too.
An erased record keeps its place, so that positions stay what they were: its payload is zeros under the complement of
their CRC-32, and no reader sees it.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tidemill.core.errors import BadInput, Busy, Corrupt, NoRoom, WrongFormat

MAGIC = b"tidemill-seg-1\n\0"
HEAD = struct.Struct("<II")
MAX_RECORD_BYTES = 1 << 28
BLANK = b"\0"
NOTE = "erasing.json"


class Position(NamedTuple):
    """Just behind a record: number of the segment, offset in bytes. Sortable; JSON keeps it as a list of two."""

    segment: int
    offset: int


class SegmentWriter:
    """The one writer of a folder: thread-safe; Busy where another process writes there.

    fsync: "group" flushes to disk before `append` returns; "never" leaves that to the operating system (survives
    kill -9, not a power cut). rotate_bytes: a segment larger than this is followed by a new one.
    """

    def __init__(
        self, folder: Path, *, fsync: Literal["group", "never"] = "group", rotate_bytes: int = 64 << 20
    ) -> None:
        self.folder = folder
        self._fsync = fsync
        self._rotate_bytes = rotate_bytes
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._flushed = Position(0, 0)
        self._retired: list[int] = []
        self._broken = False
        self._file: int | None = None
        self._offset = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._guard = (folder / ".lock").open("ab")
        except OSError as error:
            raise _no_room(folder, error) from error
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._guard.close()
            raise Busy(f"another process writes to {folder}; end it first (see `tidemill deployment list`)") from None
        numbers = _numbers(folder)
        self._number = numbers[-1] if numbers else 0
        try:
            self._open_next()
        except OSError:
            self._guard.close()
            raise

    def append(self, payloads: Sequence[bytes]) -> list[Position]:
        """Append records of at least one byte and return the positions behind each, durably.

        NoRoom where the disk is full: none of them is there. NoRoom where a flush failed: they may be there or not, and
        the writer takes no more, since the system tells only once that it lost what was written (fsync(2), EIO).
        """
        if any(not 0 < len(payload) <= MAX_RECORD_BYTES for payload in payloads):
            sizes = sorted(map(len, payloads))
            raise BadInput(f"records of {sizes[0]} to {sizes[-1]} bytes; allowed: 1 to {MAX_RECORD_BYTES}")
        frames = [HEAD.pack(len(payload), zlib.crc32(payload)) + payload for payload in payloads]
        with self._lock:
            if self._file is None:
                raise BadInput(f"the writer of {self.folder} is closed; make a new SegmentWriter")
            if self._offset > self._rotate_bytes:
                self._flush(self._file)
                self._open_next()
            self._require_whole()
            number, start, file = self._number, self._offset, self._file
            self._write(file, b"".join(frames))
            positions = []
            for frame in frames:
                start += len(frame)
                positions.append(Position(number, start))
            self._offset = start
        if positions and self._fsync == "group":
            self._flush_until(positions[-1])
        return positions

    def close(self) -> None:
        """Flush and let go; the lock is let go of even where the flush fails."""
        with self._flushing, self._lock:
            file, self._file = self._file, None
            if file is None:
                return
            try:
                self._flush(file)
            finally:
                for each in (*self._retired, file):
                    os.close(each)
                self._retired.clear()
                self._guard.close()

    def _flush_until(self, position: Position) -> None:
        """Return when everything up to `position` is on disk: whoever holds the lock flushes for all who wait."""
        with self._flushing:
            if self._flushed >= position:
                return
            with self._lock:
                written, file = Position(self._number, self._offset), self._file
                retired, self._retired = self._retired, []  # flushed when they were rotated; nobody flushes them now
            for each in retired:
                os.close(each)
            if file is None:
                self._require_whole()
                return  # closed meanwhile, which flushed
            self._flush(file)
            self._flushed = max(self._flushed, written)

    def _flush(self, file: int) -> None:
        self._require_whole()
        try:
            os.fdatasync(file)
        except OSError as error:
            self._broken = True
            raise _no_room(self.folder, error) from error

    def _require_whole(self) -> None:
        if self._broken:
            raise NoRoom(f"a flush to {self.folder} has failed; see to the disk, then open the log again")

    def _write(self, file: int, data: bytes) -> None:
        """All or nothing: what a full disk took of it is cut off again."""
        done = 0
        try:
            while done < len(data):
                done += os.write(file, data[done:])
        except OSError as error:
            os.ftruncate(file, self._offset)
            raise _no_room(self.folder, error) from error

    def _open_next(self) -> None:
        """Start a new segment; a torn tail of the last one stays behind it, unread.

        The old file stays open until no flush can be at work on it.
        """
        path = _path(self.folder, self._number + 1)
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            try:
                os.write(file, MAGIC)
                os.fdatasync(file)
                _sync_folder(self.folder)
            except OSError:
                os.close(file)
                path.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _no_room(self.folder, error) from error
        if self._file is not None and self._fsync == "group":
            self._retired.append(self._file)
        elif self._file is not None:
            os.close(self._file)
        self._number, self._file, self._offset = self._number + 1, file, len(MAGIC)


def read(folder: Path, *, after: Position | None = None) -> Iterator[tuple[Position, bytes]]:
    """The records behind `after` in order, each with the position behind it.

    Stops at a torn tail of the last segment and passes over one at the end of an earlier segment. Raises Corrupt for a
    bad record with others behind it, WrongFormat for a segment of another format.
    """
    for number in _numbers(folder):
        if after is not None and number < after.segment:
            continue
        start = after.offset if after is not None and number == after.segment else len(MAGIC)
        yield from _records(_path(folder, number), number, start)


def erase(folder: Path, doomed: Callable[[bytes], bool]) -> int:
    """Blank the records for which `doomed` is true, where they stand; returns how many. A writer may be at work.

    What is to be blanked is noted first, so that an erasure that a power cut ended is done again by the next one.
    Raises what `read` raises, NoRoom.
    """
    if not folder.is_dir():
        return 0
    note = folder / NOTE
    if note.exists():
        _blank(folder, json.loads(note.read_text()))
    found: list[tuple[int, int, int]] = []
    for place, payload in read(folder):
        if doomed(payload):
            found.append((place.segment, place.offset - len(payload), len(payload)))
    found += [each for number in _closed(folder) for each in _torn(_path(folder, number), number, doomed)]
    if found:
        draft = note.with_name(f"{NOTE}.new")
        try:
            with draft.open("w") as file:
                file.write(json.dumps(found))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(note)
            _blank(folder, found)
        except OSError as error:
            raise _no_room(folder, error) from error
    note.unlink(missing_ok=True)
    return len(found)


def _blank(folder: Path, records: Iterable[Sequence[int]]) -> None:
    by_segment: dict[int, list[tuple[int, int]]] = {}
    for number, offset, length in records:
        by_segment.setdefault(number, []).append((offset, length))
    for number, places in by_segment.items():
        file = os.open(_path(folder, number), os.O_WRONLY)  # not appending: it writes where the record stands
        try:
            for offset, length in places:
                blank = BLANK * length
                os.pwrite(file, HEAD.pack(length, _erased(blank)) + blank, offset - HEAD.size)
            os.fsync(file)
        finally:
            os.close(file)


def _torn(path: Path, number: int, doomed: Callable[[bytes], bool]) -> list[tuple[int, int, int]]:
    """The tail that a kill left half-written, if what is there of it is doomed."""
    data = path.read_bytes()
    offset = len(MAGIC)
    while offset + HEAD.size <= len(data):
        length, checksum = HEAD.unpack_from(data, offset)
        end = offset + HEAD.size + length
        if not _is_good(length, checksum, data[offset + HEAD.size : end]):
            break
        offset = end
    tail = data[offset + HEAD.size :]
    return [(number, offset + HEAD.size, len(tail))] if tail and doomed(tail) else []


def _closed(folder: Path) -> list[int]:
    """The segments that nobody writes to: the last one only where there is no writer."""
    numbers = _numbers(folder)
    with (folder / ".lock").open("ab") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return numbers[:-1]
    return numbers


def _records(path: Path, number: int, start: int) -> Iterator[tuple[Position, bytes]]:
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if len(magic) < len(MAGIC):
            return  # killed while it was made
        if magic != MAGIC:
            raise WrongFormat(f"{path} begins with {magic!r}; this tidemill reads {MAGIC!r}: pip install -U tidemill")
        file.seek(start)
        data = file.read()
    offset = 0
    while offset + HEAD.size <= len(data):
        length, checksum = HEAD.unpack_from(data, offset)
        end = offset + HEAD.size + length
        payload = data[offset + HEAD.size : end]
        if not _is_good(length, checksum, payload):
            if _goes_on(data, offset + 1):
                raise Corrupt(
                    f"{path} is damaged at byte {start + offset}: a bad record, good ones behind it; restore the file"
                )
            return
        if checksum != _erased(payload):
            yield Position(number, start + end), payload
        offset = end


def _goes_on(data: bytes, start: int) -> bool:
    """Whether a good record begins anywhere at or behind `start`: then what stands before it is no torn tail."""
    for offset in range(start, len(data) - HEAD.size):
        length, checksum = HEAD.unpack_from(data, offset)
        end = offset + HEAD.size + length
        if end <= len(data) and _is_good(length, checksum, data[offset + HEAD.size : end]):
            return True
    return False


def _is_good(length: int, checksum: int, payload: bytes) -> bool:
    """Whether that is a whole record, or an erased one."""
    return 0 < length == len(payload) and checksum in (zlib.crc32(payload), _erased(payload))


def _erased(payload: bytes) -> int:
    """The checksum of an erased record with that payload; of none that was written."""
    return -1 if payload.strip(BLANK) else zlib.crc32(payload) ^ 0xFFFF_FFFF


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.seg") if path.stem.isdigit())


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.seg"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _no_room(folder: Path, error: OSError) -> NoRoom:
    return NoRoom(f"cannot write to {folder}: {error.strerror}; free space or choose a folder that can be written")
