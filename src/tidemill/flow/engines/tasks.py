"""A submitted call as its submitter sees it: pending, then ended with a value or an error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tidemill.core.engine import Task
from tidemill.flow.engines.calls import outcome


class Pending:
    """A call somewhere else. Its reply is unpickled by who asks for it first, not by the engine's thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._future: Future[bytes] = Future()
        self._reading = threading.Lock()
        self._value: list[Any] = []

    def result(self, timeout_s: float | None = None) -> Any:
        """Wait for the value; raises the call's error, or TimeoutError when it is not there in time."""
        try:
            reply = self._future.result(timeout_s)
        except TimeoutError as error:
            if self._future.done():  # the call's own
                raise
            raise TimeoutError(f"no result of task {self.name!r} after {timeout_s} s; it goes on") from error
        with self._reading:
            if not self._value:
                self._value.append(outcome(reply))
            return self._value[0]

    def reply(self, timeout_s: float | None = None) -> bytes:
        """Wait for the packed outcome, as it came from the worker."""
        return self._future.result(timeout_s)

    def done(self) -> bool:
        """Whether it has ended, well or badly."""
        return self._future.done()

    def add_done_callback(self, callback: Callable[[Task[Any]], object]) -> None:
        """Call `callback(task)` once when it has ended; an error of the callback is logged."""
        self._future.add_done_callback(lambda _: callback(self))

    def finish(self, reply: bytes) -> None:
        """For the engine: it ended with this reply."""
        self._future.set_result(reply)

    def fail(self, error: BaseException) -> None:
        """For the engine: it ended without a reply."""
        self._future.set_exception(error)
