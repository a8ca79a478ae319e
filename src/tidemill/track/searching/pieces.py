"""Pieces of a statement: text with a "?" for each value, and the values in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Bound = str | int | float | list[str] | list[int] | None


class Piece(NamedTuple):
    """A part of a statement. Nothing that a user wrote is in its text."""

    text: str
    values: tuple[Bound, ...] = ()


NEVER, ALWAYS = Piece("1 = 0"), Piece("1 = 1")


def joined(word: str, pieces: Iterable[Piece]) -> Piece:
    """The pieces with a word between them."""
    some = list(pieces)
    return Piece(word.join(each.text for each in some), tuple(value for each in some for value in each.values))


def concat(*pieces: Piece | str) -> Piece:
    """The pieces one after another."""
    return joined("", [each if isinstance(each, Piece) else Piece(each) for each in pieces])


def bracketed(piece: Piece) -> Piece:
    """In brackets."""
    return Piece(f"({piece.text})", piece.values)


def all_of(pieces: Sequence[Piece]) -> Piece:
    """All of the conditions."""
    return bracketed(joined(" AND ", pieces)) if pieces else ALWAYS


def some_of(pieces: Sequence[Piece]) -> Piece:
    """At least one of the conditions."""
    return bracketed(joined(" OR ", pieces)) if pieces else NEVER
