"""Checks find exactly the rows that fail them, and say so."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from tidemill.core.checks import between, failing, matches, not_null, one_of, unique, warn
from tidemill.core.errors import BadInput, UnknownColumn, WrongType
from tidemill.core.types import Check

ROWS = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e"],
        "temp": [10.0, -40.0, None, 30.0, 31.0],
        "carrier": ["AA", "UA", "AA", None, "XX"],
        "day": [date(2013, 1, n) for n in range(1, 6)],
    }
)


@pytest.mark.parametrize(
    ("check", "keys"),
    [
        (unique("carrier"), ["a", "c"]),
        (unique("id"), []),
        (not_null("temp"), ["c"]),
        (between("temp", -30, 30), ["b", "e"]),
        (between("day", date(2013, 1, 2), date(2013, 1, 4)), ["a", "e"]),
        (one_of("carrier", "AA", "UA"), ["e"]),
        (matches("carrier", "^[AU]A$"), ["e"]),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_check_finds_the_rows_that_fail_it(check: Check, keys: list[str]) -> None:
    found = failing(ROWS, [check], key="id")
    assert [key for failure in found for key in failure.keys] == keys
    assert sum(failure.rows for failure in found) == len(keys)


def test_checks_that_hold_are_not_listed() -> None:
    found = failing(ROWS, [unique("id"), not_null("carrier"), unique("day")], key="id")
    assert [failure.check for failure in found] == [not_null("carrier")]


def test_all_failing_rows_are_counted_but_only_twenty_named() -> None:
    found = failing(pl.DataFrame({"id": range(100), "x": [5] * 100}), [between("x", 0, 4)], key="id")
    assert (found[0].rows, found[0].keys) == (100, list(range(20)))


def test_a_failure_reads_as_a_sentence() -> None:
    found = failing(ROWS, [between("temp", -30, 30)], key="id")
    assert found[0].text == "temp: between [-30, 30] fails for 2 rows, such as ['b', 'e']"


def test_a_warning_is_the_same_check_of_another_severity() -> None:
    assert warn(unique("id")) == Check("unique", "id", severity="warn")


def test_no_checks_find_nothing_and_no_rows_fail_none() -> None:
    assert failing(ROWS, [], key="id") == []
    assert failing(ROWS.clear(), [unique("id"), between("temp", 0, 1)], key="id") == []


def test_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(UnknownColumn, match=r"no column 'tmp' in the rows to check; it has id.*Did you mean 'temp'"):
        failing(ROWS, [not_null("tmp")], key="id")


def test_a_check_that_is_not_for_that_type_says_so() -> None:
    with pytest.raises(WrongType, match=r"column 'temp' is Float64; matches\('x',\) is not for it"):
        failing(ROWS, [matches("temp", "x")], key="id")
    with pytest.raises(BadInput, match=r"check between of column 'carrier': cannot compare string with numeric type"):
        failing(ROWS, [between("carrier", 0, 1)], key="id")


def test_a_broken_pattern_is_named() -> None:
    with pytest.raises(BadInput, match=r"check matches of column 'carrier'"):
        failing(ROWS, [matches("carrier", "(")], key="id")


def test_an_unknown_kind_of_check_lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"no check 'even'; known are unique, not_null, between, one_of, matches"):
        failing(ROWS, [Check("even", "temp")], key="id")


def test_a_column_of_any_name_can_be_checked() -> None:
    frame = pl.DataFrame({"__key": [1, 1], "0": [None, 2]})
    found = failing(frame, [unique("__key"), not_null("0")], key="__key")
    assert [failure.rows for failure in found] == [2, 1]
