"""Expectations of columns, as data; and the rows that fail them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tidemill.core.errors import BadInput, WrongType, require_columns
from tidemill.core.types import Check

if TYPE_CHECKING:
    import polars as pl

SHOWN = 20


class Failure(NamedTuple):
    """A check that some rows fail: how many, and the row ids of the first 20."""

    check: Check
    rows: int
    keys: list[Any]

    @property
    def text(self) -> str:
        """As a person reads it."""
        arguments = f" {list(self.check.args)}" if self.check.args else ""
        return f"{self.check.column}: {self.check.kind}{arguments} fails for {self.rows} rows, such as {self.keys[:3]}"


def unique(column: str) -> Check:
    """No value twice; missing ones pass."""
    return Check("unique", column)


def not_null(column: str) -> Check:
    """No value missing."""
    return Check("not_null", column)


def between(column: str, low: float, high: float) -> Check:
    """Every value within [low, high]; missing ones pass."""
    return Check("between", column, (low, high))


def one_of(column: str, *allowed: Any) -> Check:
    """Every value among these; missing ones pass."""
    return Check("one_of", column, allowed)


def matches(column: str, pattern: str) -> Check:
    """Every text matches the regular expression; missing ones pass."""
    return Check("matches", column, (pattern,))


def warn(check: Check) -> Check:
    """The same check, which reports but does not stop."""
    return dataclasses.replace(check, severity="warn")


def failing(frame: pl.DataFrame, checks: Sequence[Check], *, key: str) -> list[Failure]:
    """The checks that some rows fail. key: the column of row ids."""
    import polars as pl
    from polars.exceptions import ComputeError, PolarsError

    require_columns([check.column for check in checks], frame.columns, where="the rows to check")
    bad = frame.select(pl.col(key).alias("__key"))
    for n, check in enumerate(checks):
        try:
            bad = bad.with_columns(frame.select(_bad(check).alias(str(n))))
        except ComputeError as error:
            raise BadInput(f"check {check.kind} of column {check.column!r}: {str(error).splitlines()[0]}") from error
        except (PolarsError, TypeError) as error:
            kind = frame.schema[check.column]
            raise WrongType(
                f"column {check.column!r} is {kind}; {check.kind}{tuple(check.args)} is not for it"
            ) from error
    counts = bad.select(pl.col(str(n)).sum() for n in range(len(checks))).row(0) if checks else ()
    return [
        Failure(check, int(count), bad.filter(pl.col(str(n)))["__key"].head(SHOWN).to_list())
        for n, (check, count) in enumerate(zip(checks, counts, strict=True))
        if count
    ]


def _bad(check: Check) -> pl.Expr:
    import polars as pl

    value = pl.col(check.column)
    if check.kind == "unique":
        return value.is_duplicated() & value.is_not_null()
    if check.kind == "not_null":
        return value.is_null()
    if check.kind == "between":
        return ~value.is_between(*check.args).fill_null(value=True)
    if check.kind == "one_of":
        return ~value.is_in(list(check.args)).fill_null(value=True)
    if check.kind == "matches":
        return ~value.str.contains(check.args[0]).fill_null(value=True)
    raise BadInput(f"no check {check.kind!r}; known are unique, not_null, between, one_of, matches")
