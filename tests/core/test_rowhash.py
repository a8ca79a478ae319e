"""The digest of rows: the same for the same rows however they lie, another one for any other rows."""

from __future__ import annotations

import hashlib
import math
import struct
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.rowhash import add, as_text, rows_digest, subtract

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
SCHEMA = {
    "key": pl.Int64,
    "share": pl.Float64,
    "name": pl.String,
    "sure": pl.Boolean,
    "at": pl.Datetime("us", "UTC"),
    "day": pl.Date,
}


def mix(word: int) -> int:
    """splitmix64 as its authors print it, on Python's numbers."""
    word = (word + GOLDEN) & MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def short(text: str) -> int:
    """Eight bytes of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def word_of(value: Any) -> int:
    """A value's word, one value at a time."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    if value is None:
        return GOLDEN
    if isinstance(value, str):
        return short(value)
    if isinstance(value, float):
        plain = math.nan if math.isnan(value) else value + 0.0
        return int.from_bytes(struct.pack("<d", plain), "little")
    if isinstance(value, datetime):
        gap = value - epoch
        return ((gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds) & MASK
    if isinstance(value, date):
        return (value - epoch.date()).days & MASK
    return int(value) & MASK


def slowly(frame: pl.DataFrame) -> int:
    """The digest as the module's docstring says it, a value at a time."""
    high = low = 0
    for row in frame.iter_rows(named=True):
        inner = sum(mix(word_of(value) ^ short(name)) for name, value in row.items()) & MASK
        high, low = high + mix(inner ^ GOLDEN), low + mix(inner)
    return ((high & MASK) << 64) | (low & MASK)


rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        st.one_of(st.none(), st.floats(allow_nan=False)),
        st.one_of(st.none(), st.text(max_size=8)),
        st.one_of(st.none(), st.booleans()),
        st.one_of(st.none(), st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))),
        st.one_of(st.none(), st.dates(date(1900, 1, 1), date(2200, 1, 1))),
    ),
    max_size=6,
)


def framed(some: list[Any]) -> pl.DataFrame:
    """Rows as a frame."""
    return pl.DataFrame(some, schema=SCHEMA, orient="row")


@settings(max_examples=150, deadline=None)
@given(some=rows)
def test_it_is_what_its_definition_says_a_value_at_a_time(some: list[Any]) -> None:
    frame = framed(some)
    assert rows_digest(frame) == slowly(frame)


@settings(max_examples=60, deadline=None)
@given(some=rows, more=rows, seed=st.integers(0, 9))
def test_neither_the_order_of_rows_nor_of_columns_nor_the_layout_counts(
    some: list[Any], more: list[Any], seed: int
) -> None:
    apart = pl.concat([framed(some), framed(more)], rechunk=False)
    mixed = framed([*more, *some]).sample(fraction=1.0, shuffle=True, seed=seed).select(*reversed(SCHEMA))
    assert rows_digest(apart) == rows_digest(mixed)


@settings(max_examples=60, deadline=None)
@given(some=rows, more=rows)
def test_digests_of_parts_add_and_subtract(some: list[Any], more: list[Any]) -> None:
    one, other, both = rows_digest(framed(some)), rows_digest(framed(more)), rows_digest(framed([*some, *more]))
    assert add(one, other) == add(other, one) == both
    assert subtract(both, other) == one


BASE = pl.DataFrame({"key": [1, 2], "name": ["a", "b"], "share": [0.5, None]})


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(BASE.head(1), id="a row less"),
        pytest.param(pl.concat([BASE, BASE.head(1)]), id="a row twice"),
        pytest.param(BASE.with_columns(name=pl.Series(["b", "a"])), id="two values swapped between rows"),
        pytest.param(BASE.with_columns(share=pl.Series([0.5, 0.0])), id="zero for missing"),
        pytest.param(BASE.with_columns(share=pl.Series([0.5, float("nan")])), id="NaN for missing"),
        pytest.param(BASE.with_columns(share=pl.Series([math.nextafter(0.5, 1), None])), id="the last bit of a number"),
        pytest.param(BASE.with_columns(name=pl.Series(["a", ""])), id="another text"),
        pytest.param(BASE.with_columns(name=pl.Series(["a", "b "])), id="a space more"),
        pytest.param(BASE.rename({"name": "text"}), id="another column name"),
        pytest.param(BASE.drop("share"), id="a column less"),
        pytest.param(BASE.with_columns(more=pl.lit(0)), id="a column more"),
    ],
)
def test_other_rows_have_another_digest(other: pl.DataFrame) -> None:
    assert rows_digest(other) != rows_digest(BASE)


def test_values_swapped_between_columns_count() -> None:
    one, other = pl.DataFrame({"a": [1, 2], "b": [2, 1]}), pl.DataFrame({"a": [1, 1], "b": [2, 2]})
    assert rows_digest(one) != rows_digest(other)


def test_equal_numbers_with_other_bits_are_equal_rows() -> None:
    one = pl.DataFrame({"x": [-0.0, float("nan")]})
    other = pl.DataFrame({"x": [0.0, -float("nan")]})
    assert rows_digest(one) == rows_digest(other)


def test_lists_structs_and_bytes_count_by_content() -> None:
    def digest(**columns: Any) -> int:
        return rows_digest(pl.DataFrame({name: [value] for name, value in columns.items()}))

    assert digest(v=[1, 2]) == digest(v=[1, 2]) != digest(v=[2, 1])
    assert digest(v={"a": 1}) == digest(v={"a": 1}) != digest(v={"a": 2})
    assert digest(v=b"\xff") == digest(v=b"\xff") != digest(v=b"\xfe")


def test_no_rows_are_nothing_whatever_their_columns() -> None:
    assert rows_digest(BASE.clear()) == 0
    assert as_text(0) == "0" * 32


def test_the_digest_of_these_rows_stays_the_same_in_every_release() -> None:
    frame = pl.DataFrame({"id": ["a", "b", None], "n": [1, -2, 3], "x": [0.5, None, 1e300]})
    assert as_text(rows_digest(frame)) == "e726f96c98d9d5a1fdd292beeef46c09"
    assert rows_digest(frame) == slowly(frame)
