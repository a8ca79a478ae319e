"""Clocks of rows that come from outside: as times in UTC, where they are text or have no zone of their own."""

from __future__ import annotations

import zoneinfo

import polars as pl
from polars.exceptions import PolarsError

from tidemill.core.errors import BadInput, WrongType, nearest


def utc(values: pl.Series, *, zone: str | None, where: str) -> pl.Series:
    """The times in UTC. zone: of those without one, for example "Europe/London"; None refuses such.

    Raises WrongType for text that is no time or for a missing zone, BadInput for no such zone, or times that its clocks
    showed twice or not at all.
    """
    if values.dtype == pl.String and values.null_count() < len(values):
        values = _times(values, where)
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is None:
        if zone is None:
            raise WrongType(
                f"column {values.name!r} of {where} has times without a zone; say which zone they are in: zone='UTC'"
            )
        values = _in_zone(values, zone, where)
    return values


def _times(values: pl.Series, where: str) -> pl.Series:
    """Text as times, in UTC where it names an offset."""
    try:
        read = values.str.to_datetime(time_unit="us", strict=False)
    except pl.exceptions.ComputeError:  # not even the first of them is one
        read = pl.Series(values.name, [None] * len(values), pl.Datetime("us"))
    if read.null_count() > values.null_count():
        bad = values.filter(read.is_null() & values.is_not_null())[0]
        raise WrongType(f"column {values.name!r} of {where} holds {bad!r}, which is no time; mend it")
    return read


def _in_zone(values: pl.Series, zone: str, where: str) -> pl.Series:
    """The times of that zone's clocks, in UTC. BadInput for no such zone, or times that it had twice or not at all."""
    try:
        return values.dt.replace_time_zone(zone).dt.convert_time_zone("UTC")
    except PolarsError as error:
        known = zoneinfo.available_timezones()
        if zone not in known:
            raise BadInput(
                f"time zone {zone!r} is not known; write one such as UTC or Europe/London.{nearest(zone, known)}"
            ) from None
        raise BadInput(
            f"column {values.name!r} of {where}: {str(error).splitlines()[0]}; give times with their offset from UTC, "
            "such as 2013-11-03T01:30-05:00"
        ) from error
