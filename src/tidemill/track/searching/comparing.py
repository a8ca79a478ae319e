"""Columns of numbers and of texts compared with values, as SQL of both databases."""

# ruff: noqa: S608  what users wrote is bound, never in the text of a statement (pieces.py)

from __future__ import annotations

import json
from collections.abc import Sequence

from tidemill.core.errors import BadInput
from tidemill.track.searching.grammar import Comparison
from tidemill.track.searching.patterns import glob, posix
from tidemill.track.searching.pieces import NEVER, Piece, bracketed, concat

BOUND, AT_MOST = 50, 10_000  # values of IN bound one by one; numbers in a list


def of_number(asked: Comparison, column: str) -> Piece:
    """Of a column of numbers."""
    if isinstance(asked.value, tuple):
        if len(asked.value) > AT_MOST:
            raise BadInput(f"a list of {len(asked.value)} numbers; at most {AT_MOST}: ask in several searches")
        marks = ", ".join("?" * len(asked.value))
        return Piece(f"{column} {asked.operator} ({marks})", asked.value)
    return Piece(f"{column} {asked.operator} ?", (asked.value,))


def of_text(asked: Comparison, column: str, dialect: str) -> Piece:
    """Of a column of texts, ordered and compared by code points."""
    value = asked.value
    if isinstance(value, tuple):
        found = among(column, [str(each) for each in value], dialect)
        return found if asked.operator == "IN" else concat("NOT ", bracketed(found))
    if asked.operator in ("LIKE", "ILIKE"):
        return like(column, str(value), fold=asked.operator == "ILIKE", dialect=dialect)
    return Piece(f"{column} {asked.operator} ?", (str(value),))


def like(column: str, pattern: str, *, fold: bool, dialect: str) -> Piece:
    """LIKE, or ILIKE where `fold`; see patterns.py."""
    if dialect == "sqlite":
        return Piece(f"{column} GLOB ?", (glob(pattern, fold=fold),))
    if fold:
        return Piece(f"{column} ~ ?", (posix(pattern, fold=True),))
    return Piece(f"{column} LIKE ? ESCAPE ''", (pattern,))


def among_ids(column: str, ids: Sequence[int], dialect: str) -> Piece:
    """Whether a column of whole numbers holds one of these, however many."""
    if len(ids) == 1:
        return Piece(f"{column} = ?", tuple(ids))
    if len(ids) <= BOUND:
        return Piece(f"{column} IN ({', '.join('?' * len(ids))})", tuple(ids))
    if dialect == "sqlite":
        return Piece(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),))
    return Piece(f"{column} = ANY(CAST(? AS bigint[]))", (list(ids),))


def among(column: str, values: Sequence[str], dialect: str) -> Piece:
    """Whether a column of texts holds one of these."""
    if not values:
        return NEVER
    if len(values) <= BOUND:
        return Piece(f"{column} IN ({', '.join('?' * len(values))})", tuple(values))
    if dialect == "sqlite":
        return Piece(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),))
    return Piece(f"{column} = ANY(?)", (list(values),))
