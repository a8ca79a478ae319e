"""A warm worker process: performs one call after the other, and ends with whoever started it.

It leads a session of its own, so all that a call starts can be ended with it. It holds one end of a pipe whose other
end lives in the parent: when the parent dies, also by kill -9, the worker kills its group, in the middle of a call too.
A worker imports modules once; before each call it looks whether the project's source files are still those it imported,
and asks to be replaced where they are not: a warm worker would give the old code's result under the new code's name.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.flow.engines import calls

READY = b"r"
STALE = b"s"


class Order(NamedTuple):
    """What the parent sends: the packed call, and what of the parent the call shall find as it is there.

    path: where modules are. main: how to find `__main__`. environ: the variables (None: as they are).
    gpus: the numbers of those that it may see (None: all).
    """

    call: bytes
    path: tuple[str, ...]
    main: dict[str, str] | None = None
    environ: dict[Any, Any] | None = None
    gpus: tuple[int, ...] | None = None


class Worker:
    """The parent's end of a worker process. `sentinel` is readable when it has ended (Linux; elsewhere None)."""

    def __init__(self) -> None:
        flags = [f"-W{option}" for option in sys.warnoptions]
        with ExitStack() as undo, ExitStack() as theirs:
            self.connection, channel = Pipe(duplex=True)
            undo.callback(self.connection.close)
            theirs.callback(channel.close)
            lifeline, self._alive = os.pipe()
            undo.callback(os.close, self._alive)
            theirs.callback(os.close, lifeline)
            program = f"from tidemill.flow.engines.worker import main; main({channel.fileno()}, {lifeline})"
            self.process = subprocess.Popen(
                [sys.executable, *flags, "-c", program],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path())},  # as it is at run time
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(channel.fileno(), lifeline),
            )
            undo.callback(self.process.wait)
            undo.callback(self.process.kill)
            self.sentinel = os.pidfd_open(self.process.pid) if hasattr(os, "pidfd_open") else None
            undo.pop_all()  # all of it is there: keep it
        self.gpus: tuple[int, ...] | None = None
        self.ready = False
        self._sending = threading.Lock()
        self._environ: dict[Any, Any] | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def give(self, order: Order) -> None:
        """Send one call; that the worker has died meanwhile is seen by its sentinel."""
        with suppress(OSError), self._sending:
            if order.environ == self._environ:
                order = order._replace(environ=None)
            else:
                self._environ = order.environ
            self.connection.send_bytes(pickle.dumps(order, protocol=pickle.HIGHEST_PROTOCOL))

    def kill(self) -> None:
        """End it, its group and its descendants in sessions of their own."""
        if self.process.returncode is None:
            end_group(self.process.pid)

    def bury(self) -> int:
        """After its end: kill what is left of its group, let go of everything; the exit code."""
        self.kill()  # before reaping, while nobody else can have its number
        code = self.process.wait()
        with self._sending:  # a number let go in the middle of a write could be another file's by then
            self.connection.close()
        for descriptor in (self._alive, self.sentinel):
            if descriptor is not None:
                with suppress(OSError):
                    os.close(descriptor)
        self.sentinel = None
        return code


def end_group(pid: int) -> None:
    """SIGKILL to the process, its group, and every descendant that is still its child's child."""
    for each in _descendants(pid):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # last: it may be our own


def search_path() -> tuple[str, ...]:
    """Where this process finds modules; the folder that it is in by its name."""
    return tuple(entry or str(Path.cwd()) for entry in sys.path)


def variables() -> dict[Any, Any]:
    """The environment's variables now."""
    # The dict of bytes below os.environ where there is one: through its front, a copy takes as long as half a call.
    return dict(getattr(os.environ, "_data", os.environ))


def main_of_parent() -> dict[str, str] | None:
    """How a worker finds the module that runs as `__main__` here; None for a notebook or a prompt."""
    module = sys.modules["__main__"]
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return {"init_main_from_name": spec.name}
    path = getattr(module, "__file__", None)
    return {"init_main_from_path": str(Path(path).resolve())} if path else None


def main(channel: int, lifeline: int) -> None:
    """What the worker process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    for descriptor in (channel, lifeline):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    connection: Connection[Any, Any] = Connection(channel)
    connection.send_bytes(READY)
    path: tuple[str, ...] = ()
    environ: dict[Any, Any] | None = None
    sources = Sources()
    while True:
        try:
            order: Order = pickle.loads(connection.recv_bytes())  # noqa: S301  from the parent
        except EOFError:
            return
        if sources.changed():
            connection.send_bytes(STALE)
            return
        if order.path != path:
            path = order.path
            sys.path[:] = path
        environ = order.environ or environ
        if environ is not None and variables() != environ:
            # the parent's have changed, or the last call has changed ours
            os.environ.clear()
            os.environ.update({os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()})
        if order.gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, order.gpus))
        if order.main:
            from multiprocessing import spawn

            spawn.prepare(dict(order.main))
        reply = calls.perform(order.call)
        sources.note()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        try:
            connection.send_bytes(reply)
        except OSError:  # whoever asked is gone
            return
        del order, reply


class Sources:
    """The project's source files as they were when their modules were first seen here."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}
        self._modules = 0
        self._noted_at = math.inf  # what was there at the start counts as it is
        places = sysconfig.get_paths()
        self._installed = tuple({places[key] + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")})
        self.note()

    def note(self) -> None:
        """Take in the modules that were imported since."""
        if len(sys.modules) == self._modules:
            self._noted_at = time.time_ns()
            return
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            name = getattr(module, "__name__", "")
            if (
                isinstance(path, str)
                and path not in self._seen
                and not path.startswith(self._installed)
                and not str(name).startswith("tidemill.")
            ):
                state = _state(path)
                # Written while the call ran: before or after its import? File systems' clocks tick in 10 ms.
                self._seen[path] = state if state[0] < self._noted_at - 50_000_000 else (-1, -1)
        self._noted_at = time.time_ns()
        self._modules = len(sys.modules)

    def changed(self) -> bool:
        """Whether one of them is not what was imported."""
        return any(_state(path) != state for path, state in self._seen.items())


def _state(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116  a microsecond a file, before every call
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _end_with_parent(lifeline: int) -> None:
    with suppress(OSError):
        os.read(lifeline, 1)  # nothing is ever written: it returns when the parent's end is closed
    end_group(os.getpid())


def _descendants(pid: int) -> list[int]:
    """All processes below `pid`, by /proc; empty where there is none."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.parent.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found.extend(below)
        todo.extend(below)
    return found
