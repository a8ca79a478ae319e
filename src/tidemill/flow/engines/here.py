"""The engine that runs each call at once, in this thread: for notebooks, tests and debuggers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from tidemill.core.engine import Resources, Task

T = TypeVar("T")
A = TypeVar("A")


class _Ended(Generic[T]):
    """A call that has ended already: with a value or with an error."""

    def __init__(self, value: T | None, error: BaseException | None) -> None:
        self._value = value
        self._error = error

    def result(self, timeout_s: float | None = None) -> T:  # noqa: ARG002  it has ended, there is nothing to wait for
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # None only where T allows it, or with an error

    def done(self) -> bool:
        return True


class HereEngine:
    """Runs in this process and thread; `cancel` never can."""

    def submit(self, function: Callable[[A], T], argument: A, *, needs: Resources | None = None) -> Task[T]:  # noqa: ARG002
        """Run it now; its error is kept for `result()`."""
        try:
            return _Ended(function(argument), None)
        except Exception as error:
            return _Ended[T](None, error)

    def map(self, function: Callable[[A], T], arguments: Iterable[A], *, needs: Resources | None = None) -> Iterator[T]:  # noqa: ARG002
        """One after the other, as they are asked for."""
        return map(function, arguments)

    def cancel(self, task: Task[object]) -> bool:  # noqa: ARG002
        """Always False: a task here has ended."""
        return False

    def resources(self) -> Resources:
        """The cores of this machine."""
        return Resources(cpu=float(os.cpu_count() or 1))

    def heartbeat(self) -> float:
        """Always 0: it is alive, for it answers."""
        return 0.0

    def close(self) -> None:
        """Nothing to end."""


def open_engine(url: str = "") -> HereEngine:  # noqa: ARG001  the extension point hands a url to every engine
    """The engine "here"."""
    return HereEngine()
