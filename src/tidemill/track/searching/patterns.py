"""LIKE and ILIKE alike on both databases and in Python: % is any text, _ is any one character, nothing escapes them.

SQLite's own LIKE takes a and A for the same, and only in ASCII; PostgreSQL's ILIKE goes by the database's locale. So on
SQLite both are GLOB, which may use an index, and on PostgreSQL ILIKE is a regular expression: each letter becomes the
class of its two cases.
"""

from __future__ import annotations

import re
from functools import lru_cache


def glob(pattern: str, *, fold: bool) -> str:
    """As SQLite's GLOB.

    >>> glob("50%_a*", fold=False), glob("50%_a", fold=True)
    ('50*?a[*]', '50*?[aA]')
    """
    return "".join(
        {"%": "*", "_": "?"}.get(each) or (f"[{each}]" if each in "*?[" else _either(each, fold)) for each in pattern
    )


def posix(pattern: str, *, fold: bool) -> str:
    """As a regular expression of PostgreSQL, where "." is any character."""
    parts = ({"%": ".*", "_": "."}.get(each) or _posix_of(each, fold) for each in pattern)
    return f"^{''.join(parts)}$"


@lru_cache(maxsize=256)
def compiled(pattern: str, *, fold: bool) -> re.Pattern[str]:
    """As a regular expression of Python that the whole text matches.

    What follows a % is taken where it first is, and never looked for again: the time is at most that of the pattern's
    length times the text's.
    """
    first, *others = (
        "".join("." if each == "_" else _escaped(each, fold) for each in part)
        for part in re.sub("%+", "%", pattern).split("%")
    )
    if not others:
        return re.compile(first, re.DOTALL)
    return re.compile(f"{first}{''.join(f'(?>.*?{part})' for part in others[:-1])}.*{others[-1]}", re.DOTALL)


def _either(letter: str, fold: bool) -> str:
    cases = [each for each in (letter.lower(), letter.upper()) if len(each) == 1] if fold else []
    both = "".join(dict.fromkeys(cases))
    return f"[{both}]" if len(both) > 1 else letter


def _posix_of(letter: str, fold: bool) -> str:
    either = _either(letter, fold)
    return either if letter.isalnum() or len(either) > 1 or not letter.isascii() else f"\\{letter}"


def _escaped(letter: str, fold: bool) -> str:
    either = _either(letter, fold)
    return either if len(either) > 1 else re.escape(letter)
