"""One call of a step, where it runs: arguments loaded, output captured, the result packed. The same on every engine."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from tidemill.core import recording
from tidemill.core.errors import BadInput, NotFound
from tidemill.core.ids import digest
from tidemill.core.stores.memory import MemoryStore
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow import values
from tidemill.flow.caching.keys import reached
from tidemill.flow.engines.calls import left
from tidemill.flow.refs import building
from tidemill.flow.steps import Step
from tidemill.flow.values import Output

_OTHER = re.compile(r"[^\w.\[\]#-]")
LOG_NAME = 150
MEMORY = "memory://"
SMALL_BYTES = 65_536  # below it a result comes back with its bytes: one writer stores many at once


@dataclass(frozen=True, slots=True)
class Place:
    """Where the workspace is, for another process."""

    url: str
    store: str | None
    root: str


@dataclass(frozen=True, slots=True)
class Given:
    """An argument, or a part of one, that another step made."""

    output: Output
    path: tuple[Any, ...] = ()
    data: bytes | None = None  # its bytes, where the store has not got them yet


@dataclass(frozen=True, slots=True)
class Secret:
    """An argument that is read where the step runs."""

    name: str


@dataclass(frozen=True, slots=True)
class Live:
    """An argument that is here already (in the process that runs the execution)."""

    value: Any


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A call to make. arguments: by name; leaves may be Given, Secret or Live. log: a file for what it prints.

    env: the environment variables that its key speaks of, as they were then; None for one that was not set.
    code: the digest of the code and globals that its key speaks of; "" where it has no key.
    """

    step: Step[..., Any]
    arguments: Mapping[str, Any]
    place: Place | None  # None: in the execution's own process
    run_id: str
    node: str
    attempt: int
    log: str
    env: Mapping[str, str | None] = field(default_factory=dict)
    code: str = ""


@dataclass(slots=True)
class TaskResult:
    """What became of it. packed: None where no format takes the value. live: the value, in the own process only.

    other: it ran under other code or globals than its key speaks of.
    """

    packed: values.Packed | None
    live: tuple[Any, ...] = ()
    error: BaseException | None = None
    trace: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0
    printed: bool = False
    other: bool = False


current: ContextVar[TaskSpec | None] = ContextVar("tidemill_task", default=None)


def perform(spec: TaskSpec, ws: Workspace | None = None) -> TaskResult:
    """Make the call. The step's own error is a part of the result, so that its log and times come back with it."""
    began, cpu_began = time.perf_counter(), recording.cpu_seconds()
    log = Log(spec.log)
    outside, inside = building.set(None), current.set(spec)
    part_of = recording.inside.set(spec.run_id)
    try:
        with _captured(log, whole=ws is None), _environment(spec.env):
            other = spec.code != "" and reached(spec.step.function, env=spec.step.options.env).digest != spec.code
            result = _called(spec, ws)
    finally:
        recording.inside.reset(part_of)
        current.reset(inside)
        building.reset(outside)
        log.close()
    result.other = other
    result.cpu_s = max(0.0, recording.cpu_seconds() - cpu_began)
    result.wall_s = time.perf_counter() - began
    result.peak_bytes = recording.peak_bytes()
    result.printed = log.written
    return result


def read_secret(name: str) -> str:
    """The secret, from the environment. Raises NotFound."""
    for key in (f"TIDEMILL_SECRET_{name}", f"TIDEMILL_SECRET_{name.upper()}"):
        if key in os.environ:
            return os.environ[key]
    raise NotFound(f"no secret {name!r}; set TIDEMILL_SECRET_{name.upper()} where steps run")


