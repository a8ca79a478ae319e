"""The prediction log's writer: requests that wait at the same time share one flush to disk (group commit)."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tidemill.core.segments import SegmentWriter
from tidemill.core.types import Prediction

_Waiting = tuple[list[bytes], asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class PredictionLog:
    """Appends records from an event loop by a thread of its own. Busy at once where another server writes there."""

    def __init__(self, folder: Path) -> None:
        self._writer = SegmentWriter(folder)
        self._encoder = msgspec.json.Encoder()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="prediction-log", daemon=True)
        self._thread.start()

    async def append(self, records: Sequence[Prediction]) -> None:
        """Returns when the records survive kill -9; raises NoRoom where the disk is full."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put(([self._encoder.encode(record) for record in records], loop, done))
        await done

    def close(self) -> None:
        """Write what waits, then let go of the log."""
        self._queue.put(None)
        self._thread.join()
        self._writer.close()

    def _write(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            group, ended = [first], False
            while not self._queue.empty():
                further = self._queue.get()
                if further is None:
                    ended = True
                    break
                group.append(further)
            failure: Exception | None = None
            try:
                self._writer.append([payload for payloads, _, _ in group for payload in payloads])
            except Exception as error:  # whatever went wrong belongs to those who wait, and must not end the thread
                failure = error
            for _, loop, done in group:
                loop.call_soon_threadsafe(_settle, done, failure)
            if ended:
                return


def _settle(done: asyncio.Future[None], failure: Exception | None) -> None:
    if done.done():  # the caller went away; its records are durable all the same
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)
