"""What the rows of a dataset must be: a key without nulls and repeats, clocks in UTC, the same columns as before."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from tidemill.core.errors import BadInput, WrongType, require_columns
from tidemill.core.ids import iso
from tidemill.core.types import DatasetVersion
from tidemill.data.versioning.layers import RESERVED

SHOWN = 5


def check(frame: pl.DataFrame, key: str, times: list[str], where: str) -> None:
    """Raise UnknownColumn, WrongType or BadInput where the key or a clock is not one; `where` names the rows."""
    require_columns([key, *times], frame.columns, where=where)
    taken = RESERVED.intersection(frame.columns)
    if taken:
        raise BadInput(f"column {min(taken)!r} of {where} has a name that datasets keep for themselves; rename it")
    _check_times(frame, times, where)
    _check_keys(frame, key, where)


def check_same(
    before: DatasetVersion, key: str, event_time: str | None, known_time: str | None, ordered: bool | None
) -> None:
    """Raise BadInput where rows to append have another key, clock or order than the dataset has."""
    was = bool(before.artifact.meta.get("ordered"))
    for what, old, new in (
        ("key", before.key, key),
        ("event_time", before.event_time, event_time),
        ("known_time", before.known_time, known_time),
        ("ordered", was, was if ordered is None else ordered),
    ):
        if old != new:
            raise BadInput(
                f"dataset {before.name!r} has {what}={old!r}, not {new!r}; append with the same, or replace it"
            )


def keys_of(values: Iterable[Any], key: str, kind: pl.DataType, where: str) -> pl.Series:
    """The values as keys, each once. Raises WrongType for values of another type."""
    given = values if isinstance(values, pl.Series) else list(values)
    try:
        made = pl.Series(key, given, strict=True) if len(given) else pl.Series(key, [], kind)
        if made.dtype != kind:
            if not (made.dtype.is_integer() and kind.is_integer()):
                made = pl.Series(key, list(made), kind, strict=True)
            made = made.cast(kind)
    except (TypeError, PolarsError) as error:
        raise WrongType(f"{where} are not {kind}, as key column {key!r} is") from error
    return made.alias(key).unique(maintain_order=True)


def first_known(frame: pl.DataFrame, known_time: str | None) -> str | None:
    """When the first of the rows became known."""
    if known_time is None:
        return None
    first = frame[known_time].min()
    assert isinstance(first, datetime)
    return iso(first)


def _check_times(frame: pl.DataFrame, times: list[str], where: str) -> None:
    for column in times:
        kind = frame.schema[column]
        if not isinstance(kind, pl.Datetime) or kind.time_zone != "UTC":
            raise WrongType(
                f"column {column!r} of {where} is {kind}; a clock is Datetime in UTC: "
                f"pl.col({column!r}).dt.replace_time_zone('UTC')"
            )
        if frame[column].null_count():
            raise BadInput(f"column {column!r} of {where} has {frame[column].null_count()} nulls")


def _check_keys(frame: pl.DataFrame, key: str, where: str) -> None:
    keys = frame[key]
    if keys.null_count():
        raise BadInput(f"key column {key!r} of {where} has {keys.null_count()} nulls; fill them")
    if keys.n_unique() == len(keys):
        return
    twice = keys.filter(keys.is_duplicated()).unique(maintain_order=True)
    shown = ", ".join(map(str, twice.head(SHOWN)))
    raise BadInput(
        f"key column {key!r} of {where} repeats {len(twice)} values, such as {shown}; "
        "drop the duplicates first (tm.drop_duplicates)"
    )