class Log:
    """A file that is made when the first text comes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.written = False
        self._file: TextIO | None = None

    def write(self, text: str) -> int:
        """Append, flushed: it is read while the step runs."""
        if text:
            self.open().write(text)
            self.written = True
        return len(text)

    def open(self) -> TextIO:
        """The file."""
        if self._file is None:
            path = Path(self._path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", errors="replace", buffering=1)
        return self._file

    def close(self) -> None:
        """Close the file; an empty one goes."""
        if self._file is not None:
            self._file.close()
            path = Path(self._path)
            self.written = path.stat().st_size > 0
            if not self.written:
                path.unlink(missing_ok=True)


def _called(spec: TaskSpec, ws: Workspace | None) -> TaskResult:
    def place() -> Workspace:  # opened where it is needed: a quick step on plain values needs none
        return ws or _workspace(spec.place)

    try:
        arguments = {name: _argument(each, place) for name, each in spec.arguments.items()}
        args, kwargs = spec.step.positional(arguments)
        made = spec.step.function(*args, **kwargs)
        if isinstance(made, Iterator):
            raise BadInput(
                f"step {spec.step.name!r} returned a {type(made).__name__}, which can be gone through only once; "
                "return a list"
            )
        packed = values.pack(made)
        everywhere = spec.place is None or spec.place.store != MEMORY
        if packed is not None and packed.output.size_bytes > SMALL_BYTES and everywhere:
            packed = values.Packed(values.stored(packed, place().store), None)
        return TaskResult(packed, (made,) if packed is None or spec.place is None else ())
    except (Exception, SystemExit) as raised:
        error = left(raised) if isinstance(raised, SystemExit) else raised
        shown = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):  # a full disk: the step's own error says more than the log's
            sys.stderr.write(shown)
        return TaskResult(None, error=error, trace=shown)


def in_memory(ws: Workspace) -> bool:
    """Whether its bytes are in this process alone."""
    return isinstance(ws.store, MemoryStore)


def _argument(given: Any, ws: Callable[[], Workspace]) -> Any:
    kind = type(given)
    if kind is Given:
        return values.part(values.load(given.output, ws, given.data), given.path)
    if kind is Live:
        return given.value
    if kind is Secret:
        return read_secret(given.name)
    if kind is list:
        return [_argument(each, ws) for each in given]
    if kind is tuple:
        return tuple(_argument(each, ws) for each in given)
    if kind is dict:
        return {key: _argument(each, ws) for key, each in given.items()}
    return given


@lru_cache(maxsize=4)
def _opened(url: str, store: str | None, root: str) -> Workspace:  # noqa: ARG001  the root tells two folders apart
    return open_workspace(url, store=store, create=False)


def _workspace(place: Place | None) -> Workspace:
    assert place is not None
    return _opened(place.url, place.store, place.root)


def log_path(ws: Workspace, run_id: str, node: str) -> Path:
    """The file in which a node's output gathers while it runs."""
    return Path(logs_of(ws, run_id), log_name(node))


def logs_of(ws: Workspace, run_id: str) -> str:
    """The folder of an execution's logs on this machine."""
    return f"{ws.root}/logs/flow/{run_id}"


def log_name(node: str) -> str:
    """The name of a node's log file."""
    plain = _OTHER.sub("_", node)
    if plain == node and len(node) <= LOG_NAME:
        return f"{node}.log"
    return f"{plain[:LOG_NAME]}.{digest(node.encode())[:12]}.log"  # two nodes, two files


def place_of(ws: Workspace) -> Place:
    """Where this workspace is."""
    root = getattr(ws.store, "root", None)
    store = getattr(ws.store, "url", None) or (None if root is None else str(Path(root).resolve()))
    store = MEMORY if in_memory(ws) else store
    return Place(ws.url if "://" in ws.url else str(ws.root), store, str(ws.root))


@contextlib.contextmanager
def _environment(wanted: Mapping[str, str | None]) -> Iterator[None]:
    """These variables, while the step runs: a node of a cluster has an environment of its own."""
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(wanted: Mapping[str, str | None]) -> None:
    for name, text in wanted.items():
        if text is None:
            os.environ.pop(name, None)
        elif text != os.environ.get(name):
            os.environ[name] = text


@contextlib.contextmanager
def _captured(log: Log, *, whole: bool) -> Iterator[None]:
    """Let the log have what is printed. whole: of the process and its children too, by their descriptors."""
    if not whole:
        stream = _Stream(log)
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield
        return
    file = log.open()
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    try:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield
    finally:
        file.flush()
        for descriptor, place in zip(before, (1, 2), strict=True):
            os.dup2(descriptor, place)
            os.close(descriptor)


class _Stream(io.TextIOBase):
    """A text stream into a log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, text: str) -> int:
        return self._log.write(text)

    def writable(self) -> bool:
        return True
