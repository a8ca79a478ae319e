"""Scores by slice."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from tidemill.core.errors import BadInput, UnknownColumn
from tidemill.core.scores import auc, brier
from tidemill.train.scoring.slices import by_slice


@pytest.fixture
def data():
    dice = np.random.default_rng(0)
    n = 1000
    frame = pl.DataFrame(
        {
            "carrier": dice.choice(["AA", "UA", "ZZ"], n, p=[0.6, 0.38, 0.02]),
            "distance": dice.random(n),
            "at": [datetime(2013, 1 + int(month), 3, tzinfo=UTC) for month in dice.integers(0, 2, n)],
        }
    )
    return frame, (dice.random(n) < 0.4).astype(float), dice.random(n)


def test_each_slice_has_the_scores_of_its_rows(data):
    frame, y, p = data
    line = next(line for line in by_slice(frame, y, p, ["carrier"]) if line["value"] == "UA")
    mask = (frame["carrier"] == "UA").to_numpy()
    assert line["rows"] == mask.sum()
    assert line["auc"] == auc(y[mask], p[mask])
    assert line["brier"] == brier(y[mask], p[mask])


def test_small_slices_come_together_and_no_row_is_lost(data):
    frame, y, p = data
    lines = by_slice(frame, y, p, ["carrier"])
    assert [line["value"] for line in lines] == ["AA", "UA", "(other)"]
    assert sum(line["rows"] for line in lines) == frame.height


def test_times_are_cut_into_months_and_numbers_into_quarters(data):
    frame, y, p = data
    assert {line["value"] for line in by_slice(frame, y, p, ["at"])} == {"2013-01", "2013-02"}
    quarters = by_slice(frame, y, p, ["distance"])
    assert [line["rows"] for line in quarters] == [250] * 4


def test_missing_values_are_a_slice():
    frame = pl.DataFrame({"plane": ["x"] * 60 + [None] * 60})
    lines = by_slice(frame, [0, 1] * 60, [0.5] * 120, ["plane"])
    assert {line["value"] for line in lines} == {"x", "(missing)"}


def test_a_slice_of_one_class_has_no_auc():
    lines = by_slice(pl.DataFrame({"a": ["x"] * 60}), [1] * 60, [0.5] * 60, ["a"])
    assert lines[0]["auc"] is None


def test_bad_slices_are_refused(data):
    frame, y, p = data
    with pytest.raises(UnknownColumn, match="no column 'carier' in the rows"):
        by_slice(frame, y, p, ["carier"])
    with pytest.raises(BadInput, match="1000 truths; give the frame"):
        by_slice(frame.head(3), y, p, ["carrier"])
