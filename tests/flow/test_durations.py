"""Lengths of time: what people write is read, and what is shown is read back to the bit."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidemill.core.errors import BadInput
from tidemill.flow.durations import seconds, text

LENGTHS = st.one_of(
    st.integers(1, 10**9).map(float),
    st.integers(1, 10**7).map(lambda ms: ms / 1000),
    st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False),
)


@given(LENGTHS)
@example(5e-324)
@example(1.7976931348623157e308)
@example(90.1)
@example(0.07)
def test_what_is_shown_is_read_back_to_the_bit(length_s: float) -> None:
    assert seconds(text(length_s)) == length_s


@given(st.integers(1, 10**8))
def test_whole_seconds_are_shown_in_whole_units_each_below_the_next(length_s: int) -> None:
    shown = text(length_s)
    assert "." not in shown
    assert "ms" not in shown
    assert seconds(shown) == length_s == seconds(timedelta(seconds=length_s))


@pytest.mark.parametrize(
    ("length_s", "shown"),
    [(2, "2s"), (60, "1m"), (5400, "1h30m"), (86_400, "1d"), (90_061, "1d1h1m1s"), (0.25, "250ms"), (90.5, "1m30.5s"),
     (604_800 * 2, "2w"), (0.0005, "0.5ms")],
)  # fmt: skip
def test_a_length_reads_as_people_write_it(length_s: float, shown: str) -> None:
    assert text(length_s) == shown


@pytest.mark.parametrize("length_s", [0, -1, float("inf"), float("nan")])
def test_no_length_has_no_text(length_s: float) -> None:
    with pytest.raises(BadInput, match="it must be longer than nothing"):
        text(length_s)
