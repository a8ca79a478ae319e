"""The token of a next page: the place of the last row in its order, and a mark of the search that it belongs to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from tidemill.core.errors import BadInput
from tidemill.track.searching.ordering import Place
from tidemill.track.searching.tokens import require_text

Row = TypeVar("Row")
_INFINITE = {"inf": float("inf"), "-inf": float("-inf")}
_AGAIN = "take it from the page before, with the same filter and order, or search again without one"


def token_of(place: Place, search: Sequence[Any]) -> str:  # Any: what a search was asked with, as JSON
    """The token of the page after that place. search: what was asked, the same for all its pages."""
    values = [[rank, {"is": str(value)} if value in _INFINITE.values() else value] for rank, value in place]
    text = json.dumps([mark(search), values], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def place_of(token: str, search: Sequence[Any], numbers: Sequence[bool]) -> Place:
    """The place that a token names. numbers: whether each value of the order is a number.

    Raises BadInput for what is no token of that search.
    """
    try:
        found = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise BadInput(f"page token {token[:40]!r} is none of ours; {_AGAIN}") from error
    if not isinstance(found, list) or len(found) != 2 or found[0] != mark(search):
        raise BadInput(f"page token {token[:40]!r} belongs to another search; {_AGAIN}")
    if not isinstance(found[1], list) or len(found[1]) != len(numbers):
        raise BadInput(f"page token {token[:40]!r} has another order; {_AGAIN}")
    return [_read(each, number=number, token=token) for each, number in zip(found[1], numbers, strict=True)]


def mark(search: Sequence[Any]) -> str:
    """A short digest of what was asked."""
    return hashlib.sha256(json.dumps(list(search), ensure_ascii=False).encode()).hexdigest()[:16]


def _read(given: Any, *, number: bool, token: str) -> tuple[int, str | int | float | None]:  # Any: JSON
    match given:
        case [0 | 1 | 2 as rank, None]:
            return rank, None
        case [0 | 1 | 2 as rank, {"is": "inf" | "-inf" as name}] if number:
            return rank, _INFINITE[name]
        case [0 | 1 | 2 as rank, int() as value] if number and abs(value) < 2**63:
            return rank, value
        case [0 | 1 | 2 as rank, float() as value] if number:
            return rank, value
        case [0 | 1 | 2 as rank, str() as text] if not number:
            require_text(text)
            return rank, text
    raise BadInput(f"page token {token[:40]!r} holds {given!r}, which is no place in this order; {_AGAIN}")


def cut(rows: Sequence[Row], most: int, token: str | None, search: Sequence[Any]) -> tuple[list[Row], str | None]:
    """A page of rows that are all in memory, and the token of the next. Raises BadInput for a wrong token."""
    start = 0
    if token:
        ((_, at),) = place_of(token, search, [True])
        if not isinstance(at, int) or at < 0:
            raise BadInput(f"page token {token[:40]!r} is none of ours; {_AGAIN}")
        start = at
    page = list(rows[start : start + most])
    return page, token_of([(0, start + most)], search) if start + most < len(rows) else None
