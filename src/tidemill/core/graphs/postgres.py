"""The graph in PostgreSQL, through psycopg 3; an advisory lock orders the event chain's writers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import sqlalchemy as sa

from tidemill.core.errors import Busy, MissingExtra
from tidemill.core.graphs.failing import readable_errors
from tidemill.core.graphs.migrate import ready
from tidemill.core.graphs.pgleases import Leases
from tidemill.core.graphs.sql import Opening, SqlGraph

WAIT_S = 30.0
LOCK_NOT_AVAILABLE = "55P03"
CHAIN_LOCK = 0x71DE_0001  # one number for the chain of a database


@contextmanager
def _writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    # READ COMMITTED: each statement sees what was committed before it, so what follows the lock sees the last event.
    with engine.begin() as link:
        link.exec_driver_sql(f"SET LOCAL lock_timeout = {int(WAIT_S * 1000)}")
        link.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CHAIN_LOCK})")
        yield link


@contextmanager
def _reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as link:
        yield link


def _free(engine: sa.Engine) -> None:
    """Write the tables anew, so that no dead row is left, and their statistics, which hold common values.

    The server's own log (WAL) and backups keep what they have for as long as their administrator says.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as link:
        link.exec_driver_sql(f"SET lock_timeout = {int(WAIT_S * 1000)}")
        for table in ("runs", "artifacts", "events"):
            link.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {table}")
        # The old statistics are dead rows too; the server warns who does not own the database.
        link.exec_driver_sql("VACUUM (FULL) pg_statistic")
        link.exec_driver_sql("RESET lock_timeout")


class PostgresGraph(SqlGraph):
    """A graph whose database also orders writers on several machines (see tidemill.core.locks)."""

    def __init__(
        self, engine: sa.Engine, writing: Opening, reading: Opening, *, free: Callable[[sa.Engine], None], wait_s: float
    ) -> None:
        super().__init__(engine, writing, reading, free=free, wait_s=wait_s)
        self.leases = Leases(engine)

    def close(self) -> None:
        """Let go of connections and of the names held on them."""
        self.leases.close()
        super().close()

    @contextmanager
    def exclusive(self, name: str, *, what: str, wait_s: float) -> Iterator[None]:
        """Hold the name for the body: an advisory lock, which goes with the connection when the process is killed."""
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as link:
            try:
                link.exec_driver_sql(f"SET lock_timeout = {int(wait_s * 1000)}")
                link.exec_driver_sql(f"SELECT pg_advisory_lock({number})")
            except sa.exc.OperationalError as error:
                link.invalidate()
                if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
                    raise Busy(f"{what} is locked by another machine for {wait_s:g} s; try again later") from error
                raise
            try:
                yield
            finally:
                try:
                    link.exec_driver_sql(f"SELECT pg_advisory_unlock({number})")
                    link.exec_driver_sql("RESET lock_timeout")
                except sa.exc.DBAPIError:
                    link.invalidate()  # a connection that ends lets go of its locks


def open_graph(url: str) -> PostgresGraph:
    """The graph in the PostgreSQL database `url` (postgresql://user@host/name), made and migrated where needed.

    Raises MissingExtra without psycopg, ServerFailed where no server answers, WrongFormat for a newer schema.
    """
    if find_spec("psycopg") is None:
        raise MissingExtra("postgresql:// needs psycopg: pip install 'tidemill[postgres]'")
    address = sa.make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(
        address, pool_pre_ping=True, isolation_level="READ COMMITTED", pool_size=8, max_overflow=-1
    )
    try:
        with readable_errors(engine, WAIT_S):
            ready(engine, _writing, where=address.render_as_string(hide_password=True))
    except BaseException:
        engine.dispose()
        raise
    return PostgresGraph(engine, _writing, _reading, free=_free, wait_s=WAIT_S)
