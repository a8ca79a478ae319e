"""The join in time, against a search of every row; and never a value that was not known yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.errors import BadInput
from tidemill.data.asof import as_of

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
