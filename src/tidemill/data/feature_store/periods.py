"""From when to when each row of a table is the one to be found: the two clocks of a join in time, as whole numbers.

A moment of a key is one number, the key's code in the high bits and the time in the low ones; so keys need no grouping,
and to look back is to merge two sorted lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

Ints = np.ndarray[Any, np.dtype[np.int64]]
Numbers = np.ndarray[Any, np.dtype[np.int32]] | Ints  # of rows
Flags = np.ndarray[Any, np.dtype[np.bool_]]
BITS = 62  # of a whole number that can be compared with a sign, with room for the end of the last key's time
FEW = 1 << 31  # rows whose numbers take 32 bits
RADIX = 1 << 16  # NumPy sorts 16-bit numbers by counting: 9 ms a million where 64 bits take 24


@dataclass(frozen=True, slots=True)
class Clocks:
    """When each row happened and from when on it could be known (never before it happened), in whole ticks.

    there: which rows have both, None for all.
    """

    event: Ints
    known: Ints
    there: Flags | None


@dataclass(frozen=True, slots=True)
class Span:
    """The first and the last moment that will be asked for."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Lasting:
    """The numbers of rows, by key and event, and the moment from which on each is the one to be found.

    Each lasts until the next of its key: no time at all where that has the same moment. moment, event: (key, time) in
    one number. base: what times count from; or all times there are, in order, and times count places among them.
    """

    rows: Ints
    moment: Ints
    event: Ints
    bits: int
    base: Ints | int

    def asked(self, codes: Ints, times: Ints) -> Ints:
        """The (key, time) of left rows; none of their times may be outside the span."""
        if isinstance(self.base, int):
            return (codes << self.bits) + (times - (self.base - 1))
        return (codes << self.bits) + np.searchsorted(self.base, times, side="right")


def lasting(
    clocks: Clocks,
    codes: Ints,
    size: int,
    *,
    span: Span | None,
    ids: pl.Series | None,
    within: int | None = None,
) -> Lasting | None:
    """From when on each row is found; None when there is no row.

    codes: the key of each row, 0 to size - 1, or -1 for rows to leave out. A row that becomes known when a later event
    of its key is known already is never found: its moment is that of the later one. So all are in order on both clocks.
    ids: of rows with equal key and clocks the one with the largest id is found, else the last one.
    """
    rows = _usable(clocks, codes, span)
    event, known = clocks.event, clocks.known
    same = event is known
    if rows is not None:
        event, codes = event[rows], codes[rows]
        known = event if same else known[rows]
    if not len(event):
        return None
    in_time = size <= RADIX and bool((event[1:] >= event[:-1]).all())
    base, bits = _scale(event, known, span, size, within)
    key = codes << bits
    if isinstance(base, int):
        key -= base - 1
    else:
        event = np.searchsorted(base, event) + 1
        known = event if same else np.searchsorted(base, known) + 1
    happened = key + event
    order = np.argsort(codes.astype(np.uint16), kind="stable") if in_time else np.argsort(happened)
    happened = happened[order]
    again = happened[1:] == happened[:-1]
    if again.any():
        order = _settled(order, again, known, rows, ids)
    moment = happened if same else (key + known)[order]
    # what is known before all that happened later keeps its moment: the least of those that follow is still to come
    least = np.minimum.accumulate(moment[::-1])[::-1]
    return Lasting(order if rows is None else rows[order], least, happened, bits, base)


def found(one: Lasting, wanted: Ints, *, within: int | None) -> Numbers:
    """For each (key, time) of `wanted`, in order: the number of the row that is found then, or -1.

    A row lasts until the next one of its key, at most `within` ticks after its event.
    """
    moment, rows = _with_ends(one, within)
    # Polars merges two sorted lists in 10 ms a million; np.searchsorted takes 23.
    asked = pl.DataFrame({"at": wanted}).with_columns(pl.col("at").set_sorted())
    there = pl.DataFrame({"at": moment, "row": rows}).with_columns(pl.col("at").set_sorted())
    return asked.join_asof(there, on="at", strategy="backward", check_sortedness=False)["row"].to_numpy()


def in_order(codes: Ints, times: Ints, there: Flags | None, size: int, span: Span) -> Ints:
    """The numbers of the left rows that have a key and a time, by key and then time."""
    chosen = _chosen(codes, there)
    if chosen is not None:
        codes, times = codes[chosen], times[chosen]
    if size <= RADIX and bool((times[1:] >= times[:-1]).all()):
        order = np.argsort(codes.astype(np.uint16), kind="stable")
    else:
        bits = (span.last - span.first).bit_length()
        fits = size.bit_length() + bits <= BITS
        order = np.argsort((codes << bits) + (times - span.first)) if fits else np.lexsort((times, codes))
    return order if chosen is None else chosen[order]


