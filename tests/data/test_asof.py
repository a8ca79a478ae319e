"""The join in time, against a search of every row; and never a value that was not known yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.errors import BadInput, WrongType
from tidemill.data.feature_store.asof import Join, as_of, as_of_all, as_of_naive

START = datetime(2013, 1, 1, tzinfo=UTC)
CLOCK = pl.Datetime("us", "UTC")


def hour(number: float | None) -> datetime | None:
    """The moment that many hours after the start."""
    return None if number is None else START + timedelta(hours=number)


def asked(*rows: tuple[str | None, float | None]) -> pl.DataFrame:
    """Left rows: place, hour."""
    schema = {"n": pl.Int64, "place": pl.String, "at": CLOCK}
    return pl.DataFrame([(n, place, hour(at)) for n, (place, at) in enumerate(rows)], schema=schema, orient="row")


def seen(*rows: tuple[str | None, float | None, float | None]) -> pl.DataFrame:
    """Right rows: place, hour of the event, hour from which on it was known; the value is the row's number."""
    schema = {"place": pl.String, "event": CLOCK, "known": CLOCK, "value": pl.Int64}
    return pl.DataFrame(
        [(place, hour(event), hour(known), n) for n, (place, event, known) in enumerate(rows)],
        schema=schema,
        orient="row",
    )


def joined(left: pl.DataFrame, right: pl.DataFrame, **more: Any) -> list[int | None]:
    """The value that each left row gets."""
    options: dict[str, Any] = {"by": ["place"], "columns": ["value"], **more}
    made = as_of(left, right, left_time="at", right_event="event", right_known="known", **options)
    assert made["n"].to_list() == left["n"].to_list()
    return made["value"].to_list()


def by_search(left: pl.DataFrame, right: pl.DataFrame, *, within: timedelta | None, by: bool) -> list[int | None]:
    """The same by looking at every pair of rows."""
    found: list[int | None] = []
    for row in left.iter_rows(named=True):
        best: tuple[datetime, datetime, int] | None = None
        for other in right.iter_rows(named=True):
            if None in (row["at"], other["event"], other["known"]):
                continue
            if by and (row["place"] is None or row["place"] != other["place"]):
                continue
            if other["event"] <= row["at"] and other["known"] <= row["at"]:
                rank = (other["event"], max(other["known"], other["event"]), other["value"])
                best = rank if best is None else max(best, rank)
        late = best is not None and within is not None and row["at"] - best[0] > within
        found.append(None if best is None or late else best[2])
    return found


places = st.sampled_from(["EWR", "JFK", None])
hours = st.one_of(st.none(), st.integers(0, 8))


@settings(max_examples=300, deadline=None)
@given(
    left=st.lists(st.tuples(places, hours), max_size=8),
    right=st.lists(st.tuples(places, hours, hours), max_size=12),
    within=st.one_of(st.none(), st.integers(0, 4).map(lambda n: timedelta(hours=n))),
    by=st.booleans(),
)
def test_it_finds_what_a_search_of_every_row_finds(
    left: list[Any], right: list[Any], within: timedelta | None, by: bool
) -> None:
    rows, others = asked(*left), seen(*right)
    by_columns = ["place"] if by else []
    assert joined(rows, others, within=within, by=by_columns) == by_search(rows, others, within=within, by=by)


def test_a_value_is_not_seen_before_it_is_known() -> None:
    right = seen(("EWR", 1, 1), ("EWR", 2, 5))
    assert joined(asked(("EWR", 4), ("EWR", 5)), right) == [0, 1]


def test_a_value_that_comes_late_does_not_push_out_a_newer_event() -> None:
    right = seen(("EWR", 1, 6), ("EWR", 3, 3))
    assert joined(asked(("EWR", 5), ("EWR", 7)), right) == [1, 1]


def test_a_correction_of_the_same_event_counts_from_when_it_is_known() -> None:
    right = seen(("EWR", 1, 1), ("EWR", 1, 4))
    assert joined(asked(("EWR", 3), ("EWR", 4)), right) == [0, 1]


def test_an_event_that_was_announced_before_it_happened_is_not_seen_before_it_happens() -> None:
    assert joined(asked(("EWR", 4), ("EWR", 6)), seen(("EWR", 6, 1))) == [None, 0]


