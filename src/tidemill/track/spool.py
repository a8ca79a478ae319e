"""What a run logs, kept in a file before it is anywhere else: a call takes microseconds, and survives the process.

A spool is one file that one process appends to, a line a record: eight digits of CRC-32, a space, JSON. A record is
handed to the system by the call that logs it, so it survives kill -9; `fsync` follows within a second, so that a power
cut takes a second at most. Nothing needs locks between machines: on a network file system too, each run has a file of
its own. What a torn last line held was never acknowledged.

One thread of the process sends what the files hold, in order and in large transactions, and tries again for as long as
the graph or the store is away. A spool whose process has died is sent by the next one that opens the workspace.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.core.recording import LOST

SUFFIX, REFUSED = ".spool", ".refused"
TURN_S = 0.2  # between looks at the files
SYNC_S = 1.0
AT_ONCE = 1 << 20  # bytes of a file in one transaction
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
HEAD = 9  # characters before the JSON

Record = dict[str, Any]  # "k" is its kind; see Sink


class Sink(Protocol):
    """What takes records in. Taking the same ones again changes nothing."""

    def take(self, run_id: str, records: list[Record]) -> None:
        """Record them, durably, in order. Raises BadInput, Conflict or NotFound for what can never be taken, any other
        error for what may be taken later."""
        ...


class Spool:
    """A file of one run, open for appending. Any method from any thread.

    A new one gets its name when it is locked: who looks for the spools of dead processes never finds it unlocked. left:
    one that a dead process left; raises OSError where that is not so.
    """

    def __init__(self, folder: Path, run_id: str, *, left: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{run_id}{SUFFIX}"
        self.run_id = run_id
        draft = folder / f".{run_id}"
        self.lost = 0  # records for which there was no room
        self._lock = threading.Lock()
        how = os.O_RDWR | os.O_APPEND | (0 if left else os.O_CREAT | os.O_EXCL)
        self._file = os.open(self.path if left else draft, how, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # says that its process lives
            if left:
                os.stat(self.path)  # noqa: PTH116  gone where another process has sent it meanwhile
            else:
                draft.rename(self.path)
        except OSError:
            os.close(self._file)
            raise
        self._synced = self.size = os.fstat(self._file).st_size
        self.sent = 0

    @property
    def files(self) -> Path:
        """A folder for files that wait with the records."""
        return self.path.with_suffix(".files")

    def append(self, content: bytes) -> None:
        """Append a record, given as JSON in one line. Where there is no room it is lost, counted, and warned of once:
        what is trained goes on."""
        line = b"%08x %s\n" % (zlib.crc32(content), content)
        with self._lock:
            try:
                written = os.write(self._file, line)
                if written == len(line):
                    self.size += written
                    return
                raise OSError("no room for the whole line")
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._file, self.size)
                self.lost += 1
                told = f"run {self.run_id}: a record could not be kept in {self.path} ({error})"
        if self.lost == 1:
            warnings.warn(told, stacklevel=3)

    def sync(self) -> None:
        """Make what was appended survive a power cut."""
        if self.size > self._synced:
            self._synced = self.size
            with suppress(OSError):
                os.fsync(self._file)

    def waiting(self) -> tuple[list[Record], int]:
        """The records after those that were sent, as many as go at once, and where they end."""
        return read(self._file, self.sent, AT_ONCE)

    def done(self) -> bool:
        """Whether all was sent."""
        return self.sent >= self.size

    def refuse(self, records: list[Record], why: str) -> None:
        """Put records aside that can never be taken."""
        with self.path.with_suffix(REFUSED).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"why": why, **each}, ensure_ascii=False) + "\n" for each in records)

    def close(self, *, remove: bool) -> None:
        """Let go of the file; remove: all was sent."""
        with self._lock:
            if self._file < 0:
                return
            if remove:
                self.path.unlink(missing_ok=True)
                with suppress(OSError):
                    self.files.rmdir()
            os.close(self._file)
            self._file = -1


def read(file: int, start: int, most: int) -> tuple[list[Record], int]:
    """The whole records from byte `start` on, in at most so many bytes (but one at least), and where they end."""
    found: list[Record] = []
    while True:
        data = os.pread(file, most, start)
        place = 0
        while (end := data.find(b"\n", place)) >= 0:
            record = _record(data[place:end])
            if record is None:  # torn, and written over after a disk was full: never acknowledged
                place = end + 1
                continue
            found.append(record)
            place = end + 1
        if found or place or len(data) < most:
            return found, start + place
        most *= 4  # one record is larger


def _record(line: bytes) -> Record | None:
    try:
        if int(line[: HEAD - 1], 16) != zlib.crc32(line[HEAD:]):
            return None
        made: Record = json.loads(line[HEAD:])
    except ValueError:
        return None
    return made


class Sender:
    """The thread that sends what the spools of this process hold. first: before that, what dead processes left."""

    def __init__(self, folder: Path, sink: Sink, *, first: bool = False) -> None:
        self._folder, self._sink, self._first = folder, sink, first
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._spools: dict[str, Spool] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self.trouble: BaseException | None = None  # why nothing can be sent at the moment

    def open(self, run_id: str) -> Spool:
        """A spool for a run."""
        if self._pid != os.getpid():  # a forked child has no threads of ours
            self.__init__(self._folder, self._sink)  # type: ignore[misc]
        made = Spool(self._folder, run_id)
        with self._lock:
            self._spools[run_id] = made
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="tidemill spool", daemon=True)
                self._thread.start()
        return made

    def flush(self, spool: Spool, wait_s: float) -> bool:
        """Send all that the spool holds by now; False where that was not possible in that time."""
        until, wanted = time.monotonic() + wait_s, spool.size
        self._wake.set()
        with self._changed:
            while spool.sent < wanted:
                left = until - time.monotonic()
                if left <= 0 or self._thread is None:
                    return False
                self._changed.wait(min(left, 0.5))
        return True

    def close(self, spool: Spool) -> None:
        """No more is appended; the file goes when all is sent, else it stays for the next process."""
        with self._lock:
            self._spools.pop(spool.run_id, None)
        spool.sync()
        spool.close(remove=spool.done())

    def recover(self) -> list[str]:
        """Send the spools of processes that have died; returns the ids of their runs."""
        sent: list[str] = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            with self._lock:
                mine = path.stem in self._spools
            if mine:
                continue
            try:
                spool = Spool(self._folder, path.stem, left=True)
            except OSError:  # its process lives, or another one has sent it
                continue
            try:
                if self._recovered(spool):
                    sent.append(spool.run_id)
            finally:
                spool.close(remove=spool.done())
        return sent

    def _recovered(self, spool: Spool) -> bool:
        """Send what a dead process left; False where that was not possible."""
        ended = False
        try:
            while True:
                records, end = spool.waiting()
                if end == spool.sent:
                    break
                ended = ended or any(each["k"] == "end" for each in records)
                if records:
                    self._send(spool, records)
                spool.sent = end
            if not ended:
                self._send(spool, [{"k": "end", "status": "failed", "error": f"its process {LOST}"}])
        except Exception as error:
            self.trouble = error
            return False
        spool.sent = spool.size  # a torn line may be left
        return True

    def _serve(self) -> None:
        pause_s, synced = FIRST_PAUSE_S, 0.0
        if self._first:
            self._first = False
            self.recover()
        while True:
            self._wake.wait(TURN_S)
            self._wake.clear()
            with self._lock:
                spools = list(self._spools.values())
                if not spools:
                    self._thread = None
                    self._changed.notify_all()
                    return
            if time.monotonic() - synced > SYNC_S:
                for spool in spools:
                    spool.sync()
                synced = time.monotonic()
            for spool in spools:
                try:
                    while not spool.done() and self._turn(spool):
                        pause_s = FIRST_PAUSE_S
                except Exception as error:  # away, for now
                    self.trouble = error
                    self._wake.wait(pause_s)
                    pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
                    break

    def _turn(self, spool: Spool) -> bool:
        records, end = spool.waiting()
        if end == spool.sent:
            return False
        if records:
            self._send(spool, records)
        self.trouble = None
        with self._changed:
            spool.sent = end
            self._changed.notify_all()
        return True

    def _send(self, spool: Spool, records: list[Record]) -> None:
        """Hand records over; what can never be taken is put aside, the rest is taken one by one."""
        try:
            self._sink.take(spool.run_id, records)
        except (BadInput, Conflict, NotFound) as error:
            if len(records) > 1:
                for each in records:
                    self._send(spool, [each])
                return
            spool.refuse(records, str(error))
            warnings.warn(f"run {spool.run_id}: {error}; kept in {spool.path.with_suffix(REFUSED)}", stacklevel=2)
