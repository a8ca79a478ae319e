"""The point-in-time join with two clocks: never a value that was not known yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from tidemill.core.errors import BadInput

_ROW, _EVENT, _KNOWN, _BEST = "__row", "__event", "__known", "__best"


def as_of(
    left: pl.DataFrame,
    right: pl.DataFrame,
    *,
    left_time: str,
    right_event: str,
    right_known: str | None = None,
    by: Sequence[str] = (),
    within: timedelta | None = None,
    columns: Sequence[str],
    prefix: str = "",
) -> pl.DataFrame:
    """Exactly the rows of `left` in their order, each with `columns` of one row of `right`.

    That row is, among the rows with the same `by` whose event time and known time are both no later than `left_time`,
    the one with the latest event time (of equal ones the one known last). Nulls where there is none, or where its event
    is further back than `within`. A null in `by` or in a clock matches nothing.

    A row that becomes known after a row of a later event never wins again, so only those that are the newest event of
    their key when they become known are kept; what is left is in order on both clocks, and one backward search does it.
    """
    known = right_known or right_event
    taken = [prefix + column for column in columns if prefix + column in left.columns]
    if taken:
        raise BadInput(f"column {taken[0]!r} is there already; give a prefix=, or choose columns=")
    wanted = {f"{prefix}{column}": pl.col(column) for column in columns}
    keys = list(by)
    newest = pl.col(_EVENT).cum_max()
    candidates = (
        right.select(
            *keys,
            pl.col(right_event).alias(_EVENT),
            pl.when(pl.col(known).is_not_null()).then(pl.max_horizontal(right_event, known)).alias(_KNOWN),
            **wanted,
        )
        .filter(pl.all_horizontal(pl.col(name).is_not_null() for name in [*keys, _EVENT, _KNOWN]))
        .sort(_KNOWN, _EVENT, maintain_order=True)
        .with_columns((newest.over(keys) if keys else newest).alias(_BEST))
        .filter(pl.col(_EVENT) == pl.col(_BEST))
        .drop(_BEST)
    )
    joined = (
        left.with_row_index(_ROW)
        .sort(left_time, maintain_order=True)
        .join_asof(
            candidates,
            left_on=left_time,
            right_on=_KNOWN,
            by=keys or None,
            strategy="backward",
            check_sortedness=False,
            coalesce=False,
        )
    )
    if within is not None:
        fresh = pl.col(left_time) - pl.col(_EVENT) <= within
        joined = joined.with_columns(pl.when(fresh).then(pl.col(name)).otherwise(None).alias(name) for name in wanted)
    return joined.sort(_ROW).select(*left.columns, *wanted)
