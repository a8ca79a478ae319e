"""Lengths of time as people write them: "90s", "10m", "1h30m", "3d"."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

from tidemill.core.errors import BadInput

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
LONGEST_S = 1e15  # 31 million years: beyond, a count of weeks has more digits than a decimal division takes
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(length: str | float | timedelta, *, what: str = "the duration") -> float:
    """A length of time in seconds; a bare number is seconds already. Raises BadInput, naming `what`, unless it is > 0.

    >>> seconds("1h30m"), seconds("250ms"), seconds(90)
    (5400.0, 0.25, 90.0)
    """
    if isinstance(length, timedelta):
        found = length.total_seconds()
    elif isinstance(length, str):
        if _WHOLE.fullmatch(length.strip()) is None:
            units = ", ".join(UNITS_S)
            raise BadInput(f"{what} is {length!r}; write a number and a unit ({units}), such as 10m or 1h30m")
        found = sum(float(number) * UNITS_S[unit] for number, unit in _PART.findall(length))
    else:
        found = float(length)
    if not 0 < found < float("inf"):
        raise BadInput(f"{what} is {length!r}; it must be longer than nothing, such as 10m")
    return found


def text(length_s: float) -> str:
    """Seconds as `seconds` reads them back, to the bit. Raises BadInput unless they are > 0.

    >>> text(5400), text(2), text(0.25), text(90.5), text(864_000)
    ('1h30m', '2s', '250ms', '1m30.5s', '1w3d')
    """
    length_s = seconds(length_s)
    rest = Decimal(repr(length_s))
    alone = f"{rest:f}s"
    if length_s >= LONGEST_S:
        return alone
    if rest < 1:
        # A double times a thousandth may be another double: then seconds are written.
        parts = [f"{(rest * 1000).normalize():f}ms"]
    else:
        parts = []
        for unit in ("w", "d", "h", "m"):
            whole, rest = divmod(rest, Decimal(UNITS_S[unit]))
            parts += [f"{whole:f}{unit}"] if whole else []
        parts += [f"{rest.normalize():f}s"] if rest else []
    found = "".join(parts)
    return found if seconds(found) == length_s else alone
