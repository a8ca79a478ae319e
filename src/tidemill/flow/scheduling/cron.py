"""Cron expressions in a time zone: which instants they name, with a stated answer for the days the clocks change.

The expression's fields are those of cron(5), with an optional first field for seconds, read by cronsim; @hourly,
@daily, @weekly, @monthly and @yearly stand for their first moments.

What happens when a zone's clock is put forward or back:
    An expression of every hour (its hour field names all 24) runs whenever the wall clock shows one of its times: twice
    for a time that the day has twice, not at all for one that it leaves out. So it runs on evenly in real time.
    Any other expression runs once for each time that it names on a day: at the first of two, and, where the day leaves
    the time out, at the first moment after the gap. Several times in one gap are that one moment, and one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, available_timezones

from tidemill.core.errors import BadInput, nearest

if TYPE_CHECKING:
    from cronsim import CronSim

HOURS = 24
# The longest gap of the tz database is a whole day (Samoa left out 30 December 2011).
GAP = timedelta(hours=25)
ANY_DAY = datetime(2000, 1, 1)
NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def check(expression: str, zone: str) -> None:
    """Raise BadInput for an expression or a zone that means nothing."""
    zone_of(zone)
    _parsed(expression)


def instants(expression: str, zone: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """The instants of an expression with after < instant <= until, in UTC, in order, each once.

    after, until: with a zone. Raises BadInput as `check` does.
    """
    place = zone_of(zone)
    last = after
    for instant in _in_order(expression, place, after):
        if instant > until:
            return
        if instant > last:
            last = instant
            yield instant


def _in_order(expression: str, place: tzinfo, after: datetime) -> Iterator[datetime]:
    every_hour = _every_hour(expression)
    seconds: list[datetime] = []  # times of a doubled hour, the second time: after the first time of the whole hour
    for wall in _parsed(expression, _start(place, after)):
        first = wall.replace(tzinfo=place, fold=0).astimezone(UTC)
        missing = first.astimezone(place).replace(tzinfo=None) != wall
        if missing:
            first = _after_gap(wall, place)
        while seconds and seconds[0] <= first:
            yield seconds.pop(0)
        if not (missing and every_hour):
            yield first
        second = wall.replace(tzinfo=place, fold=1).astimezone(UTC)
        if every_hour and not missing and second != first:
            seconds.append(second)
    yield from seconds


@lru_cache(maxsize=256)
def zone_of(name: str) -> tzinfo:
    """The time zone of that name; BadInput, naming the nearest, where there is none."""
    if name == "UTC":  # also where the machine has no zones
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        known = sorted(available_timezones())
        if not known:
            raise BadInput(f"this machine has no time zones, so none {name!r}: pip install tzdata") from error
        raise BadInput(
            f"no time zone {name!r}; write one such as Europe/Berlin or UTC.{nearest(name, known)}"
        ) from error


def _parsed(expression: str, wall: datetime = ANY_DAY) -> CronSim:
    from cronsim import CronSim, CronSimError

    try:
        return CronSim(NAMED.get(expression.strip().lower(), expression), wall)
    except CronSimError as error:
        raise BadInput(
            f"cron expression {expression!r}: {str(error).lower()}; write five fields, minute hour day-of-month month "
            'day-of-week, such as "30 2 * * *" for half past two each day'
        ) from error


@lru_cache(maxsize=1024)
def _every_hour(expression: str) -> bool:
    return len(_parsed(expression).hours) == HOURS


def _start(place: tzinfo, after: datetime) -> datetime:
    """A wall time from which on to look: earlier than `after` shows where the clocks change around it."""
    near = {(after + shift).astimezone(place).utcoffset() for shift in (-GAP, timedelta(0), GAP)}
    start = after if len(near) == 1 else after - GAP
    return start.astimezone(place).replace(tzinfo=None, fold=0)


def _after_gap(wall: datetime, place: tzinfo) -> datetime:
    """The first instant after the gap in which a wall time lies, found by halving: to the second."""
    low = wall.replace(tzinfo=place, fold=1).astimezone(UTC)  # read by the new offset, before the change
    high = wall.replace(tzinfo=place, fold=0).astimezone(UTC)  # by the old one, after it
    was = low.astimezone(place).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(place).utcoffset() == was:
            low = middle
        else:
            high = middle
    return high
