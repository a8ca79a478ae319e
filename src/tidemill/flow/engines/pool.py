"""The engine that runs calls in warm worker processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar, cast

from tidemill.core.engine import Resources, Task
from tidemill.core.errors import BadInput, ServerFailed

T = TypeVar("T")
A = TypeVar("A")


class _Submitted(Generic[T]):
    """A call in a worker process."""

    def __init__(self, future: Future[T]) -> None:
        self.future = future

    def result(self, timeout_s: float | None = None) -> T:
        try:
            return self.future.result(timeout_s)
        except BrokenProcessPool as error:
            raise ServerFailed(
                "a worker process ended in the middle of a task (killed, or out of memory); "
                "give the task less data or the engine fewer workers, then run it again"
            ) from error

    def done(self) -> bool:
        return self.future.done()


class PoolEngine:
    """A pool of `workers` processes, started at the first call and replaced when one dies."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._alive_at = time.monotonic()

    def _executor(self) -> ProcessPoolExecutor:
        broken = getattr(self._pool, "_broken", False)
        if self._pool is None or broken:
            # spawn: a fork would copy the locks of Polars' and delta-rs's threads
            self._pool = ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"))
        return self._pool

    def submit(self, function: Callable[[A], T], argument: A, *, needs: Resources | None = None) -> Task[T]:
        """Queue one call; raises BadInput if it asks for more than this machine has."""
        have = self.resources()
        if needs is not None and (needs.cpu > have.cpu or needs.gpu > have.gpu):
            raise BadInput(
                f"the task asks for {needs.cpu} cores and {needs.gpu} GPUs; this engine has {have.cpu} and 0"
            )
        future = self._executor().submit(function, argument)
        future.add_done_callback(self._beat)
        return _Submitted(future)

    def map(self, function: Callable[[A], T], arguments: Iterable[A], *, needs: Resources | None = None) -> Iterator[T]:
        """Results in order; at most four calls a worker are in flight, so memory stays bounded."""
        waiting: deque[Task[T]] = deque()
        for argument in arguments:
            waiting.append(self.submit(function, argument, needs=needs))
            if len(waiting) >= 4 * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def cancel(self, task: Task[object]) -> bool:
        """Take a task that has not started out of the queue."""
        return cast("_Submitted[object]", task).future.cancel()

    def resources(self) -> Resources:
        """As many cores as workers."""
        return Resources(cpu=float(self.workers))

    def heartbeat(self) -> float:
        """Seconds since a worker last finished something, 0 while all workers idle."""
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        if all(process.is_alive() for process in processes):
            return 0.0
        return time.monotonic() - self._alive_at

    def close(self) -> None:
        """End the workers, dropping what is queued."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _beat(self, _: Future[T]) -> None:
        self._alive_at = time.monotonic()


def open_engine(url: str = "") -> PoolEngine:
    """The engine "pool", or "pool://4" for four workers; default: one a core."""
    count = url.partition("://")[2]
    if count and not count.isdigit():
        raise BadInput(f"engine {url!r}: {count!r} is no number of workers; write pool://4")
    return PoolEngine(int(count) if count else (os.cpu_count() or 1))
