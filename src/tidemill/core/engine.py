"""Where work runs: what an engine must do. flow implements it; train and serve are handed one.

Contract
    Functions and arguments must pickle (they cross process boundaries); results come back the same way, in this
    program's own processes only.
    Errors: an exception raised by the function is raised by `result()` as it was, the worker's traceback in a note; one
    that cannot leave its process, or `sys.exit`, as TaskFailed. A worker that dies fails the task it had in hand
    with ServerFailed, naming the exit code; all other tasks go on. Nothing is retried: whoever submits decides that.
    Time: `timeout_s` counts from the moment the function starts, not while it waits for a worker. Afterwards the
    function's process and all that it has started are killed within 2 s, and `result()` raises TimedOut.
    Order: tasks start in the order in which they were submitted; on a cluster as nearly as its scheduler keeps it.
    Threads: every method may be called from any thread.

`tidemill.testing.engines` is the public suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

T = TypeVar("T")
A = TypeVar("A")
R_co = TypeVar("R_co", covariant=True)


class Resources(NamedTuple):
    """What an engine has, or a task asks for: cores, GPUs, bytes of memory (None: as it comes)."""

    cpu: float
    gpu: float = 0.0
    memory_bytes: int | None = None


class Task(Protocol[R_co]):
    """A submitted call."""

    def result(self, timeout_s: float | None = None) -> R_co:
        """Wait for the result; TimeoutError when it is not there after `timeout_s` (the task goes on).

        Raises what the function raised; TimedOut, Cancelled, ServerFailed, TaskFailed as the contract says.
        """
        ...

    def done(self) -> bool:
        """Whether it has ended, well or badly."""
        ...

    def add_done_callback(self, callback: Callable[[Task[Any]], object]) -> None:
        """Call `callback(task)` once when it has ended; at once where it has.

        It is called in a thread of the engine, which waits meanwhile: be brief. It may submit.
        """
        ...


class Engine(Protocol):
    """Runs functions somewhere."""

    def submit(
        self,
        function: Callable[[A], T],
        argument: A,
        *,
        needs: Resources | None = None,
        timeout_s: float | None = None,
        name: str = "",
    ) -> Task[T]:
        """Start one call, or queue it until what it needs is free.

        needs: default one core. name: what messages call the task, default the function's name. Raises BadInput where
        it asks for more than this engine has, or does not pickle.
        """
        ...

    def map(self, function: Callable[[A], T], arguments: Iterable[A], *, needs: Resources | None = None) -> Iterator[T]:
        """Results in the order of the arguments, in bounded memory: arguments are drawn as workers become free."""
        ...

    def cancel(self, task: Task[Any]) -> bool:
        """End a task, also one that runs (its whole process group, within 2 s); False when it had ended.

        Afterwards `result()` raises Cancelled.
        """
        ...

    def resources(self) -> Resources:
        """What this engine has in all."""
        ...

    def heartbeat(self) -> float:
        """Seconds since the workers were last known to be alive."""
        ...

    def close(self) -> None:
        """End the workers; tasks that have not ended raise Cancelled. A closed engine takes no more."""
        ...
