"""The digest of a table's rows: what it must not see, what it must see, and that it never changes silently."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.rowhash import add, as_text, row_words, rows_digest, subtract

SCHEMA = {
    "key": pl.Int64(),
    "number": pl.Float64(),
    "text": pl.String(),
    "sure": pl.Boolean(),
    "at": pl.Datetime("us", "UTC"),
}
ROW = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=True),
    st.none() | st.text(max_size=5),
    st.none() | st.booleans(),
    st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
)
TABLES = st.lists(ROW, max_size=8)


def table(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def of(**columns: Any) -> int:
    return rows_digest(pl.DataFrame(columns))


@settings(deadline=None)
@given(TABLES, st.randoms(use_true_random=False))
def test_order_of_rows_and_columns_and_the_layout_do_not_count(rows: list[Any], random: Any) -> None:
    frame = table(rows)
    shuffled = rows.copy()
    random.shuffle(shuffled)
    columns = list(SCHEMA)
    random.shuffle(columns)
    assert rows_digest(table(shuffled).select(columns)) == rows_digest(frame)
    parts = pl.concat([table(rows[:3]), table(rows[3:])], rechunk=False)
    assert rows_digest(parts) == rows_digest(frame)


@settings(deadline=None)
@given(TABLES, TABLES)
def test_the_digest_of_two_tables_is_the_sum_of_theirs(one: list[Any], other: list[Any]) -> None:
    both = rows_digest(table(one + other))
    assert add(rows_digest(table(one)), rows_digest(table(other))) == both
    assert subtract(both, rows_digest(table(other))) == rows_digest(table(one))
    assert rows_digest(table([])) == 0


def same(one: Any, other: Any) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or (type(one) is type(other) and one == other)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=6), st.data())
def test_each_change_of_a_value_shows(rows: list[Any], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(0, len(SCHEMA) - 1))
    value = data.draw(ROW)[column]
    changed = [list(row) for row in rows]
    changed[place][column] = value
    alike = same(value, rows[place][column])
    assert (rows_digest(table(changed)) == rows_digest(table(rows))) == alike


@settings(deadline=None)
@given(st.lists(ROW, min_size=1, max_size=6), st.data())
def test_a_row_removed_or_doubled_shows(rows: list[Any], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    assert rows_digest(table(rows[:place] + rows[place + 1 :])) != rows_digest(table(rows))
    assert rows_digest(table([*rows, rows[place]])) != rows_digest(table(rows))


def test_columns_count_by_name() -> None:
    assert of(a=[1, 2], b=[3, 4]) != of(a=[3, 4], b=[1, 2])
    assert of(a=[1]) != of(b=[1])
    assert of(a=[1]) != of(a=[1], b=pl.Series([None], dtype=pl.Int64))


def test_values_cannot_change_places_within_a_row_or_a_column() -> None:
    assert of(a=[1, 2], b=[1, 2]) != of(a=[1, 2], b=[2, 1])
    assert of(a=["x", "y"], b=["u", "v"]) != of(a=["x", "y"], b=["v", "u"])


def test_a_null_is_no_zero_no_nan_and_no_empty_text() -> None:
    null = of(a=pl.Series([None], dtype=pl.Float64))
    assert len({null, of(a=[0.0]), of(a=[math.nan]), of(a=[""]), of(a=["null"])}) == 5
    assert null == of(a=pl.Series([None], dtype=pl.String))


def test_nan_is_nan_and_minus_zero_is_zero() -> None:
    other_nan = pl.Series([-math.nan, math.inf - math.inf])
    assert of(a=other_nan) == of(a=[math.nan, math.nan])
    assert of(a=[-0.0]) == of(a=[0.0])
    assert of(a=[1]) != of(a=[1.0])


def test_equal_values_in_narrower_types_are_equal() -> None:
    for kind in (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt64):
        assert of(a=pl.Series([1, 2], dtype=kind)) == of(a=[1, 2])
    assert of(a=pl.Series([1.5], dtype=pl.Float32)) == of(a=[1.5])
    assert of(a=pl.Series(["x"], dtype=pl.Categorical)) == of(a=["x"])
    at = datetime(2013, 4, 1, 5, 30, tzinfo=UTC)
    for unit in ("ms", "ns"):
        assert of(a=pl.Series([at], dtype=pl.Datetime(unit, "UTC"))) == of(a=[at])


def test_nested_and_binary_values_count() -> None:
    assert of(a=[[1, 2], None]) != of(a=[[1, 3], None])
    assert of(a=[{"x": 1, "y": "q"}]) != of(a=[{"x": 1, "y": "r"}])
    assert of(a=[b"\xff\x00"]) != of(a=[b"\xff\x01"])
    assert of(a=[Decimal("1.50")]) != of(a=[Decimal("1.51")])


def test_ten_thousand_rows_have_ten_thousand_hashes() -> None:
    high, low = row_words(pl.DataFrame({"a": range(10_000), "b": [0] * 10_000}))
    assert len(set(high.tolist())) == len(set(low.tolist())) == 10_000


@pytest.mark.parametrize(
    ("frame", "digest"),
    [
        (pl.DataFrame({"a": [1, 2, 3]}), "10140830733e69f2b72dfb8f97b0702b"),
        (pl.DataFrame({"a": [0.1, math.nan, None, -0.0, math.inf]}), "c106af0c1eafa284efe4117eb85ebc96"),
        (
            pl.DataFrame({"carrier": ["UA", "", None, "café"], "late": [True, False, None, True]}),
            "fa37e1f07ccbe6cbf956187fcc9a0823",
        ),
        (
            pl.DataFrame({"at": [datetime(2013, 4, 1, 5, 30, tzinfo=UTC)], "day": [date(2013, 4, 1)]}),
            "ee3db480a93aaab33a5141b0dec04e33",
        ),
    ],
    ids=["integers", "floats", "text and booleans", "times"],
)
def test_the_digest_of_what_is_stored_already_never_changes(frame: pl.DataFrame, digest: str) -> None:
    # These values are in workspaces out there. A change here makes every table in them Corrupt: don't.
    assert as_text(rows_digest(frame)) == digest


def test_the_first_word_follows_from_the_published_constants() -> None:
    # The mix of the all-zero sum, worked out with Python's integers from splitmix64's definition.
    def mix(word: int) -> int:
        word = (word + 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    assert mix(0) == 0xE220A8397B1DCDAF  # the first output of splitmix64 seeded with 0
    from hashlib import blake2b

    salt = int.from_bytes(blake2b(b"a", digest_size=8).digest(), "little")
    row = mix(7 ^ salt)
    assert of(a=[7]) == mix(row ^ 0x9E3779B97F4A7C15) << 64 | mix(row)
