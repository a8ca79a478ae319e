"""The graph in one SQLite file: WAL, one writer at a time, BEGIN IMMEDIATE.

A plain BEGIN that reads and then writes failed with "database is locked" in 75 % of concurrent transactions; BEGIN
IMMEDIATE waits its turn. synchronous=FULL: a commit is on the disk when it returns, as the blobs and the prediction log
that it speaks of are; NORMAL would survive kill -9, but not a power cut (https://sqlite.org/pragma.html). It costs one
fsync: 0.6 ms a commit instead of 0.3 on an idle disk, 3 ms instead of 0.5 on a busy one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tidemill.core.errors import Busy
from tidemill.core.graphs.failing import readable_errors
from tidemill.core.graphs.migrate import ready
from tidemill.core.graphs.sql import SqlGraph

WAIT_S = 30.0


@contextmanager
def _writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect().execution_options(tidemill_write=True) as link, link.begin():
        yield link


@contextmanager
def _reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as link:
        yield link


def _free(engine: sa.Engine) -> None:
    """Write the file anew without free pages, and cut off the write-ahead log, which holds the old ones.

    Raises Busy where another program reads for longer than 30 s: the rows are amended, the log not yet cut.
    """
    give_up = time.monotonic() + WAIT_S
    with engine.connect() as link:
        raw: Any = link.connection.driver_connection  # Any: the driver's connection, outside a transaction
        raw.execute("VACUUM")
        while raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > give_up:
                raise Busy(
                    f"another program reads {engine.url.database} for {WAIT_S:g} s, so its write-ahead log still holds "
                    "what was erased; end that program, then erase again"
                )
            time.sleep(0.05)


def open_graph(url: str) -> SqlGraph:
    """The graph in the SQLite file `url` (a path), made and migrated where needed.

    Raises Busy after 30 s behind another process, NoRoom where it cannot be written, WrongFormat for a newer schema,
    Corrupt for a file that is no database.
    """
    path = Path(url.removeprefix("sqlite:///"))
    # No limit to the pool: a thread that waits for the write lock holds a connection.
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": WAIT_S, "check_same_thread": False},
        pool_size=8,
        max_overflow=-1,
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(raw: Any, _: object) -> None:  # Any: the driver's connection
        raw.isolation_level = None  # we begin transactions ourselves
        _use_wal(raw)
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA secure_delete=ON")  # rows are never deleted; only `amend` makes bytes to overwrite

    @sa.event.listens_for(engine, "begin")
    def _begun(link: sa.Connection) -> None:
        write = link.get_execution_options().get("tidemill_write", False)
        link.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    try:
        with readable_errors(engine, WAIT_S):
            ready(engine, _writing, where=str(path))
    except BaseException:
        engine.dispose()
        raise
    return SqlGraph(engine, _writing, _reading, free=_free, wait_s=WAIT_S)


def _use_wal(raw: sqlite3.Connection) -> None:
    """Switch to WAL, which stays with the file. SQLite does not wait for its own lock here, so we do."""
    give_up = time.monotonic() + WAIT_S
    while True:
        try:
            if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                raw.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.02)
