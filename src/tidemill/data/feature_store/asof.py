"""The point-in-time join with two clocks: never a value that was not known yet.

The clocks of a table are two numbers a row, its key a third; so the join is a merge of two sorted lists of whole
numbers (key, moment), one sort of the left rows serving any number of tables. No row of either side is moved before the
row that it gets is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import polars as pl

from tidemill.core.errors import BadInput, WrongType, require_columns
from tidemill.data.feature_store.periods import Clocks, Flags, Ints, Numbers, Span, found, in_order, lasting
from tidemill.data.versioning.keycodes import Codes, codes_of


@dataclass(frozen=True, slots=True)
class Join:
    """One table to look back into.

    event, known: its columns of times; without `known` a row is known when it happens. by: columns of the left rows
    that must be equal to `on` (default: the same names). within: how far back the event may lie. tie: of rows with
    equal clocks the one with the largest value here wins, else the last in order.
    """

    right: pl.DataFrame
    event: str
    columns: Sequence[str]
    known: str | None = None
    by: Sequence[str] = ()
    on: Sequence[str] = ()
    within: timedelta | None = None
    prefix: str = ""
    tie: str | None = None


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
    tie: str | None = None,
) -> pl.DataFrame:
    """Exactly the rows of `left` in their order, each with `columns` of one row of `right`.

    That row is, among the rows with the same `by` whose event time and known time are both no later than `left_time`,
    the one with the latest event time (of equal ones the one known last, then the largest `tie`, then the last in
    order). Nulls where there is none, or where its event is further back than `within`. A null in `by` or in a clock
    matches nothing. Raises UnknownColumn, WrongType, or BadInput for a name that is taken.
    """
    join = Join(right, right_event, columns, known=right_known, by=by, within=within, prefix=prefix, tie=tie)
    return as_of_all(left, [join], left_time=left_time)


def as_of_naive(
    left: pl.DataFrame,
    right: pl.DataFrame,
    *,
    left_time: str,
    right_event: str,
    by: Sequence[str] = (),
    within: timedelta | None = None,
    columns: Sequence[str],
    prefix: str = "",
    tie: str | None = None,
) -> pl.DataFrame:
    """`as_of` with one clock: takes a row from its event time on, though it may have become known later.

    Features made so leak: a model learns from values that it will not have when it is asked. For comparisons only.
    """
    join = Join(right, right_event, columns, by=by, within=within, prefix=prefix, tie=tie)
    return as_of_all(left, [join], left_time=left_time)


def as_of_all(left: pl.DataFrame, joins: Sequence[Join], *, left_time: str) -> pl.DataFrame:
    """`as_of` with several tables at once: the left rows are put in order once for all that have the same `by`.

    Gives the same as the joins one after another, as long as no join looks up by a column that another one adds.
    """
    joins = [replace(join, on=tuple(join.on) or tuple(join.by)) for join in joins]
    _check(left, joins, left_time)
    unit = _unit([left[left_time], *(join.right[name] for join in joins for name in _clocks(join))])
    clocks = [_both(join, unit) for join in joins]
    asked = _Asked(left, left_time, unit, clocks)
    made: list[pl.Series] = []
    for join, both in zip(joins, clocks, strict=True):
        made.extend(asked.taken(join, both))
    return left.with_columns(made)


def winners(frame: pl.DataFrame, *, by: Sequence[str], event: str, known: str | None, tie: str | None) -> pl.DataFrame:
    """The rows that can ever be what `as_of` finds for some moment, by key and then by the moment they are known.

    At a moment t the row of a key is the last one of that key here that is known no later than t; "known" is the later
    of both clocks. So this is all that a store for lookups needs.
    """
    join = Join(frame, event, (), known=known, by=by, on=by, tie=tie)
    clocks = _both(join, _unit([frame[name] for name in _clocks(join)]))
    codes = codes_of([frame[name] for name in by], frame.height)
    kept = lasting(clocks, codes.left, codes.size, span=None, ids=None if tie is None else frame[tie])
    if kept is None:
        return frame.clear()
    ever = np.append(kept.moment[:-1] < kept.moment[1:], True)
    return frame[pl.Series(kept.rows[ever])]


class _Asked:
    """The left rows, in order of (key, time): once for each way to look up."""

    def __init__(self, left: pl.DataFrame, time: str, unit: str, clocks: Sequence[Clocks]) -> None:
        self.left = left
        self.unit = unit
        self.times, self.there = _ticks(left[time], unit)
        seen = self.times if self.there is None else self.times[self.there]
        self.span = _common(Span(int(seen.min()), int(seen.max())), clocks) if len(seen) else None
        self._codes: dict[tuple[str, ...], Codes] = {}
        self._order: dict[tuple[str, ...], tuple[Ints, Ints, Ints]] = {}
        self._wanted: dict[object, Ints] = {}

    def taken(self, join: Join, clocks: Clocks) -> list[pl.Series]:
        """The columns that the join adds, one value for each left row."""
        picked = join.right.select(pl.col(name).alias(join.prefix + name) for name in join.columns)
        rows = self._found(join, clocks)
        if rows is None:
            return [pl.Series(name, [None] * self.left.height, dtype=kind) for name, kind in picked.schema.items()]
        some = rows >= 0
        if some.all():
            return picked[pl.Series(rows)].get_columns()
        # Polars takes twice as long to gather by numbers of which some are null as to gather and then put nulls there.
        there = pl.Series(some)
        gathered = picked[pl.Series(np.maximum(rows, 0)).cast(pl.UInt32)].get_columns()
        return [each.zip_with(there, pl.Series([None], dtype=each.dtype)) for each in gathered]

    def _found(self, join: Join, clocks: Clocks) -> Numbers | None:
        """For each left row the number of the right row that it gets, or -1; None when there is none at all."""
        if self.span is None or join.right.height == 0:
            return None
        by = tuple(join.by)
        if by not in self._codes:
            self._codes[by] = codes_of([self.left[name] for name in by], self.left.height)
        codes = self._codes[by]
        right = codes.of([join.right[name] for name in join.on]) if by else np.zeros(join.right.height, np.int64)
        ids = None if join.tie is None else join.right[join.tie]
        within = None if join.within is None else _span(join.within, self.unit)
        kept = lasting(clocks, right, codes.size, span=self.span, ids=ids, within=within)
        if kept is None:
            return None
        if by not in self._order:
            order = in_order(codes.left, self.times, self.there, codes.size, self.span)
            self._order[by] = order, codes.left[order], self.times[order]
        order, keys, times = self._order[by]
        scale = (by, kept.base, kept.bits) if isinstance(kept.base, int) else object()
        if scale not in self._wanted:
            self._wanted[scale] = kept.asked(keys, times)
        rows = found(kept, self._wanted[scale], within=within)
        whole = len(order) == self.left.height
        made = np.empty(len(order), rows.dtype) if whole else np.full(self.left.height, -1, rows.dtype)
        made[order] = rows
        return made


def _common(span: Span, clocks: Sequence[Clocks]) -> Span:
    """The span from the first event of the tables on (if not too long before), so that all count from one moment."""
    first = span.first
    for each in clocks:
        events = each.event if each.there is None else each.event[each.there]
        begins = int(events.min()) if len(events) else first
        if span.last - begins <= 4 * (span.last - span.first):
            first = min(first, begins)
    return Span(first, span.last)


def _both(join: Join, unit: str) -> Clocks:
    """The two clocks of a table; a row is known no earlier than it happens."""
    event, there = _ticks(join.right[join.event], unit)
    if join.known is None or join.known == join.event:
        return Clocks(event, event, there)
    known, too = _ticks(join.right[join.known], unit)
    both = there if too is None else too if there is None else there & too
    return Clocks(event, np.maximum(known, event), both)


def _check(left: pl.DataFrame, joins: Sequence[Join], left_time: str) -> None:
    require_columns([left_time], left.columns, where="the left rows")
    names = set(left.columns)
    for join in joins:
        require_columns(join.by, left.columns, where="the left rows")
        wanted = [*join.on, *_clocks(join), *join.columns, *([] if join.tie is None else [join.tie])]
        require_columns(wanted, join.right.columns, where="the rows to look back into")
        if len(join.on) != len(join.by):
            raise BadInput(f"by= names {len(join.by)} columns and on= {len(join.on)}; give one for each")
        for name in join.columns:
            if join.prefix + name in names:
                raise BadInput(f"column {join.prefix + name!r} is there already; give a prefix=, or choose columns=")
            names.add(join.prefix + name)
        for clock in _clocks(join):
            _check_clock(left.schema[left_time], left_time, join.right.schema[clock], clock)


def _check_clock(one: pl.DataType, one_name: str, other: pl.DataType, other_name: str) -> None:
    for kind, name in ((one, one_name), (other, other_name)):
        if not isinstance(kind, pl.Datetime | pl.Date):
            raise WrongType(f"column {name!r} is {kind}, which is no time; cast it to a date or a time")
    if getattr(one, "time_zone", None) != getattr(other, "time_zone", None):
        raise WrongType(f"column {one_name!r} is {one} and column {other_name!r} {other}; give both the same time zone")


def _clocks(join: Join) -> list[str]:
    return [join.event] if join.known is None else [join.event, join.known]


def _unit(times: Sequence[pl.Series]) -> str:
    """Nanoseconds where any of the times has them, else microseconds."""
    return "ns" if any(getattr(each.dtype, "time_unit", "us") == "ns" for each in times) else "us"


def _span(within: timedelta, unit: str) -> int:
    microseconds = (within.days * 86_400 + within.seconds) * 1_000_000 + within.microseconds
    return microseconds * 1000 if unit == "ns" else microseconds


def _ticks(times: pl.Series, unit: str) -> tuple[Ints, Flags | None]:
    """Times as whole numbers of the unit, and where there is one (None: everywhere)."""
    zone = getattr(times.dtype, "time_zone", None)
    kind = pl.Datetime("ns" if unit == "ns" else "us", zone)
    numbers = (times if times.dtype == kind else times.cast(kind)).to_physical()
    if not numbers.null_count():
        return numbers.to_numpy(), None
    return numbers.fill_null(0).to_numpy(), times.is_not_null().to_numpy()
