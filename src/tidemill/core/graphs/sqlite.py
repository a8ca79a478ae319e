"""The graph in one SQLite file: WAL, one writer at a time, BEGIN IMMEDIATE.

A plain BEGIN that reads and then writes failed with "database is locked" in 75 % of concurrent transactions; BEGIN
IMMEDIATE waits its turn. synchronous=NORMAL: in WAL mode a commit survives kill -9 of the process; a power cut can lose
the last commits, never tear the file. TIDEMILL_SQLITE_SYNCHRONOUS=full buys that too, at one fsync a commit.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, OperationalError

from tidemill.core.errors import Busy, WrongFormat
from tidemill.core.graphs.migrate import migrate
from tidemill.core.graphs.sql import SqlGraph

WAIT_S = 30.0


@contextmanager
def _writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect().execution_options(tidemill_write=True) as link, link.begin():
        yield link


def open_graph(url: str) -> SqlGraph:
    """The graph in the SQLite file `url` (a path), made and migrated where needed."""
    path = Path(url)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": WAIT_S, "check_same_thread": False})
    synchronous = os.environ.get("TIDEMILL_SQLITE_SYNCHRONOUS", "normal")

    @sa.event.listens_for(engine, "connect")
    def _connected(raw: Any, _: object) -> None:
        raw.isolation_level = None  # we begin transactions ourselves
        raw.execute(f"PRAGMA busy_timeout={int(WAIT_S * 1000)}")
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute(f"PRAGMA synchronous={'FULL' if synchronous == 'full' else 'NORMAL'}")

    @sa.event.listens_for(engine, "begin")
    def _begun(link: sa.Connection) -> None:
        write = link.get_execution_options().get("tidemill_write", False)
        link.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    try:
        with _writing(engine) as link:
            migrate(link, where=str(path))
    except OperationalError as error:
        if "locked" in str(error.orig):
            raise Busy(
                f"{path} was locked by another process for {WAIT_S:.0f} s; see who holds it, then retry"
            ) from error
        raise
    except DatabaseError as error:
        if isinstance(error.orig, sqlite3.DatabaseError):
            raise WrongFormat(f"{path} is no SQLite database ({error.orig}); restore it or name another one") from error
        raise
    return SqlGraph(engine, _writing)
