"""Bring a database to today's schema: one cheap query when nothing is due; Alembic only when something is."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from tidemill.core.errors import WrongFormat
from tidemill.core.graphs.schema import SCHEMA


def version_of(link: sa.Connection) -> int:
    """The database's schema number, 0 for an empty one."""
    if not sa.inspect(link).has_table("tidemill_schema"):
        return 0
    found = link.execute(sa.text("SELECT version_num FROM tidemill_schema")).scalar()
    return int(found or 0)


def migrate(link: sa.Connection, *, where: str) -> None:
    """Run the migrations that are due, inside the caller's write transaction. Raises WrongFormat for a newer schema."""
    try:
        have = version_of(link)
    except (DatabaseError, ValueError) as error:
        raise WrongFormat(f"{where} is no tidemill database: {error}; restore it, or name another workspace") from error
    if have > SCHEMA:
        raise WrongFormat(f"{where} has schema {have}, this tidemill reads up to {SCHEMA}: pip install -U tidemill")
    if have == SCHEMA:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = link
    command.upgrade(config, str(SCHEMA))
