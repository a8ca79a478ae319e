"""Checks find exactly the rows that fail them, and say so."""

from __future__ import annotations

import json
from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core.checks import (
    between,
    condition,
    failing,
    from_json,
    masks,
    matches,
    named,
    not_null,
    one_of,
    references,
    repeated,
    to_json,
    unique,
    warn,
)
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
        (unique("carrier", "temp"), []),
        (unique("id", "day"), []),
        (between("day", "2013-01-02", "2013-01-04"), ["a", "e"]),
        (one_of("day", "2013-01-01", "2013-01-03"), ["b", "d", "e"]),
        (condition("temp > 0 OR carrier = 'AA'"), ["b"]),
        (condition("temp < 31"), ["e"]),
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
    assert found[0].text == "temp between -30 30 fails for 2 rows, such as ['b', 'e']"


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


def test_all_failing_row_ids_come_on_request() -> None:
    frame = pl.DataFrame({"id": range(100), "x": [5] * 100})
    assert failing(frame, [between("x", 0, 4)], key="id", at_most=None)[0].keys == list(range(100))


def test_several_columns_are_unique_together_where_none_is_missing() -> None:
    frame = pl.DataFrame({"id": range(5), "a": [1, 1, 1, None, None], "b": ["x", "x", "y", "x", "x"]})
    assert failing(frame, [unique("a", "b")], key="id")[0].keys == [0, 1]


small = st.one_of(st.none(), st.integers(0, 4), st.sampled_from([2**62, -1]))


@given(st.lists(small, max_size=60))
def test_repeated_values_are_found_as_by_counting_each(values: list[int | None]) -> None:
    expected = [value is not None and values.count(value) > 1 for value in values]
    assert repeated(pl.DataFrame({"x": pl.Series(values, dtype=pl.Int64)})).to_list() == expected


def test_few_repeats_among_many_values_are_found() -> None:
    values = pl.Series([*map(str, range(10_000)), "77", None, None])
    mask = repeated(values.alias("x").to_frame())
    assert [n for n, repeats in enumerate(mask) if repeats] == [77, 10_000]


def test_numbers_that_are_equal_are_repeated_whatever_their_bits() -> None:
    frame = pl.DataFrame({"x": [0.0, -0.0, float("nan"), float("nan"), *map(float, range(1, 50))]})
    assert repeated(frame).to_list()[:5] == [True] * 4 + [False]


def test_a_reference_finds_the_values_that_the_other_dataset_has_not() -> None:
    def lookup(dataset: str, column: str) -> pl.Series:
        assert (dataset, column) == ("carriers", "code")
        return pl.Series(["AA", "UA"])

    (found,) = failing(ROWS, [references("carrier", "carriers", "code")], key="id", lookup=lookup)
    assert found.keys == ["e"]
    with pytest.raises(WrongType, match=r"column 'temp' is Float64, column 'code' of dataset 'carriers' is String"):
        failing(ROWS, [references("temp", "carriers", "code")], key="id", lookup=lambda *_: pl.Series(["AA"]))
    with pytest.raises(BadInput, match=r"looks into another dataset; only a dataset's contract can"):
        failing(ROWS, [references("carrier", "carriers", "code")], key="id")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temp >", r"condition 'temp >': unable to parse.*write an SQL expression of columns"),
        ("1 > 0", r"condition '1 > 0' names no column"),
        ("temp + 1", r"condition 'temp \+ 1' is Float64; it must be true or false"),
        ("max(temp) > 3", r"condition 'max\(temp\) > 3' is one value for all rows"),
        ("temp > 'x'", r"condition .*temp > 'x'"),
        ("tmp > 1", r"no column 'tmp' in the rows to check; .*Did you mean 'temp'"),
    ],
)
def test_a_condition_that_is_none_says_why(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        failing(ROWS, [condition(text)], key="id")


def test_the_check_to_blame_is_named_among_others() -> None:
    with pytest.raises(WrongType, match=r"column 'temp' is Float64; matches\('x',\) is not for it"):
        masks(ROWS, [not_null("id"), matches("temp", "x"), between("temp", 0, 1)])


@pytest.mark.parametrize(
    "check",
    [
        unique("id", "day"),
        not_null("temp"),
        warn(between("temp", -30, 30.5)),
        one_of("carrier", "AA", "UA"),
        matches("carrier", "^.A$"),
        references("carrier", "carriers", "code"),
        condition("temp > 0"),
    ],
    ids=named,
)
def test_a_check_comes_back_from_its_json(check: Check) -> None:
    assert from_json(json.loads(json.dumps(to_json(check)))) == check


def test_dates_of_a_check_come_back_as_text_that_finds_the_same_rows() -> None:
    check = between("day", date(2013, 1, 2), date(2013, 1, 4))
    assert failing(ROWS, [from_json(to_json(check))], key="id")[0].keys == ["a", "e"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "even", "column": "x"}, "no check 'even'; known are unique, not_null"),
        (
            {"kind": "between", "column": "x", "args": [1]},
            r"check between of column 'x' has arguments \[1\]; it takes 2",
        ),
        ({"kind": "one_of", "column": "x"}, r"has arguments \(\); it takes at least 1, as a list"),
        ({"kind": "not_null"}, "check not_null has column None; give the name of one"),
        ({"kind": "not_null", "column": "x", "severity": "fatal"}, "severity 'fatal'; allowed: error, warn"),
    ],
)
def test_json_that_is_no_check_says_why(value: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        from_json(value)
