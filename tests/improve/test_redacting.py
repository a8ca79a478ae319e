"""What is taken out of JSON, text and bins, and what stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.profile import ColumnBins
from tidemill.improve.erasure import redacting
from tidemill.improve.erasure.redacting import Texts, bins_without, cleaned, is_distinctive

ADA = Texts(["ada@example.org", "Ada Lovelace", "Ada"])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("by ada@example.org.", "by (erased)."),
        ("Ada Lovelace, Ada", "(erased), (erased)"),
        ("Adam and Canada", "Adam and Canada"),
        ("not-ada@example.org2", "not-ada@example.org2"),
        ("town=Ada", "town=(erased)"),
        ("0.Ada", "0.Ada"),
    ],
)
def test_texts_go_where_they_stand_as_words(text: str, left: str) -> None:
    assert ADA.out_of(text) == left


def test_texts_are_found_however_json_writes_them() -> None:
    texts = Texts(['Zoë "Z" Ört', "a\tb c"])
    for ascii_only in (True, False):
        encoded = json.dumps({"who": 'Zoë "Z" Ört', "x": "a\tb c"}, ensure_ascii=ascii_only)
        assert texts.within(encoded)
        assert json.loads(texts.out_of_json(encoded)) == {"who": "(erased)", "x": "(erased)"}
    assert not texts.within(json.dumps({"who": "Zoë"}))


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.text("ab .@+", min_size=1, max_size=5), min_size=1, max_size=5),
    within=st.text("ab .@+", max_size=30),
)
def test_many_texts_are_found_where_few_would_be(texts: list[str], within: str) -> None:
    few = list(redacting._Finder(texts).places(within))
    before = redacting.MOST_IN_PATTERN
    redacting.MOST_IN_PATTERN = 0
    try:
        many = list(redacting._Finder(texts).places(within))
    finally:
        redacting.MOST_IN_PATTERN = before
    assert many == few


def test_rows_go_from_json_and_what_is_of_others_stays() -> None:
    value = {
        "steps": [{"step": "null_outside", "keys": ["c7", "c8"], "found": 2}],
        "examples": [{"id": "c7", "age": 97}, {"id": "c8", "age": 5}],
        "one": {"id": "c7"},
        "text": "c7 is no row here",
        "table": "Ada",
    }
    assert cleaned(value, ADA, keys=frozenset({"c7"}), columns=["id"]) == {
        "steps": [{"step": "null_outside", "keys": ["c8"], "found": 2}],
        "examples": [{"id": "c8", "age": 5}],
        "one": {"erased": True},
        "text": "c7 is no row here",
        "table": "Ada",
    }
    assert cleaned(value, Texts([])) == value


def test_categories_that_were_different_stay_different() -> None:
    found = cleaned({"categories": ["Leeds", "Ada", "Ada Lovelace"]}, ADA)
    assert found == {"categories": ["Leeds", "(erased)", "(erased 2)"]}


def test_bins_lose_the_persons_values_and_no_row_is_lost() -> None:
    bins = {"x": ColumnBins(edges=(1.0, 2.0, 97.25)), "town": ColumnBins(categories=("Leeds", "Ada", "York"))}
    counts = {"x": (5, 6, 7, 8, 1), "town": (9, 1, 3, 2, 4)}
    left, tally = bins_without(bins, counts, ADA, {"x": {97.25}})
    assert left == {"x": ColumnBins(edges=(1.0, 2.0)), "town": ColumnBins(categories=("Leeds", "York"))}
    assert tally == {"x": (5, 6, 15, 1), "town": (9, 3, 3, 4)}
    assert [len(tally[name]) for name in left] == [len(left[name].labels) for name in left]


@pytest.mark.parametrize("text", ["ada@example.org", "Ada L", "+49 30 1234567", "20130401123"])
def test_what_can_be_looked_for(text: str) -> None:
    assert is_distinctive(text)


@pytest.mark.parametrize("text", ["", "Ada", "1234", "3.14159", "2013-04-01", "2013-04-01T05:30:00Z", "    "])
def test_what_may_be_anybodys(text: str) -> None:
    assert not is_distinctive(text)
