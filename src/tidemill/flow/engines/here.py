"""The engine that runs each call at once, in this thread: for notebooks, tests and debuggers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from tidemill.core.engine import Resources, Task
from tidemill.core.errors import BadInput
from tidemill.flow.engines.calls import left, name_of, require
from tidemill.flow.engines.machine import machine
from tidemill.flow.engines.pool import PoolEngine

T = TypeVar("T")
A = TypeVar("A")


class Ended(Generic[T]):
    """A call that has ended already: with a value or with an error."""

    def __init__(self, value: T | None, error: Exception | None) -> None:
        self._value = value
        self._error = error

    def result(self, timeout_s: float | None = None) -> T:  # noqa: ARG002  it has ended, there is nothing to wait for
        """The value, or the error raised."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # None only where T allows it, or with an error

    def done(self) -> bool:
        """True."""
        return True

    def add_done_callback(self, callback: Callable[[Task[Any]], object]) -> None:
        """Called at once."""
        callback(self)


class HereEngine:
    """Runs in this process and thread. A call with `timeout_s` goes to a worker process: a thread cannot be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: PoolEngine | None = None
        self._closed = False

    def submit(
        self,
        function: Callable[[A], T],
        argument: A,
        *,
        needs: Resources | None = None,
        timeout_s: float | None = None,
        name: str = "",
    ) -> Task[T]:
        """Run it now; its error is kept for `result()`. With `timeout_s` it returns at once, and must pickle."""
        called = name_of(function, name)
        if needs is not None:
            require(needs, self.resources(), called)
        with self._lock:
            if self._closed:
                raise BadInput(f"task {called!r}: this engine is closed; open another one")
            if timeout_s is not None and self._pool is None:
                self._pool = PoolEngine(1, have=self.resources())
        if timeout_s is not None:
            assert self._pool is not None
            alone = self.resources()._replace(gpu=needs.gpu if needs else 0.0)  # one at a time
            return self._pool.submit(function, argument, needs=alone, timeout_s=timeout_s, name=name)
        try:
            return Ended(function(argument), None)
        except SystemExit as stop:
            return Ended[T](None, left(stop))
        except Exception as error:
            return Ended[T](None, error)

    def map(self, function: Callable[[A], T], arguments: Iterable[A], *, needs: Resources | None = None) -> Iterator[T]:
        """One after the other, as they are asked for."""
        return (self.submit(function, argument, needs=needs).result() for argument in arguments)

    def cancel(self, task: Task[Any]) -> bool:
        """False for what has ended, as every call without `timeout_s` has."""
        return False if isinstance(task, Ended) or self._pool is None else self._pool.cancel(task)

    def resources(self) -> Resources:
        """The cores, GPUs and memory of this machine."""
        return machine()

    def heartbeat(self) -> float:
        """Always 0: it is alive, for it answers."""
        return 0.0

    def close(self) -> None:
        """End the worker process, where there is one."""
        with self._lock:
            self._closed = True
            pool = self._pool
        if pool is not None:
            pool.close()


def open_engine(url: str = "") -> HereEngine:  # noqa: ARG001  the extension point hands a url to every engine
    """The engine "here"."""
    return HereEngine()
