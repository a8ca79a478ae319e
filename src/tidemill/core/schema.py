"""What a table can hold, and whether rows fit a table that is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tidemill.core.errors import BadInput, WrongType, require_columns

if TYPE_CHECKING:
    import polars as pl


def storable(frame: pl.DataFrame, *, where: str) -> pl.DataFrame:
    """The frame in the types that a Delta table gives back: signed integers, microseconds, UTC, text for categories.

    Raises WrongType for a column that no table can hold (or whose numbers are too big), BadInput for a nameless one
    or one whose name Polars takes for a pattern.
    """
    import polars as pl
    from polars.exceptions import InvalidOperationError

    targets: dict[str, pl.DataType] = {}
    for name, kind in frame.schema.items():
        target = _stored_as(kind)
        if not name.strip():
            raise BadInput(f"column {frame.columns.index(name) + 1} of {where} has no name; give it one")
        if name == "*" or (name[0] == "^" and name[-1] == "$"):
            raise BadInput(f"column {name!r} of {where} is named as a pattern of columns is; rename it")
        if target is None:
            advice = "cast it to the type it will have" if kind == pl.Null else "cast it to a number"
            raise WrongType(f"column {name!r} of {where} is {kind}, which no table holds; {advice}")
        targets[name] = target
    if targets == frame.schema:
        return frame
    try:
        return frame.with_columns(
            pl.col(name).cast(target) for name, target in targets.items() if target != frame.schema[name]
        )
    except InvalidOperationError as error:
        raise WrongType(f"{where} hold numbers beyond 64 bits with a sign: {str(error).splitlines()[0]}") from error


def fitted(frame: pl.DataFrame, want: Mapping[str, pl.DataType], *, table: str, where: str) -> pl.DataFrame:
    """The frame with the table's columns in their order and types.

    Raises UnknownColumn for one too few or too many, WrongType for one of another type; only a column that is all null
    takes the table's type by itself.
    """
    import polars as pl

    if list(frame.schema.items()) == list(want.items()):  # want is a table's: what it holds can be stored
        return frame
    require_columns(frame.columns, want, where=table)
    require_columns(want, frame.columns, where=where)
    typed = frame.with_columns(pl.col(name).cast(want[name]) for name in frame.columns if frame.schema[name] == pl.Null)
    made = storable(typed, where=where)
    for name, kind in want.items():
        if made.schema[name] != kind:
            raise WrongType(f"column {name!r} of {where} is {frame.schema[name]}, in {table} it is {kind}; cast it")
    return made.select(list(want))


def _stored_as(kind: pl.DataType) -> pl.DataType | None:
    import polars as pl

    if kind in (pl.Null, pl.Object, pl.Time) or isinstance(kind, pl.Duration):
        return None
    if isinstance(kind, pl.Datetime):
        return pl.Datetime("us", None if kind.time_zone is None else "UTC")
    if isinstance(kind, pl.Categorical | pl.Enum):
        return pl.String()
    small: dict[type[pl.DataType], pl.DataType] = {
        pl.UInt8: pl.Int16(),
        pl.UInt16: pl.Int32(),
        pl.UInt32: pl.Int64(),
        pl.UInt64: pl.Int64(),
    }
    return small.get(type(kind), pl.Int64() if kind == pl.Int128 else kind)
