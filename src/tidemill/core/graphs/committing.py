"""Many writers, one transaction: what threads ask for at the same time is committed together.

A commit costs an fsync, whatever it holds. While one goes on, what comes meanwhile gathers, and is the next: nobody
waits for a timer. Each operation is a part of the transaction that fails alone.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import sqlalchemy as sa

from tidemill.core.errors import BadInput
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.workspace import Workspace

T = TypeVar("T")
Operation = Callable[[Transaction], T]  # what is done in a transaction, and may be done again in another one
AT_ONCE = 256  # operations in one transaction: those that wait for it are not kept long
IDLE_S = 5.0


class Committer:
    """The writer of a workspace in this process. Any method from any thread."""

    def __init__(self, graph: SqlGraph) -> None:
        self._graph = weakref.ref(graph)
        self._inbox: queue.SimpleQueue[tuple[Callable[[Transaction], Any], Future[Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, operation: Callable[[Transaction], T]) -> Future[T]:
        """Do the operation in the next transaction; what it wrote is durable when the future is done."""
        future: Future[T] = Future()
        self._inbox.put((operation, future))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="tidemill commits", daemon=True)
                self._thread.start()
        return future

    def call(self, operation: Callable[[Transaction], T]) -> T:
        """Do the operation and wait until it is durable; raises what it raises."""
        return self.submit(operation).result()

    def _serve(self) -> None:
        while True:
            try:
                first = self._inbox.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._inbox.empty():
                        self._thread = None
                        return
                continue
            work = [first]
            with suppress(queue.Empty):
                while len(work) < AT_ONCE:
                    work.append(self._inbox.get_nowait())
            self._commit(work)

    def _commit(self, work: list[tuple[Callable[[Transaction], Any], Future[Any]]]) -> None:
        ended: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            graph = self._graph()
            if graph is None:
                raise BadInput("the workspace is closed; open it again")
            with graph.transaction() as now:
                for operation, future in work:
                    try:
                        if len(work) == 1:
                            ended.append((future, operation(now), None))
                        else:
                            with now.part():
                                made = operation(now)
                            ended.append((future, made, None))
                    except Exception as error:
                        ended.append((future, None, error))
                        if len(work) == 1:
                            raise
        except BaseException as error:
            for _, future in work:
                future.set_exception(error)
            return
        for future, made, failed in ended:
            if failed is None:
                future.set_result(made)
            else:
                future.set_exception(failed)


@contextmanager
def reading(ws: Workspace) -> Iterator[sa.Connection]:
    """A connection that sees one moment of the workspace's tables (core/graphs/schema.py)."""
    with _database(ws).reading() as link:
        yield link


def committer_of(ws: Workspace) -> Committer:
    """The one of this process for the workspace's graph. Raises BadInput for a graph that is not in a database."""
    graph = _database(ws)
    with _one_at_a_time:
        if graph not in _committers:
            _committers[graph] = Committer(graph)
        return _committers[graph]


def _database(ws: Workspace) -> SqlGraph:
    if not isinstance(ws.graph, SqlGraph):
        raise BadInput("this is kept in a database; open a folder or postgresql://, not memory")
    return ws.graph


_one_at_a_time = threading.Lock()
_committers: weakref.WeakKeyDictionary[SqlGraph, Committer] = weakref.WeakKeyDictionary()
