"""Bring a database to today's schema: one cheap query when nothing is due; Alembic only when something is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from tidemill.core.errors import WrongFormat
from tidemill.core.graphs.schema import SCHEMA, metadata

VERSION_TABLE = "tidemill_schema"
_one_at_a_time = threading.Lock()  # Alembic keeps its context in module globals


def ready(
    engine: sa.Engine,
    writing: Callable[[sa.Engine], AbstractContextManager[sa.Connection]],
    *,
    where: str,
) -> None:
    """Make or migrate the schema if that is due. Raises WrongFormat for a newer schema or somebody else's database.

    Looks first without a lock, so that opening never waits for a writer; then again under the write lock, so that of
    many processes that open an empty database at once, one makes the schema.
    """
    with engine.connect() as link:
        if _version(link, where) == SCHEMA:
            return
    with _one_at_a_time, writing(engine) as link:
        have = _version(link, where)
        if have < SCHEMA:
            _upgrade(link, have, where)


def _version(link: sa.Connection, where: str) -> int:
    """The database's schema number, 0 for one without."""
    if not sa.inspect(link).has_table(VERSION_TABLE):
        return 0
    try:
        have = int(link.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one())  # noqa: S608  constant
    except (DBAPIError, sa.exc.NoResultFound, sa.exc.MultipleResultsFound, ValueError) as error:
        raise WrongFormat(f"{where} does not say which schema it has ({error}); restore it from a backup") from error
    if have > SCHEMA:
        raise WrongFormat(f"{where} has schema {have}, this tidemill reads up to {SCHEMA}: pip install -U tidemill")
    return have


def _upgrade(link: sa.Connection, have: int, where: str) -> None:
    from alembic import command
    from alembic.config import Config

    if have == 0:
        taken = sorted(set(sa.inspect(link).get_table_names()) & set(metadata.tables))
        if taken:
            raise WrongFormat(
                f"{where} has tables {', '.join(taken)} that are not tidemill's; name an empty database or folder"
            )
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = link
    try:
        command.upgrade(config, str(SCHEMA))
    except (OperationalError, ProgrammingError) as error:
        if "locked" in str(error.orig) or "full" in str(error.orig):
            raise
        raise WrongFormat(f"{where} cannot be brought to schema {SCHEMA}: {error.orig}; restore a backup") from error
