"""The drivers' errors as ours: which of them a locked, full, broken or unreachable database means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from tidemill.core.errors import BadInput, Busy, Conflict, NoRoom, ServerFailed
from tidemill.core.graphs import verifying


@contextmanager
def readable_errors(engine: sa.Engine, wait_s: float) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except DBAPIError as error:
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        raise _readable(error, file or engine.url.render_as_string(hide_password=True), wait_s) from error


def _readable(error: DBAPIError, where: str, wait_s: float) -> Exception:
    text = str(error.orig)
    if isinstance(error, IntegrityError):
        return Conflict(f"{where} holds such a row already ({text}); give a new id: tidemill.core.ids.new_id()")
    if "locked" in text or "lock timeout" in text:
        return Busy(f"{where} was locked by another process for {wait_s:g} s; see who holds it, then try again")
    if any(sign in text for sign in ("full", "readonly", "disk I/O", "unable to open", "No space left")):
        return NoRoom(f"{where} cannot be written ({text}); free space or give the right to write, then run it again")
    if "not a database" in text or "malformed" in text:
        return verifying.corrupt(where, text)
    if isinstance(error, sa.exc.DataError):
        return BadInput(f"{where} cannot hold a value ({text}); give text without NUL characters")
    if where.startswith("postgresql") and isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
        return ServerFailed(f"{where} did not answer ({text.strip()}); is the server up, and does the database exist?")
    return error
