"""Recipes: batch and row give the same bits, state is learned from the training rows only, JSON keeps all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core import recipe as r
from tidemill.core.errors import BadInput, NotEnoughRows, UnknownColumn, WrongFormat, WrongType

ALL = r.recipe(
    r.fill("a", how="mean"),
    r.scale("a", "b"),
    r.keep("n", "flag"),
    r.fill("c", how="most_common"),
    r.one_hot("c", at_most=3),
    r.ordinal("o", "n2"),
    r.dates("t", parts=("hour", "minute_of_day", "weekday", "day", "month", "day_of_year")),
)
SCHEMA = {
    "a": pl.Float64, "b": pl.Float64, "n": pl.Int64, "flag": pl.Boolean, "c": pl.String, "o": pl.String,
    "n2": pl.Int64, "t": pl.Datetime("us", "UTC"),
}  # fmt: skip
numbers = st.one_of(st.none(), st.floats(allow_infinity=False, width=64, min_value=-1e150, max_value=1e150))
row_values = st.fixed_dictionaries(
    {
        "a": numbers,
        "b": numbers,
        "n": st.one_of(st.none(), st.integers(-(2**62), 2**62)),
        "flag": st.one_of(st.none(), st.booleans()),
        "c": st.one_of(st.none(), st.sampled_from(["x", "y", "z", "w", "é'\"\\\n"]), st.text(max_size=3)),
        "o": st.one_of(st.none(), st.sampled_from(["x", "y"]), st.text(max_size=2)),
        "n2": st.one_of(st.none(), st.integers(-3, 3)),
        "t": st.one_of(
            st.none(), st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
        ),
    }
)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(((one.view(np.uint64) == other.view(np.uint64)) | (np.isnan(one) & np.isnan(other))).all())


new_values = st.one_of(
    row_values,
    st.builds(
        lambda row, a, b: {**row, "a": a, "b": b},
        row_values,
        st.sampled_from([float("inf"), -float("inf"), -0.0, 5e-324, 1.7976931348623157e308]),
        st.floats(),
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(row_values, min_size=1, max_size=20), st.lists(new_values, min_size=1, max_size=20))
def test_batch_and_row_give_the_same_bits(train: list[dict], new: list[dict]) -> None:
    fitted = r.fit(ALL, pl.DataFrame(train, schema=SCHEMA))
    frame = pl.DataFrame(new, schema=SCHEMA)
    by_row = r.row(fitted)
    one = r.batch(fitted, frame)
    assert one.shape == (len(new), len(r.feature_names(fitted)))
    assert same_bits(one, np.array([by_row(row) for row in frame.to_dicts()]).reshape(one.shape))


@settings(max_examples=50, deadline=None)
@given(st.lists(row_values, min_size=1, max_size=10))
def test_json_keeps_every_bit(train: list[dict]) -> None:
    frame = pl.DataFrame(train, schema=SCHEMA)
    fitted = r.fit(ALL, frame)
    again = r.from_json(json.loads(json.dumps(r.to_json(fitted))))
    assert r.feature_names(again) == r.feature_names(fitted)
    assert same_bits(r.batch(fitted, frame), r.batch(again, frame))


@given(st.datetimes(datetime(1700, 1, 1), datetime(2300, 1, 1)))
def test_dates_are_the_calendar_s(at: datetime) -> None:
    recipe = r.recipe(r.dates("t", parts=("hour", "minute_of_day", "weekday", "day", "month", "day_of_year")))
    fitted = r.fit(recipe, pl.DataFrame({"t": [datetime(2000, 1, 1)]}))
    expected = [at.hour, at.hour * 60 + at.minute, at.isoweekday(), at.day, at.month, at.timetuple().tm_yday]
    assert r.row(fitted)({"t": at}) == expected
    assert r.row(fitted)({"t": at.isoformat()}) == expected


def test_a_time_may_come_as_date_text_or_microseconds() -> None:
    row = r.row(r.fit(r.recipe(r.dates("t", parts=("hour", "day"))), pl.DataFrame({"t": [datetime(2000, 1, 1)]})))
    assert row({"t": date(2013, 4, 5)}) == [0, 5]
    assert row({"t": "2013-04-05T06:00:00Z"}) == [6, 5]
    assert row({"t": "2013-04-05T06:00:00-02:00"}) == [8, 5]
    assert row({"t": int(datetime(2013, 4, 5, 6, tzinfo=UTC).timestamp() * 1e6)}) == [6, 5]


def test_a_step_sees_what_the_steps_before_it_made() -> None:
    fitted = r.fit(r.recipe(r.fill("x", how=4.0), r.scale("x")), pl.DataFrame({"x": [0.0, None, 8.0]}))
    np.testing.assert_allclose(r.batch(fitted, pl.DataFrame({"x": [None, 4.0]}, schema={"x": pl.Float64})), [[0], [0]])
    assert r.feature_names(fitted) == ("x",)


def test_a_step_may_name_what_another_made() -> None:
    recipe = r.recipe(r.dates("t", parts=("hour",)), r.ordinal("c"), r.scale("t.hour", "c"))
    frame = pl.DataFrame({"t": [datetime(2013, 1, 1, 0), datetime(2013, 1, 1, 2)], "c": ["u", "v"]})
    fitted = r.fit(recipe, frame)
    np.testing.assert_allclose(r.batch(fitted, frame), [[-1, -1], [1, 1]])
    assert [r.row(fitted)(row) for row in frame.to_dicts()] == [[-1, -1], [1, 1]]
    assert r.needs(fitted) == {"t": "time", "c": "text"}


def test_features_stand_in_the_order_of_the_steps() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0], "c": ["u", "v"], "t": [datetime(2013, 1, 1)] * 2})
    recipe = r.recipe(r.one_hot("c"), r.keep("a"), r.dates("t", parts=("month",)))
    assert r.feature_names(r.fit(recipe, frame)) == ("c=u", "c=v", "a", "t.month")


def test_unknown_and_missing_categories_are_nothing_and_minus_one() -> None:
    fitted = r.fit(r.recipe(r.one_hot("c"), r.ordinal("o")), pl.DataFrame({"c": ["u", "u", "v"], "o": ["x", "y", "y"]}))
    assert r.row(fitted)({"c": "new", "o": "new"}) == [0, 0, -1]
    assert r.row(fitted)({"c": None}) == [0, 0, -1]
    assert r.row(fitted)({"c": "v", "o": "y"}) == [0, 1, 0]


def test_scale_agrees_with_scikit_learn() -> None:
    from sklearn.preprocessing import StandardScaler

    x = np.random.default_rng(0).normal(5, 3, 200)
    frame = pl.DataFrame({"x": x})
    ours = r.batch(r.fit(r.recipe(r.scale("x")), frame), frame)
    np.testing.assert_allclose(ours, StandardScaler().fit_transform(x.reshape(-1, 1)), rtol=1e-12)


@pytest.mark.parametrize(
    ("recipe", "frame", "error", "text"),
    [
        (r.recipe(r.keep("tmp")), {"temp": [1.0]}, UnknownColumn, "Did you mean 'temp'"),
        (r.recipe(r.scale("c")), {"c": ["u"]}, WrongType, "the column is text, allowed are number, bool"),
        (r.recipe(r.fill("c", how="most_common")), {"c": ["u"]}, WrongType, "one_hot, ordinal or dates"),
        (r.recipe(r.fill("c", how="median")), {"c": ["u"]}, BadInput, "for text use how='most_common'"),
        (r.recipe(r.keep("x")), {"x": []}, NotEnoughRows, "give it the training rows"),
        (
            r.recipe(r.keep("x")),
            {"x": [timedelta(1)]},
            WrongType,
            r"takes numbers \(no decimals\), text, booleans, times",
        ),
        (r.recipe(r.keep("x")), {"x": [Decimal("1.5")]}, WrongType, r"takes numbers \(no decimals\)"),
        (r.recipe(r.one_hot("c"), r.one_hot("c")), {"c": ["u"]}, BadInput, "feature 'c=u' is made twice"),
        (r.recipe(r.fill("x", how="x")), {"x": [1.0]}, BadInput, "does not fit a column of number"),
    ],
)
def test_bad_input_is_named(recipe: r.Recipe, frame: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        r.fit(recipe, pl.DataFrame(frame))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"x": "1"}, "column 'x' is '1'; the recipe needs a number"),
        ({"x": 10**400}, "column 'x' is a number of more than 308 digits"),
        ({"c": 1.5}, "column 'c' is 1.5; the recipe needs text"),
        ({"t": "soon"}, "column 't' is 'soon'; the recipe needs a time such as"),
        ({"t": 1.5}, "column 't' is 1.5; the recipe needs a time, ISO text or microseconds"),
    ],
)
def test_a_row_of_another_type_is_refused(value: dict, text: str) -> None:
    recipe = r.recipe(r.keep("x"), r.one_hot("c"), r.dates("t"))
    fitted = r.fit(recipe, pl.DataFrame({"x": [1.0], "c": ["u"], "t": [datetime(2013, 1, 1)]}))
    with pytest.raises(WrongType, match=text):
        r.row(fitted)(value)


def test_options_that_cannot_be_are_named_at_the_call() -> None:
    with pytest.raises(BadInput, match=r"one_hot\(at_most=0\); allowed: a whole number from 1"):
        r.one_hot("c", at_most=0)
    with pytest.raises(BadInput, match=r"fill\(how=nan\); allowed: median, mean, most_common, a number or a text"):
        r.fill("x", how=float("nan"))
    with pytest.raises(BadInput, match="dates has no part 'hours'; allowed are hour"):
        r.dates("t", parts=("hours",))
    with pytest.raises(BadInput, match="a recipe needs steps, and each step columns"):
        r.recipe(r.keep())


def test_a_time_of_another_zone_or_unit_is_the_same_time() -> None:
    at = datetime(2013, 7, 4, 22, 15, 0, 250_000)
    fitted = r.fit(r.recipe(r.dates("t", parts=("minute_of_day", "day"))), pl.DataFrame({"t": [at]}))
    zone = pl.DataFrame({"t": [at]}).with_columns(pl.col("t").dt.replace_time_zone("America/New_York"))
    for unit in ("ms", "us", "ns"):
        for frame in (zone, pl.DataFrame({"t": [at, datetime(1931, 2, 3, 4, 5, 6, 7000)]})):
            frame = frame.with_columns(pl.col("t").dt.cast_time_unit(unit))
            assert [r.row(fitted)(row) for row in frame.to_dicts()] == r.batch(fitted, frame).tolist()
    assert r.batch(fitted, zone).tolist() == [[135.0, 5.0]]


def test_a_batch_of_another_type_is_refused() -> None:
    fitted = r.fit(r.recipe(r.keep("x")), pl.DataFrame({"x": [1.0]}))
    with pytest.raises(WrongType, match="column 'x' is String; the recipe was fitted on number"):
        r.batch(fitted, pl.DataFrame({"x": ["1"]}))


def test_numbers_too_large_to_scale_are_named() -> None:
    with pytest.raises(BadInput, match=r"as large as 1e\+300; clean the column"):
        r.fit(r.recipe(r.scale("x")), pl.DataFrame({"x": [1e300, -1e300]}))


@pytest.mark.parametrize("step", [r.scale("x"), r.fill("x", how="mean"), r.fill("x"), r.fill("x", how="most_common")])
def test_no_infinity_is_learned(step: r.Step) -> None:
    with pytest.raises(BadInput, match="as large as inf; clean the column"):
        r.fit(r.recipe(step), pl.DataFrame({"x": [float("inf"), float("inf"), 1.0, None]}))


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(WrongFormat, match="recipe format 2"):
        r.from_json({"format": 2})


def test_the_row_form_loads_no_dataframe_library() -> None:
    value = json.dumps(r.to_json(r.fit(r.recipe(r.scale("x")), pl.DataFrame({"x": [1.0, 3.0]}))))
    code = (
        "import json, sys\nfrom tidemill.core import recipe as r\n"
        f"print(r.row(r.from_json(json.loads({value!r})))({{'x': 3.0}}))\n"
        "assert not {'polars', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[1.0]\n"
