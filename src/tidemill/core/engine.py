"""Where work runs: what an engine must do. flow implements it; train and serve are handed one.

Contract
    Functions and arguments must pickle (they cross process boundaries); results come back the same way, in this
    program's own processes only.
    Errors: an exception raised by the function is raised by `result()` unchanged; a worker that dies raises
    ServerFailed naming the exit code, and the other tasks go on.

`tidemill.testing.engines` is the public suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")
A = TypeVar("A")
R_co = TypeVar("R_co", covariant=True)


class Resources(NamedTuple):
    """What an engine has, or a task asks for."""

    cpu: float
    gpu: float = 0.0
    memory_bytes: int | None = None


class Task(Protocol[R_co]):
    """A submitted call."""

    def result(self, timeout_s: float | None = None) -> R_co:
        """Wait for the result; TimeoutError after `timeout_s`."""
        ...

    def done(self) -> bool:
        """Whether it has ended, well or badly."""
        ...


class Engine(Protocol):
    """Runs functions somewhere."""

    def submit(self, function: Callable[[A], T], argument: A, *, needs: Resources | None = None) -> Task[T]:
        """Start one call."""
        ...

    def map(self, function: Callable[[A], T], arguments: Iterable[A], *, needs: Resources | None = None) -> Iterator[T]:
        """Results in the order of the arguments, in bounded memory: arguments are drawn as workers become free."""
        ...

    def cancel(self, task: Task[object]) -> bool:
        """Stop a task; False when it had ended."""
        ...

    def resources(self) -> Resources:
        """What this engine has in all."""
        ...

    def heartbeat(self) -> float:
        """Seconds since the workers were last known to be alive."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...
