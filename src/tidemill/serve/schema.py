"""What a model's request rows must look like, and what exactly is wrong with one that does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from tidemill.core.errors import nearest

# Any below: a request's JSON values, before they are checked.
Row = Mapping[str, Any]

ALLOWED = {
    "number": "a finite number or null",
    "text": "text, a whole number or null",
    "bool": "true, false or null",
    "time": "an ISO 8601 time such as 2013-04-01T14:03:00Z, or null",
}
FAULTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One wrong field of one row."""

    row: int
    column: str
    got: str
    allowed: str
    nearest: str = ""

    def text(self) -> str:
        """As one sentence."""
        return f"row {self.row}, column {self.column!r}: got {self.got}; allowed: {self.allowed}.{self.nearest}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def faults(rows: Sequence[Row], columns: Mapping[str, str], *, first: int = 0) -> list[FieldFault]:
    """All that is wrong with the rows, at most 20 faults; empty is good.

    columns: name to "number", "text", "bool" or "time". Each must be there (null where unknown), so that a misspelled
    name is never taken for a missing value; further columns are allowed and logged. first: number of the first row.
    """
    checks = [(name, _fits[kind], ALLOWED[kind]) for name, kind in columns.items()]
    found: list[FieldFault] = []
    for number, row in enumerate(rows, first):
        for name, fits, allowed in checks:
            value = row.get(name, _ABSENT)
            if value is None or fits(value):
                continue
            if value is _ABSENT:
                extra = [str(other) for other in row if other not in columns]
                found.append(FieldFault(number, name, "nothing", allowed, nearest(name, extra)))
            else:
                found.append(FieldFault(number, name, _shown(value), allowed))
            if len(found) >= FAULTS_SHOWN:
                return found
    return found


_ABSENT = object()


def _shown(value: object) -> str:
    text = repr(value)
    kind = {str: "text", bool: "bool", int: "number", float: "number", list: "list", dict: "object"}
    return f"{kind.get(type(value), type(value).__name__)} {text if len(text) <= 60 else text[:57] + '...'}"


def _number(value: Any) -> bool:
    if type(value) is float:
        return not math.isinf(value)  # NaN comes from frames only, and is a missing value there
    if type(value) is int:
        return -(2**1023) < value < 2**1023
    return False


def _text(value: Any) -> bool:
    return type(value) in (str, int, bool)  # categories may be numbers: a recipe reads them as text


def _bool(value: Any) -> bool:
    return type(value) is bool


def _time(value: Any) -> bool:
    if type(value) is str:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
        return True
    return isinstance(value, datetime)


_fits: dict[str, Callable[[Any], bool]] = {"number": _number, "text": _text, "bool": _bool, "time": _time}
