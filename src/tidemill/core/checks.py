"""Expectations of columns, as data; and the rows that fail them.

A missing value fails `not_null` only: what is not known breaks no other rule, as in SQL's CHECK. Uniqueness is decided
on sorted 64-bit hashes, ten times as fast as a hash table at 1M rows: equal values have equal hashes, so without a
repeated hash there is no repeated value; rows with a repeated one are compared by value.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tidemill.core.errors import BadInput, TidemillError, WrongType, require_columns
from tidemill.core.ids import parse_time
from tidemill.core.types import Check, Json

if TYPE_CHECKING:
    import polars as pl

SHOWN = 20
FEW = 8
KINDS = ("unique", "not_null", "between", "one_of", "matches", "references", "condition")
Result = TypeVar("Result")
Lookup = Callable[[str, str], "pl.Series"]  # of a dataset's name and column: its values


class Failure(NamedTuple):
    """A check that some rows fail: how many, and the row ids of the first 20 (or of as many as were asked for)."""

    check: Check
    rows: int
    keys: list[Any]

    @property
    def text(self) -> str:
        """As a person reads it."""
        return f"{named(self.check)} fails for {self.rows} rows, such as {self.keys[:3]}"


def unique(column: str, *more: str) -> Check:
    """No value twice, or no combination of values of several columns; where one is missing, the row passes."""
    return Check("unique", column, more)


def not_null(column: str) -> Check:
    """No value missing."""
    return Check("not_null", column)


def between(column: str, low: Any, high: Any) -> Check:  # Any: a number, a date or a time
    """Every value within [low, high]; missing ones pass."""
    return Check("between", column, (low, high))


def one_of(column: str, *allowed: Any) -> Check:
    """Every value among these; missing ones pass."""
    return Check("one_of", column, allowed)


def matches(column: str, pattern: str) -> Check:
    """Every text matches the regular expression; missing ones pass."""
    return Check("matches", column, (pattern,))


def references(column: str, dataset: str, key: str) -> Check:
    """Every value is one of column `key` of another dataset (a foreign key); missing ones pass."""
    return Check("references", column, (dataset, key))


def condition(text: str) -> Check:
    """Every row makes this SQL expression of its columns true, such as "arrives >= leaves"; unknown passes."""
    return Check("condition", text)


def warn(check: Check) -> Check:
    """The same check, which reports but does not stop."""
    return dataclasses.replace(check, severity="warn")


def named(check: Check) -> str:
    """The check as a person writes it in a contract, without its severity.

    >>> named(between("temp", -30, 30)), named(unique("carrier", "day")), named(references("origin", "airports", "faa"))
    ('temp between -30 30', 'carrier,day unique', 'origin references airports.faa')
    """
    if check.kind == "condition":
        return f"condition {check.column}"
    if check.kind == "unique":
        return f"{quoted(','.join([check.column, *map(str, check.args)]))} unique"
    column = quoted(check.column)
    if check.kind == "references":
        return f"{column} references {check.args[0]}.{check.args[1]}"
    if check.kind == "matches":
        return f"{column} matches {check.args[0]}"
    return " ".join([column, check.kind, *map(_written, check.args)])


def quoted(name: str) -> str:
    """A column's name as a word of a rule."""
    return f'"{name}"' if re.search(r"\s", name) or name in ("warn", "condition") else name