def test_within_counts_from_the_event_and_includes_its_end() -> None:
    right = seen(("EWR", 1, 3))
    left = asked(("EWR", 4), ("EWR", 4.01))
    assert joined(left, right, within=timedelta(hours=3)) == [0, None]


def test_without_a_known_time_the_event_time_counts() -> None:
    right = seen(("EWR", 1, None), ("EWR", 2, None)).drop("known")
    made = as_of(asked(("EWR", 1.5)), right, left_time="at", right_event="event", by=["place"], columns=["value"])
    assert made["value"].to_list() == [0]


def test_the_left_rows_stay_as_they_are_in_their_order() -> None:
    left = asked(("JFK", 9), ("EWR", 1), ("JFK", 5), ("LGA", 5))
    made = as_of(
        left,
        seen(("JFK", 4, 4), ("EWR", 0, 0)),
        left_time="at",
        right_event="event",
        right_known="known",
        by=["place"],
        columns=["value"],
        prefix="w_",
    )
    assert made.drop("w_value").equals(left)
    assert made["w_value"].to_list() == [0, 1, 0, None]


def test_no_right_rows_give_nulls_of_the_right_type() -> None:
    made = as_of(
        asked(("EWR", 1)),
        seen(),
        left_time="at",
        right_event="event",
        right_known="known",
        by=["place"],
        columns=["value"],
    )
    assert made.schema["value"] == pl.Int64
    assert made["value"].to_list() == [None]


def test_a_name_that_is_taken_asks_for_a_prefix() -> None:
    right = seen(("EWR", 1, 1)).rename({"value": "n"})
    with pytest.raises(BadInput, match=r"column 'n' is there already; give a prefix=, or choose columns="):
        as_of(asked(("EWR", 1)), right, left_time="at", right_event="event", by=["place"], columns=["n"])


def test_the_naive_join_sees_what_was_not_known_and_must_be_asked_for_by_name() -> None:
    right = seen(("EWR", 1, 1), ("EWR", 2, 5))
    made = as_of_naive(asked(("EWR", 4)), right, left_time="at", right_event="event", by=["place"], columns=["value"])
    assert made["value"].to_list() == [1]
    assert joined(asked(("EWR", 4)), right) == [0]


def test_of_equal_clocks_the_largest_tie_wins_wherever_it_stands() -> None:
    right = seen(("EWR", 1, 2), ("EWR", 1, 2), ("EWR", 1, 2)).with_columns(id=pl.Series([5, 11, 9]))
    assert joined(asked(("EWR", 3)), right, tie="id") == [1]
    assert joined(asked(("EWR", 3)), right.with_columns(pl.col("id").cast(pl.String)), tie="id") == [2]
    assert joined(asked(("EWR", 3)), right) == [2]


@settings(max_examples=100, deadline=None)
@given(
    left=st.lists(st.tuples(places, hours), min_size=1, max_size=8),
    rights=st.lists(st.lists(st.tuples(places, hours, hours), max_size=6), min_size=2, max_size=3),
)
def test_joining_several_tables_at_once_is_joining_them_one_after_another(left: list[Any], rights: list[Any]) -> None:
    rows = asked(*left)
    within = [None, timedelta(hours=2), timedelta(0)]
    by = [["place"], [], ["place"]]
    joins = [
        Join(seen(*each), "event", ["value"], known="known", by=by[n], within=within[n], prefix=f"{n}_")
        for n, each in enumerate(rights)
    ]
    one_by_one = rows
    for join in joins:
        one_by_one = as_of_all(one_by_one, [join], left_time="at")
    assert as_of_all(rows, joins, left_time="at").equals(one_by_one)


