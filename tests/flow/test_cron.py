"""Which instants a cron expression names, also on the days on which clocks change."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.errors import BadInput
from tidemill.flow.scheduling.cron import instants


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def named(expression: str, zone: str, after: str, until: str) -> list[str]:
    return [f"{one:%d %H:%M}" for one in instants(expression, zone, at(after), at(until))]


# Berlin 2026: at 01:00 UTC of 29 March 02:00 becomes 03:00; at 01:00 UTC of 25 October 03:00 becomes 02:00 again.


def test_a_time_that_the_day_leaves_out_runs_at_the_first_moment_after_the_gap() -> None:
    found = named("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00", "2026-03-30T12:00")
    assert found == ["28 01:30", "29 01:00", "30 00:30"]


def test_several_times_in_one_gap_are_one_run_also_with_one_at_its_end() -> None:
    found = named("0,20,40 2,3 * * *", "Europe/Berlin", "2026-03-28T23:00", "2026-03-29T12:00")
    assert found == ["29 01:00", "29 01:20", "29 01:40"]


def test_a_time_that_the_day_has_twice_runs_at_the_first_of_the_two() -> None:
    found = named("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00", "2026-10-26T12:00")
    assert found == ["24 00:30", "25 00:30", "26 01:30"]


def test_an_expression_of_every_hour_runs_evenly_in_real_time() -> None:
    spring = named("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00", "2026-03-29T02:00")
    autumn = named("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00", "2026-10-25T02:00")
    assert spring == ["29 00:30", "29 01:00", "29 01:30", "29 02:00"]
    assert autumn == ["25 00:30", "25 01:00", "25 01:30", "25 02:00"]


def test_every_second_hour_counts_the_hours_of_the_wall_clock() -> None:
    found = named("0 */2 * * *", "Europe/Berlin", "2026-10-24T21:00", "2026-10-25T04:00")
    assert found == ["24 22:00", "25 00:00", "25 03:00"]  # 0:00 and 2:00 summer time, then 4:00 winter time


def test_new_york_lord_howe_and_apia() -> None:
    # New York 2026: 8 March 02:00 -> 03:00 at 07:00 UTC; 1 November 02:00 -> 01:00 at 06:00 UTC.
    assert named("30 2 8 3 *", "America/New_York", "2026-03-01", "2026-04-01") == ["08 07:00"]
    assert named("30 1 1 11 *", "America/New_York", "2026-10-30", "2026-11-03") == ["01 05:30"]
    # Lord Howe puts its clock forward by half an hour: 4 October 2026 02:00 (+10:30) -> 02:30 (+11), 15:30 UTC.
    assert named("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T12:00", "2026-10-04T20:00") == [
        "02 15:45",
        "03 15:30",
        "04 15:15",
    ]
    # Samoa left out 30 December 2011: 29th 24:00 (-10) was 31st 00:00 (+14), 10:00 UTC of the 30th.
    assert named("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00", "2012-01-01T00:00") == [
        "29 22:00",
        "30 10:00",
        "30 22:00",
        "31 22:00",
    ]


def test_a_name_stands_for_its_first_moments() -> None:
    assert named("@weekly", "UTC", "2026-05-01", "2026-05-18") == ["03 00:00", "10 00:00", "17 00:00"]
    assert named("@hourly", "UTC", "2026-05-01", "2026-05-01T02:00") == ["01 01:00", "01 02:00"]


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca"]
)
EXPRESSIONS = st.sampled_from(
    [
        "30 2 * * *",
        "0 * * * *",
        "*/20 1-3 * * *",
        "0 0 * * 0",
        "15 0,12 1 * *",
        "*/15 * * * *",
        "59 23 L * *",
        "0 3 * * 7#1",
    ]
)
MOMENTS = st.datetimes(datetime(2015, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS, ZONES, MOMENTS, st.lists(st.integers(1, 20 * 86_400), min_size=1, max_size=4))
def test_however_time_is_cut_up_each_instant_comes_once(
    expression: str, zone: str, start: datetime, steps: list[int]
) -> None:
    moments = [start]
    for step in steps:
        moments.append(moments[-1] + timedelta(seconds=step))
    pieces = [one for a, b in itertools.pairwise(moments) for one in instants(expression, zone, a, b)]
    whole = list(instants(expression, zone, moments[0], moments[-1]))
    assert pieces == whole
    assert whole == sorted(set(whole))
    assert all(moments[0] < one <= moments[-1] for one in whole)


@settings(max_examples=60, deadline=None)
@given(ZONES, MOMENTS)
def test_an_hourly_expression_is_each_moment_at_which_the_wall_clock_shows_it(zone: str, start: datetime) -> None:
    until = start + timedelta(days=3)
    shown, moment = [], start.replace(second=0, microsecond=0)
    while (moment := moment + timedelta(minutes=1)) <= until:
        if moment.astimezone(ZoneInfo(zone)).minute in (0, 40):
            shown.append(moment)
    assert list(instants("0,40 * * * *", zone, start, until)) == shown


@settings(max_examples=60, deadline=None)
@given(ZONES, MOMENTS, st.integers(0, 23), st.integers(0, 59))
def test_a_daily_expression_runs_once_each_day_of_the_wall_clock(
    zone: str, start: datetime, hour: int, minute: int
) -> None:
    place = ZoneInfo(zone)
    first = start.astimezone(place).date()
    noon = [datetime(first.year, first.month, first.day, 12, tzinfo=place) + timedelta(days=n) for n in (0, 30)]
    found = list(instants(f"{minute} {hour} * * *", zone, noon[0].astimezone(UTC), noon[1].astimezone(UTC)))
    days = [one.astimezone(place).date() for one in found]
    assert len(days) == 30
    assert days == sorted(set(days))


@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [
        ("every day", "UTC", "cron expression 'every day': wrong number of fields; write five fields"),
        ("61 * * * *", "UTC", "cron expression '61 * * * *': bad minute"),
        ("0 0 30 2 *", "UTC", "bad day-of-month"),
        ("0 0 * * *", "Europe/Berlni", "no time zone 'Europe/Berlni'; write one such as Europe/Berlin or UTC. Did you"),
        ("0 0 * * *", "../etc/passwd", "no time zone '../etc/passwd'"),
    ],
)
def test_what_is_no_expression_or_zone_is_refused(expression: str, zone: str, said: str) -> None:
    with pytest.raises(BadInput, match=said.replace("*", r"\*").replace("?", r"\?")):
        list(instants(expression, zone, at("2026-01-01"), at("2026-01-02")))