def word(text: str) -> Any:  # Any: a JSON value
    """The value that a word of a rule says: JSON where it is, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _written(value: Any) -> str:  # Any: a JSON value, a date or a time
    """As a word that `word` reads back."""
    if isinstance(value, str) and word(value) == value and not re.search(r"[\s\"]", value) and value:
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def columns_of(check: Check) -> list[str]:
    """The columns that it reads. BadInput for a condition that is none."""
    if check.kind == "condition":
        return list(dict.fromkeys(_parsed(check.column).meta.root_names()))
    return [check.column, *(str(each) for each in check.args)] if check.kind == "unique" else [check.column]


def to_json(check: Check) -> dict[str, Any]:
    """As plain JSON: dates and times as ISO text, which a check of a column of times reads back."""
    args = [each.isoformat() if isinstance(each, date) else each for each in check.args]
    return {"kind": check.kind, "column": check.column, "args": args, "severity": check.severity}


def from_json(value: Json) -> Check:
    """A check from its JSON. BadInput for one that is none, naming what is wrong."""
    kind, column = value.get("kind"), value.get("column")
    args, severity = value.get("args", ()), value.get("severity", "error")
    if kind not in KINDS:
        raise _unknown(kind)
    if not isinstance(column, str) or not column:
        raise BadInput(f"check {kind} has column {column!r}; give the name of one, as text")
    if severity not in ("error", "warn"):
        raise BadInput(f"check {kind} of column {column!r} has severity {severity!r}; allowed: error, warn")
    count = {"not_null": 0, "between": 2, "matches": 1, "references": 2, "condition": 0}.get(kind)
    if isinstance(args, str) or (count is not None and len(args) != count) or (kind == "one_of" and not len(args)):
        wanted = "at least 1" if count is None else str(count)
        raise BadInput(f"check {kind} of column {column!r} has arguments {args!r}; it takes {wanted}, as a list")
    made = Check(kind, column, tuple(args), severity)
    columns_of(made)  # a condition that cannot be parsed stops here
    return made


def failing(
    frame: pl.DataFrame,
    checks: Sequence[Check],
    *,
    key: str,
    at_most: int | None = SHOWN,
    lookup: Lookup | None = None,
) -> list[Failure]:
    """The checks that some rows fail. key: the column of row ids.

    at_most: so many row ids a check, None for all. lookup: where `references` finds another dataset's values.
    """
    require_columns([key], frame.columns, where="the rows to check")
    found = masks(frame, checks, lookup=lookup)
    keys = frame[key]
    counts = [int(found[str(n)].sum()) for n in range(len(checks))]
    return [
        Failure(check, rows, (ids if at_most is None else ids.head(at_most)).to_list())
        for n, (check, rows) in enumerate(zip(checks, counts, strict=True))
        if rows and (ids := keys.filter(found[str(n)])) is not None
    ]


def masks(frame: pl.DataFrame, checks: Sequence[Check], *, lookup: Lookup | None = None) -> pl.DataFrame:
    """One boolean column a check, named "0", "1" ...: true where the row fails, false or null where not.

    Raises UnknownColumn, WrongType for a check that is not for the column's type, BadInput for arguments that are none.
    """
    import polars as pl
    from polars.exceptions import PolarsError

    for check in checks:
        require_columns(columns_of(check), frame.columns, where="the rows to check")
    together: dict[str, pl.Expr] = {}  # evaluated in one pass over the columns, in parallel
    alone: dict[str, pl.Series] = {}
    for n, check in enumerate(checks):
        kind = frame.schema.get(check.column)
        expression = None if kind is None else _expression(check, kind)
        if expression is None:
            alone[str(n)] = _explained(frame, check, partial(_alone, frame, check, lookup))
        else:
            together[str(n)] = expression
    try:
        made = frame.select(**together)
    except (PolarsError, TypeError):
        for name, expression in together.items():  # one by one, to name the one to blame
            _explained(frame, checks[int(name)], partial(frame.select, expression))
        raise
    return pl.DataFrame({str(n): alone[str(n)] if str(n) in alone else made[str(n)] for n in range(len(checks))})


def _explained(frame: pl.DataFrame, check: Check, work: Callable[[], Result]) -> Result:
    from polars.exceptions import ComputeError, PolarsError

    try:
        return work()
    except TidemillError:  # WrongType is a TypeError
        raise
    except ComputeError as error:
        where = "" if check.kind == "condition" else "of column "
        raise BadInput(f"check {check.kind} {where}{check.column!r}: {str(error).splitlines()[0]}") from error
    except (PolarsError, TypeError) as error:
        if check.kind == "condition":
            raise WrongType(f"condition {check.column!r}: {str(error).splitlines()[0]}") from error
        kind = frame.schema[check.column]
        raise WrongType(f"column {check.column!r} is {kind}; {check.kind}{tuple(check.args)} is not for it") from error


def _expression(check: Check, kind: pl.DataType) -> pl.Expr | None:
    """True where a row fails; None for a kind that is more than an expression of one column."""
    import polars as pl

    value = pl.col(check.column)
    if check.kind == "not_null":
        return value.is_null()
    if kind == pl.Null and check.kind in ("between", "one_of", "matches", "references"):
        return value.is_not_null()  # no value, so none that fails
    if check.kind == "between":
        low, high = (_argument(each, kind, check) for each in check.args)
        outside: pl.Expr = (value < low) | (value > high)
        return outside
    if check.kind == "one_of":
        allowed = [_argument(each, kind, check) for each in check.args]
        if kind == pl.String and len(allowed) <= FEW and all(isinstance(each, str) for each in allowed):
            return pl.all_horizontal(value != each for each in allowed)  # 5 ms for 1M texts, is_in takes 15
        return ~value.is_in(allowed)
    if check.kind == "matches":
        return ~value.str.contains(check.args[0])
    return None


def _alone(frame: pl.DataFrame, check: Check, lookup: Lookup | None) -> pl.Series:
    if check.kind == "unique":
        return repeated(frame.select(columns_of(check)))
    if check.kind == "references":
        return _dangling(frame[check.column], check, lookup)
    if check.kind == "condition":
        return _broken(frame, check)
    raise _unknown(check.kind)


def repeated(frame: pl.DataFrame) -> pl.Series:
    """Where a row's values are those of another row as well; false where one of them is missing."""
    import numpy as np
    import polars as pl

    whole = ~pl.any_horizontal(pl.all().is_null())
    hashes = (frame.to_series().hash() if frame.width == 1 else frame.hash_rows()).to_numpy()
    missing = any(column.null_count() for column in frame)
    ordered = np.sort(hashes[frame.select(whole).to_series().to_numpy()] if missing else hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    if len(twice) > frame.height // 8:
        return frame.select(mask=pl.struct(pl.all()).is_duplicated() & whole).to_series()
    # Few repeats: only rows whose hash is repeated are compared by value. A table over the hashes' last 16 bits leaves
    # few to look up: 2 ms for 1M rows instead of the 60 ms of np.isin.
    table = np.zeros(1 << 16, np.bool_)
    table[(twice & np.uint64(0xFFFF)).astype(np.intp)] = True
    rows = np.flatnonzero(table[hashes.astype(np.uint16)])
    rows = rows[np.isin(hashes[rows], twice)]
    close = frame[rows].select(mask=pl.struct(pl.all()).is_duplicated() & whole).to_series().to_numpy()
    mask = np.zeros(frame.height, np.bool_)
    mask[rows[close]] = True
    return pl.Series(mask)


def _dangling(values: pl.Series, check: Check, lookup: Lookup | None) -> pl.Series:
    if lookup is None:
        raise BadInput(
            f"{named(check)} looks into another dataset; only a dataset's contract can: tidemill.data.quality.contracts"
        )
    known = lookup(str(check.args[0]), str(check.args[1]))
    if known.dtype.is_integer() and values.dtype.is_integer():
        known = known.cast(values.dtype, strict=False)
    if known.dtype != values.dtype:
        raise WrongType(
            f"column {check.column!r} is {values.dtype}, column {check.args[1]!r} of dataset {check.args[0]!r} "
            f"is {known.dtype}; cast one to the other's type"
        )
    return ~values.is_in(known.drop_nulls().implode())


def _broken(frame: pl.DataFrame, check: Check) -> pl.Series:
    import polars as pl

    made = frame.select(_parsed(check.column)).to_series()
    if made.dtype != pl.Boolean:
        raise BadInput(f"condition {check.column!r} is {made.dtype}; it must be true or false, such as 'a <= b'")
    if len(made) != frame.height:
        raise BadInput(f"condition {check.column!r} is one value for all rows; it must be one a row, such as 'a <= b'")
    return ~made


def _parsed(text: str) -> pl.Expr:
    import polars as pl
    from polars.exceptions import PolarsError

    try:
        made = pl.sql_expr(text)
    except PolarsError as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"condition {text!r}: {reason}; write an SQL expression of columns, such as 'a <= b'") from error
    if not made.meta.root_names():
        raise BadInput(f"condition {text!r} names no column; write one of columns, such as 'a <= b'")
    return made


def _argument(value: Any, kind: pl.DataType, check: Check) -> Any:
    """An ISO text as the date or time that the column holds: JSON knows neither."""
    import polars as pl

    if not isinstance(value, str) or not kind.is_temporal():
        return value
    try:
        if kind == pl.Date:
            return date.fromisoformat(value)
        if isinstance(kind, pl.Datetime):
            at = parse_time(value)
            return at if kind.time_zone else at.replace(tzinfo=None)
    except ValueError as error:
        raise BadInput(f"{named(check)}: {value!r} is no {kind}; write one such as 2013-04-01") from error
    return value


def _unknown(kind: object) -> BadInput:
    return BadInput(f"no check {kind!r}; known are {', '.join(KINDS)}")