KEYS: dict[str, Any] = {
    "text": (["EWR", "", "é\n"], pl.String),
    "numbers": ([-5, 0, 2**40], pl.Int64),
    "near numbers": ([1, 2, 3], pl.Int16),
    "big numbers": ([0, 1, 2**64 - 1], pl.UInt64),
    "fractions": ([0.5, 1.5, -2.0], pl.Float64),
    "dates": ([START.date(), START.date() + timedelta(days=400), None], pl.Date),
    "times": ([hour(1), hour(10_000), None], CLOCK),
    "yes or no": ([True, False, None], pl.Boolean),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("paired", [False, True])
def test_keys_of_any_type_meet_their_equals_only(kind: str, paired: bool) -> None:
    values, dtype = KEYS[kind]
    left = pl.DataFrame({"k": pl.Series([*values, values[0]], dtype=dtype), "j": [1, 2, 3, 10**9], "at": [hour(5)] * 4})
    right = pl.DataFrame(
        {"k": pl.Series(values, dtype=dtype), "j": [1, 2, 3], "event": [hour(1)] * 3, "value": [0, 1, 2]}
    )
    by = ["k", "j"] if paired else ["k"]
    made = as_of(left, right, left_time="at", right_event="event", by=by, columns=["value"])["value"].to_list()
    found = [None if value is None else n for n, value in enumerate(values)]
    assert made == [*found, None if paired else 0]


def test_keys_of_another_type_are_refused() -> None:
    with pytest.raises(WrongType, match="column 'place' is String and column 'place' is Int64; cast one to the other"):
        joined(asked(("EWR", 1)), seen(("EWR", 1, 1)).with_columns(place=pl.lit(1, pl.Int64)))


def test_a_key_that_no_left_row_has_is_no_error() -> None:
    right = seen(("JFK", 1, 1), ("EWR", 2, 2), (None, 2, 2))
    assert joined(asked(("EWR", 4), (None, 4)), right) == [1, None]


@settings(max_examples=60, deadline=None)
@given(
    left=st.lists(st.tuples(places, hours), max_size=6),
    right=st.lists(st.tuples(places, hours, hours), max_size=10),
    within=st.one_of(st.none(), st.integers(0, 4).map(lambda n: timedelta(hours=n))),
)
def test_keys_and_times_too_large_for_one_number_are_found_as_well(
    left: list[Any], right: list[Any], within: timedelta | None
) -> None:
    rows, others = asked(*left), seen(*right)
    # 5,000 keys (13 bits) over 7,900 years of microseconds (58 bits): more than one number has together
    many = pl.DataFrame({"place": [f"p{n}" for n in range(5_000)]}).with_columns(at=pl.lit(hour(0), CLOCK))
    ages = seen(("p1", -9_000_000, -9_000_000), ("p2", 60_000_000, 60_000_000)).with_columns(value=pl.lit(-1, pl.Int64))
    asking = pl.concat([rows.select("place", "at"), many, pl.DataFrame({"place": ["p2"], "at": [hour(60_000_001)]})])
    made = as_of(
        asking,
        pl.concat([others, ages]),
        left_time="at",
        right_event="event",
        right_known="known",
        by=["place"],
        columns=["value"],
        within=within,
    )
    assert made["value"].to_list()[: rows.height] == by_search(rows, others, within=within, by=True)
    assert made["value"].to_list()[-1] == (-1 if within is None or within >= timedelta(hours=1) else None)


def test_nanoseconds_and_dates_are_times_as_well() -> None:
    nano = pl.Datetime("ns", "UTC")
    left = asked(("EWR", 1)).with_columns(pl.col("at").cast(nano))
    right = seen(("EWR", 1, 1), ("EWR", 1, 1)).with_columns(pl.col("event", "known").cast(nano))
    later = right.with_columns(event=pl.col("event") + pl.Series([0, 1]).cast(pl.Duration("ns")))
    assert joined(left, later) == [0]
    days = pl.DataFrame({"at": [START.date()], "n": [0]})
    past = pl.DataFrame({"event": [START.date() - timedelta(days=1)], "value": [7]})
    made = as_of(days, past, left_time="at", right_event="event", columns=["value"], within=timedelta(days=1))
    assert made["value"].to_list() == [7]


def test_a_clock_in_another_zone_is_refused() -> None:
    right = seen(("EWR", 1, 1)).with_columns(pl.col("event").dt.replace_time_zone(None))
    with pytest.raises(WrongType, match=r"column 'at' is Datetime.*; give both the same time zone"):
        joined(asked(("EWR", 1)), right)
