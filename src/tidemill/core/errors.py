"""Every error that Tidemill raises on purpose.

    TidemillError
    ├── BadInput            (ValueError)       what was asked cannot be done as asked          exit 2
    │   ├── UnknownColumn   (KeyError)         no such column; the nearest is named
    │   ├── WrongType       (TypeError)        a column or value of another type
    │   ├── EmptyInput                         a file or table without rows
    │   ├── NotEnoughRows                      too few rows for an honest answer
    │   └── BadSetting                         a setting's value or name
    ├── NotFound            (LookupError)      no run, artifact, dataset, model or alias of that name
    ├── Conflict                               somebody else was first; read again and retry
    ├── Busy                (TimeoutError)     locked by another process for longer than we wait
    ├── Corrupt             (OSError)          bytes or rows differ from what was recorded
    ├── WrongFormat                            a workspace or file of a newer (or unknown) format
    ├── NoRoom              (OSError)          the disk is full or not writable
    ├── PortInUse           (OSError)          another program listens there
    ├── MissingExtra        (ImportError)      an optional dependency is not installed
    ├── NotEnoughLabels                        people have not labelled enough yet
    ├── Refused             (PermissionError)  signature, golden rows, role or token said no
    ├── ServerFailed        (RuntimeError)     a server or worker process ended or did not answer
    ├── TaskFailed          (RuntimeError)     a task's own error or result that cannot leave its process
    ├── TimedOut            (TimeoutError)     a task ran longer than it may and was ended
    └── Cancelled                              a task was ended because somebody asked for it

A message says what was wrong with its value, what is allowed or nearest, and the next step.
`exit_code` is what the command line ends with: 1 "no", 2 "asked wrongly".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TidemillError(Exception):
    """The root: catch this to catch everything that Tidemill raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:  # KeyError would show the repr of its message
        return str(self.args[0]) if self.args else type(self).__name__


class BadInput(TidemillError, ValueError):
    """What was asked cannot be done as asked."""

    exit_code = 2


class UnknownColumn(BadInput, KeyError):
    """No such column."""


class WrongType(BadInput, TypeError):
    """A column or a value has another type than is needed."""


class EmptyInput(BadInput):
    """A file or table holds no rows."""


class NotEnoughRows(BadInput):
    """Too few rows for an honest answer."""


class BadSetting(BadInput):
    """A setting's name or value is not known."""


class NotFound(TidemillError, LookupError):
    """Nothing of that name or id is recorded."""


class Conflict(TidemillError):
    """Somebody else was first: read again and retry."""


class Busy(TidemillError, TimeoutError):
    """Locked by another process for longer than we wait."""


class Corrupt(TidemillError, OSError):
    """Bytes or rows differ from what was recorded."""


class WrongFormat(TidemillError):
    """A workspace or file of a newer or unknown format."""


class NoRoom(TidemillError, OSError):
    """The disk is full or cannot be written."""


class PortInUse(TidemillError, OSError):
    """Another program listens on that port."""


class MissingExtra(TidemillError, ImportError):
    """An optional dependency is not installed."""


class NotEnoughLabels(TidemillError):
    """People have not labelled enough yet."""


class Refused(TidemillError, PermissionError):
    """A signature, golden rows, a role or a token said no."""


class ServerFailed(TidemillError, RuntimeError):
    """A server or worker process ended or did not answer."""


class TaskFailed(TidemillError, RuntimeError):
    """A task ended with an error or a result that cannot leave its process as it is."""


class TimedOut(TidemillError, TimeoutError):
    """A task ran longer than it may, and was ended with all processes that it had started."""


class Cancelled(TidemillError):
    """A task was ended before its time because somebody asked for it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence naming the nearest known name, or an empty string: for the end of a message.

    >>> nearest("temprature", ["temp", "temperature"])
    " Did you mean 'temperature'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def require_columns(wanted: Iterable[str], have: Iterable[str], *, where: str) -> None:
    """Raise UnknownColumn for the first wanted column that is not there; `where` names the table."""
    columns = list(have)
    for name in wanted:
        if name not in columns:
            shown = ", ".join(columns[:40])
            raise UnknownColumn(f"no column {name!r} in {where}; it has {shown}.{nearest(name, columns)}")