def ranked(ids: pl.Series) -> pl.Series:
    """Row ids as they are compared where clocks are equal: numbers as numbers, everything else as text."""
    return ids if ids.dtype.is_integer() else ids.cast(pl.String)


def _chosen(codes: Ints, there: Flags | None) -> Ints | None:
    """The numbers of the rows with a key that are there, or None for all."""
    if len(codes) and int(codes.min()) < 0:
        return np.flatnonzero(codes >= 0 if there is None else there & (codes >= 0))
    return None if there is None else np.flatnonzero(there)


def _usable(clocks: Clocks, codes: Ints, span: Span | None) -> Ints | None:
    """The rows that have a key and both clocks, or None for all.

    Those that become known long after the span (such as a "never" of year 9999) would only take bits.
    """
    there = clocks.there
    if span is not None and len(codes) and int(clocks.known.max()) > 2 * span.last - span.first:
        early = clocks.known <= span.last
        there = early if there is None else there & early
    return _chosen(codes, there)


def _scale(event: Ints, known: Ints, span: Span | None, size: int, within: int | None) -> tuple[Ints | int, int]:
    """What times count from, and how many bits they take."""
    first, last = int(event.min()), int(known.max())
    if span is not None:
        first, last = min(first, span.first), max(last, span.last)
    bits = (last - first + 1).bit_length()
    if size.bit_length() + bits <= BITS:
        return first, bits
    # Too many keys over too long a time for one number: count places among the times that there are.
    ends = [] if within is None else [event + within + 1]
    base = np.unique(np.concatenate([event, known, *ends]))
    return base, (len(base) + 1).bit_length()


def _with_ends(one: Lasting, within: int | None) -> tuple[Ints, Numbers]:
    """Moments in order, and the row that is found from each of them on: -1 from where a row no longer lasts."""
    moment, rows = one.moment, one.rows
    last = (moment[1:] ^ moment[:-1]) >> one.bits != 0  # of its key
    if within is None:
        places = np.append(np.flatnonzero(last), len(moment) - 1)
        ends = _next_key(moment[places], one.bits)
    else:
        expiry = _expiry(one, within)
        over = expiry <= moment  # before it was known
        if over.any():
            rows, expiry = np.where(over, -1, rows), np.maximum(expiry, moment)
        places = np.append(np.flatnonzero(last | (expiry[:-1] < moment[1:])), len(moment) - 1)
        ends = np.minimum(expiry[places], _next_key(moment[places], one.bits))
    new = places + np.arange(2, len(places) + 2)
    old = np.ones(len(moment) + len(places) + 1, np.bool_)
    old[0] = old[new] = False
    moments: Ints = np.full(len(old), -1)
    found: Numbers = np.full(len(old), -1, np.int64)
    if int(rows.max()) < FEW:
        found = found.astype(np.int32)
    moments[old], found[old] = moment, rows
    moments[new] = ends
    return moments, found


def _next_key(moment: Ints, bits: int) -> Ints:
    return ((moment >> bits) + 1) << bits


def _expiry(one: Lasting, within: int) -> Ints:
    """The (key, time) from which on a row is too old."""
    if isinstance(one.base, int):
        return one.event + min(max(within, -1) + 1, 1 << one.bits)
    key = (one.event >> one.bits) << one.bits
    ended = one.base[one.event - key - 1] + within + 1
    expiry: Ints = key + np.searchsorted(one.base, ended) + 1
    return expiry


def _settled(order: Ints, again: Flags, known: Ints, rows: Ints | None, ids: pl.Series | None) -> Ints:
    """The order in which rows of one key and event stand by when they were known, then by id, then as they were.

    again: whether a row has the key and event of the row before it, from the second row on.
    """
    places = np.flatnonzero(np.append(again, False) | np.insert(again, 0, False))
    group = np.cumsum(np.insert(~again, 0, True))[places]
    chosen = order[places]
    ranks = np.zeros(len(places), np.int64)
    if ids is not None:
        numbers = pl.Series(chosen if rows is None else rows[chosen])
        ranks = ranked(ids.gather(numbers)).rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    settled = order.copy()
    settled[places] = chosen[np.lexsort((chosen, ranks, known[chosen], group))]
    return settled
