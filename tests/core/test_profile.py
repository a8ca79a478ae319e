"""Profiles: counts over frozen bins are the same from frames and from dictionaries, and merge."""

from __future__ import annotations

import json
from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core import profile
from tidemill.core.errors import BadInput, UnknownColumn, WrongFormat, WrongType
from tidemill.core.ids import canonical_json

SCHEMA = {"x": pl.Float64, "n": pl.Int64, "c": pl.String, "b": pl.Boolean}
rows = st.lists(
    st.fixed_dictionaries(
        {
            "x": st.one_of(st.none(), st.floats()),
            "n": st.one_of(st.none(), st.integers(-5, 5)),
            "c": st.one_of(st.none(), st.sampled_from("abcdef")),
            "b": st.one_of(st.none(), st.booleans()),
        }
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(rows.filter(bool), rows, rows, rows)
def test_counts_agree_between_frames_and_rows_and_merge(train: list, one: list, two: list, three: list) -> None:
    bins = profile.bins_of(pl.DataFrame(train, schema=SCHEMA), at_most=4)
    a, b, c = (profile.count_rows(bins, part) for part in (one, two, three))
    assert a == profile.count(bins, pl.DataFrame(one, schema=SCHEMA))
    assert profile.merge(profile.merge(a, b), c) == profile.merge(a, profile.merge(c, b))
    assert profile.merge(a, b) == profile.count(bins, pl.DataFrame(one + two, schema=SCHEMA))
    assert profile.bins_from_json(json.loads(canonical_json(profile.bins_to_json(bins)))) == bins
    assert all(sum(counts) == len(one) for counts in a.values())
    assert all(len(counts) == len(bins[name].labels) for name, counts in a.items())


def test_a_number_has_at_most_32_even_bins_and_one_for_missing() -> None:
    frame = pl.DataFrame({"x": [*map(float, range(3200)), None]})
    counts = profile.count(profile.bins_of(frame), frame)["x"]
    assert counts == (*[100] * 32, 1)


def test_new_categories_are_counted_apart() -> None:
    bins = profile.bins_of(pl.DataFrame({"c": ["u", "u", "v"]}))
    assert bins["c"].labels == ["u", "v", "(other)", "(missing)"]
    assert profile.count_rows(bins, [{"c": "new"}, {"c": "u"}, {}])["c"] == (1, 0, 1, 1)


def test_times_have_no_bins() -> None:
    assert profile.bins_of(pl.DataFrame({"t": [datetime(2013, 1, 1)], "x": [1]})).keys() == {"x"}


def test_json_keeps_all() -> None:
    frame = pl.DataFrame({"x": [0.1, 0.2, 0.3], "c": ["u", None, "v"]})
    bins = profile.bins_of(frame)
    counts = profile.count(bins, frame)
    assert profile.bins_from_json(json.loads(json.dumps(profile.bins_to_json(bins)))) == bins
    assert profile.counts_from_json(json.loads(json.dumps(profile.counts_to_json(counts)))) == counts
    with pytest.raises(WrongFormat, match="profile format 2"):
        profile.bins_from_json({"format": 2})


def test_other_bins_do_not_merge() -> None:
    with pytest.raises(BadInput, match="count the rows again"):
        profile.merge({"x": (1, 2)}, {"x": (1, 2, 3)})


def test_what_cannot_be_counted_is_named() -> None:
    bins = profile.bins_of(pl.DataFrame({"temp": [1.0, 2.0]}))
    with pytest.raises(UnknownColumn, match=r"no column 'temp' in the rows to count; it has tmp. Did you mean 'tmp'"):
        profile.count(bins, pl.DataFrame({"tmp": [1.0]}))
    with pytest.raises(WrongType, match="column 'temp' is String; its bins are of numbers"):
        profile.count(bins, pl.DataFrame({"temp": ["1"]}))
    with pytest.raises(WrongType, match="column 'temp' is 'warm'; its bins are of numbers"):
        profile.count_rows(bins, [{"temp": 1.0}, {"temp": "warm"}])
    with pytest.raises(BadInput, match=r"bins_of\(at_most=1\); allowed: from 2"):
        profile.bins_of(pl.DataFrame({"temp": [1.0]}), at_most=1)


def test_a_closed_set_of_categories_is_counted_as_text() -> None:
    frame = pl.DataFrame({"c": pl.Series(["u", "v", "v"], dtype=pl.Enum(["u", "v"]))})
    bins = profile.bins_of(frame)
    assert bins["c"].categories == ("v", "u")
    assert profile.count(bins, frame)["c"] == (2, 1, 0, 0)
