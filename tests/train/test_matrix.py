"""From rows to numbers."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from tidemill.core import recipe as recipes
from tidemill.core.errors import BadInput, EmptyInput, UnknownColumn, WrongType
from tidemill.train.matrix import matrix

RECIPE = recipes.recipe(recipes.keep("distance"))


def made(frame, **names):
    return matrix(frame, recipes.fit(RECIPE, frame), **{"target": "late", "key": "id", "time": "at", **names})


def test_a_matrix_holds_the_rows_in_order(train):
    got = made(train)
    assert got.X.shape == (600, 1)
    assert got.X.flags.c_contiguous
    assert np.array_equal(np.isnan(got.X[:, 0]), train["distance"].is_null().to_numpy())
    assert got.y.tolist() == train["late"].cast(pl.Float64).to_list()
    assert got.keys.tolist() == train["id"].to_list()
    assert got.times[0] == int(datetime(2013, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
    assert len(got) == 600


def test_keys_of_numbers_become_text(train):
    assert made(train.with_columns(id=pl.int_range(600))).keys[:2].tolist() == ["0", "1"]


def test_a_time_without_zone_is_utc(train):
    naive = train.with_columns(pl.col("at").dt.replace_time_zone(None))
    assert np.array_equal(made(naive).times, made(train).times)


def test_bad_rows_are_named(train):
    with pytest.raises(UnknownColumn, match=r"no column 'later' in the rows; .* Did you mean 'late'\?"):
        made(train, target="later")
    with pytest.raises(WrongType, match="target 'carrier' is String; it must be numbers or true/false"):
        made(train, target="carrier")
    with pytest.raises(BadInput, match=r"target 'distance' is missing in .* of 600 rows"):
        made(train, target="distance")
    with pytest.raises(WrongType, match="time 'id' is String; it must be a Datetime"):
        made(train, time="id")
    with pytest.raises(BadInput, match="key 'distance' is missing in"):
        made(train, key="distance")
    with pytest.raises(EmptyInput, match="the rows are empty"):
        matrix(train.head(0), recipes.fit(RECIPE, train), target="late", key="id", time="at")
