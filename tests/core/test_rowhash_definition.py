"""The digest of rows against its definition, worked out a value at a time with Python's integers."""

from __future__ import annotations

import hashlib
import math
import struct
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.rowhash import rows_digest

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
