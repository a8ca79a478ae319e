"""A call as bytes: packed where it is submitted, performed where it runs, its outcome brought back.

Both process engines use it, so an error, a `sys.exit` or a result that does not pickle looks the same on each.
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tidemill.core.engine import Engine, Resources, Task
from tidemill.core.errors import BadInput, TaskFailed, TidemillError

T = TypeVar("T")
A = TypeVar("A")

VALUE = b"v"
ERROR = b"e"


def name_of(function: Callable[..., Any], name: str) -> str:
    """What messages call the task."""
    return name or str(getattr(function, "__name__", None) or type(function).__name__)


def pack(function: Callable[[A], Any], argument: A, name: str) -> bytes:
    """The call as bytes; raises BadInput where it does not pickle."""
    try:
        return pickle.dumps((function, argument), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # a user's __reduce__ raises what it likes
        raise BadInput(
            f"task {name!r} cannot be sent to a worker process: {error}; "
            "use a function at the top level of a module, and arguments that pickle"
        ) from error


def perform(call: bytes) -> bytes:
    """Run a packed call; its outcome as bytes, whatever happens."""
    try:
        function, argument = pickle.loads(call)  # noqa: S301  from this program's own process
        value = function(argument)
    except SystemExit as stop:
        return failed(left(stop))
    except Exception as error:
        return failed(error)
    try:
        return VALUE + pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return failed(
            TaskFailed(
                f"a result of type {type(value).__qualname__} cannot leave its process: {error}; return plain data"
            )
        )


def left(stop: SystemExit) -> TaskFailed:
    """What a task that called `sys.exit` ends with."""
    return TaskFailed(f"the task called sys.exit({stop.code!r}); return a value or raise an error instead")


def outcome(reply: bytes) -> Any:  # Any: whatever the function returned
    """The value, or the error raised."""
    content = pickle.loads(memoryview(reply)[1:])  # noqa: S301  from this program's own worker
    if reply[:1] == VALUE:
        return content
    raise content


def in_order(
    engine: Engine, function: Callable[[A], T], arguments: Iterable[A], *, needs: Resources | None, at_once: int
) -> Iterator[T]:
    """Map over an engine: results in order, at most `at_once` calls submitted and not yet taken."""
    waiting: deque[Task[T]] = deque()
    try:
        for argument in arguments:
            waiting.append(engine.submit(function, argument, needs=needs))
            if len(waiting) >= at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for task in waiting:
            engine.cancel(task)


def require(needs: Resources, have: Resources, name: str) -> None:
    """Raise BadInput where a task asks for more than there is."""
    if needs.cpu > have.cpu or needs.gpu > have.gpu:
        raise BadInput(
            f"task {name!r} asks for {needs.cpu:g} cores and {needs.gpu:g} GPUs; "
            f"this engine has {have.cpu:g} and {have.gpu:g}. Ask for less, or use a larger engine"
        )
    if needs.memory_bytes is not None and have.memory_bytes is not None and needs.memory_bytes > have.memory_bytes:
        raise BadInput(
            f"task {name!r} asks for {needs.memory_bytes / 1e9:.3g} GB of memory; "
            f"this engine has {have.memory_bytes / 1e9:.3g} GB. Ask for less, or use a larger engine"
        )


def failed(error: Exception) -> bytes:
    """An error as the outcome of a call, its traceback in a note."""
    trace = "".join(traceback.format_exception(error)[:-1]) or "no frames\n"
    error.add_note(f"in worker process {os.getpid()}:\n{trace.rstrip()}")
    error.__traceback__ = None
    try:
        packed = pickle.dumps(error, protocol=pickle.HIGHEST_PROTOCOL)
        again = pickle.loads(packed)  # noqa: S301  just made; some errors are dumped and cannot be loaded
        if type(again) is not type(error):
            raise TypeError("another type comes back")
    except Exception:
        told: TidemillError = TaskFailed(f"{type(error).__qualname__}: {error} (the error itself cannot be pickled)")
        for note in getattr(error, "__notes__", ()):
            told.add_note(str(note))
        packed = pickle.dumps(told, protocol=pickle.HIGHEST_PROTOCOL)
    return ERROR + packed
