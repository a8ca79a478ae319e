"""One thread of an execution: it makes the calls handed in, those whose time has come, and one every so often.

An error of a call ends nothing here: it is told, and the thread goes on, for others wait for what it does.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable

Call = Callable[[], object]


class Dispatcher:
    """See the module. look: called every `every_s`. failed: told of an error of any call."""

    def __init__(self, look: Call, every_s: float, failed: Callable[[BaseException], object]) -> None:
        self._look = look
        self._every_s = every_s
        self._failed = failed
        self._inbox: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Call]] = []
        self._order = itertools.count()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="tidemill flow", daemon=True)
        self._thread.start()

    def call(self, call: Call) -> None:
        """Make the call as soon as may be; from any thread."""
        self._inbox.put(call)

    def later(self, pause_s: float, call: Call) -> None:
        """Make the call after a pause; from any thread."""
        at = time.monotonic() + pause_s
        self._inbox.put(lambda: heapq.heappush(self._timers, (at, next(self._order), call)))

    def close(self) -> None:
        """End the thread after the call in hand; what waits is not called."""
        self._closed = True
        self._inbox.put(None)
        self._thread.join()

    def _serve(self) -> None:
        next_look = time.monotonic() + self._every_s
        while not self._closed:
            now = time.monotonic()
            if now >= next_look:
                next_look = now + self._every_s
                self._made(self._look)
            while self._timers and self._timers[0][0] <= now and not self._closed:
                self._made(heapq.heappop(self._timers)[2])
            until = min(self._timers[0][0], next_look) if self._timers else next_look
            try:
                call = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                continue
            if call is not None:
                self._made(call)

    def _made(self, call: Call) -> None:
        try:
            call()
        except BaseException as error:  # nobody else would tell those who wait
            self._failed(error)
