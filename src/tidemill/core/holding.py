"""Names held on this machine: each is one byte of a lock file, so that ten thousand cost one open file.

The locks are of open file descriptions (fcntl(2), F_OFD_SETLK): the kernel frees them when the process ends, however
it ends. Where there are none (not Linux), POSIX record locks do the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import sys
import threading
from pathlib import Path

# struct flock of a 64-bit Linux: type, whence, start, length, pid
_FLOCK = struct.Struct("hhqqi4x")
_OFD = sys.platform == "linux" and sys.maxsize > 1 << 32 and hasattr(fcntl, "F_OFD_SETLK")


class Names:
    """The names that this process holds in one lock file; the file is open while there are any."""

    grace_s = 0.0  # the kernel frees a name when its process has ended, not before

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = -1
        self._held: set[int] = set()

    def hold(self, name: str) -> bool:
        """Take the name; False where another process, or another thread of this one, has it."""
        place = _place(name)
        with self._lock:
            if place in self._held:
                return False
            try:
                self._set(place, fcntl.F_WRLCK)
            except (BlockingIOError, PermissionError):
                self._close()
                return False
            self._held.add(place)
        return True

    def let_go(self, name: str) -> None:
        """Give the name back."""
        place = _place(name)
        with self._lock:
            if place in self._held:
                self._held.discard(place)
                self._set(place, fcntl.F_UNLCK)
                self._close()

    def is_held(self, name: str) -> bool:
        """Whether any process of this machine has it."""
        place = _place(name)
        with self._lock:
            if place in self._held:
                return True
            self._open()
            try:
                if _OFD:
                    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
                    return bool(_FLOCK.unpack(fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)
                try:
                    self._set(place, fcntl.F_WRLCK)
                except (BlockingIOError, PermissionError):
                    return True
                self._set(place, fcntl.F_UNLCK)
                return False
            finally:
                self._close()

    def forget(self) -> None:
        """In a forked child: the parent's names are not its own, but its file would keep them longer."""
        if self._file >= 0:
            os.close(self._file)
        self._lock, self._file, self._held = threading.Lock(), -1, set()

    def _set(self, place: int, how: int) -> None:
        self._open()
        if _OFD:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _FLOCK.pack(how, os.SEEK_SET, place, 1, 0))
        elif how == fcntl.F_UNLCK:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
        else:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)

    def _open(self) -> None:
        if self._file < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def _close(self) -> None:
        if not self._held and self._file >= 0:
            os.close(self._file)
            self._file = -1


_all: dict[Path, Names] = {}
_all_lock = threading.Lock()


def names_at(path: Path) -> Names:
    """This process's names in that file."""
    with _all_lock:
        found = _all.get(path)
        if found is None:
            found = _all[path] = Names(path)
        return found


def _place(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 2  # an offset of 62 bits


def _after_fork() -> None:
    global _all_lock  # noqa: PLW0603  another thread of the parent may have held it
    _all_lock = threading.Lock()
    for names in _all.values():
        names.forget()


os.register_at_fork(after_in_child=_after_fork)
