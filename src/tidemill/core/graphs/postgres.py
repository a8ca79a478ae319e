"""The graph in PostgreSQL, through psycopg 3; an advisory lock orders the event chain's writers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tidemill.core.errors import MissingExtra, NotFound
from tidemill.core.graphs.migrate import migrate
from tidemill.core.graphs.sql import SqlGraph

CHAIN_LOCK = 0x71DE_0001  # one number for the chain of a database


@contextmanager
def _writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.begin() as link:
        link.execute(sa.text("SET LOCAL lock_timeout = '30s'"))
        link.execute(sa.select(sa.func.pg_advisory_xact_lock(CHAIN_LOCK)))
        yield link


def open_graph(url: str) -> SqlGraph:
    """The graph in the PostgreSQL database `url` (postgresql://user@host/name), made and migrated where needed."""
    if find_spec("psycopg") is None:
        raise MissingExtra("postgresql:// needs psycopg: pip install 'tidemill[postgres]'")
    address = sa.make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(address, pool_pre_ping=True, isolation_level="READ COMMITTED")
    try:
        with _writing(engine) as link:
            migrate(link, where=address.render_as_string(hide_password=True))
    except OperationalError as error:
        shown = address.render_as_string(hide_password=True)
        raise NotFound(f"cannot reach {shown}: {error.orig}; is the server up, and does the database exist?") from error
    return SqlGraph(engine, _writing)
