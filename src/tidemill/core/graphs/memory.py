"""The graph in this process's memory: a SQLite database without a file, so it behaves like the others to the letter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from tidemill.core.graphs.migrate import migrate
from tidemill.core.graphs.sql import SqlGraph


class _OneAtATime:
    """One connection holds the database; a lock lets threads take turns."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    @contextmanager
    def __call__(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with self.lock, engine.begin() as link:
            yield link


class MemoryGraph(SqlGraph):
    """A graph that ends with its process."""

    def __init__(self, engine: sa.Engine, turns: _OneAtATime) -> None:
        super().__init__(engine, turns)
        self._turns = turns

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with self._turns.lock, self._engine.connect() as link:
            yield link


def open_graph(url: str = "") -> MemoryGraph:  # noqa: ARG001  the extension point hands a url to every graph
    """A new, empty graph."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _connected(raw: Any, _: object) -> None:
        raw.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begun(link: sa.Connection) -> None:
        link.exec_driver_sql("BEGIN")

    turns = _OneAtATime()
    with turns(engine) as link:
        migrate(link, where="memory")
    return MemoryGraph(engine, turns)
