"""Scores against scikit-learn and closed forms."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tidemill.core import scores
from tidemill.core.errors import BadInput, NotEnoughRows, WrongType


@st.composite
def labelled(draw):
    rows = draw(st.integers(2, 60))
    y = draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows).filter(lambda each: len(set(each)) == 2))
    # few distinct values: ties matter
    p = draw(st.lists(st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0]), min_size=rows, max_size=rows))
    return np.array(y), np.array(p)


@given(labelled())
@settings(deadline=None)
def test_scores_agree_with_scikit_learn(data):
    y, p = data
    assert scores.auc(y, p) == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12)
    assert scores.log_loss(y, p) == pytest.approx(metrics.log_loss(y, p), rel=1e-12)
    assert scores.brier(y, p) == pytest.approx(metrics.brier_score_loss(y, p), abs=1e-12)
    assert scores.accuracy(y, p) == pytest.approx(metrics.accuracy_score(y, p >= 0.5), abs=1e-12)


def test_scores_of_many_rows_agree_with_scikit_learn():
    dice = np.random.default_rng(3)
    p = dice.random(50_000)
    y = (dice.random(50_000) < p).astype(float)
    assert scores.auc(y, p) == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12)
    assert scores.log_loss(y, p) == pytest.approx(metrics.log_loss(y, p), abs=1e-12)


def test_the_auc_of_one_class_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(scores.auc([1, 1], [0.2, 0.3]))
    assert "auc" not in scores.all_scores([1, 1], [0.2, 0.3])


def test_calibrated_probabilities_have_a_small_calibration_error():
    dice = np.random.default_rng(1)
    p = dice.random(100_000)
    y = dice.random(100_000) < p
    assert scores.expected_calibration_error(y, p) < 0.01
    # Everyone told p + 0.2: off by 0.2 wherever nothing is clipped.
    assert scores.expected_calibration_error(y[p < 0.8], p[p < 0.8] + 0.2) == pytest.approx(0.2, abs=0.01)


def test_the_calibration_table_holds_each_row_once():
    table = scores.calibration([0, 1, 1], [0.0, 0.05, 1.0], bins=10)
    assert table == [
        {"low": 0.0, "high": 0.1, "rows": 2, "predicted": 0.025, "observed": 0.5},
        {"low": 0.9, "high": 1.0, "rows": 1, "predicted": 1.0, "observed": 1.0},
    ]


@pytest.mark.parametrize(
    ("y", "p", "error", "message"),
    [
        ([], [], NotEnoughRows, "no rows to score; give at least one row with a known y"),
        ([0, 1], [0.5], BadInput, "y has shape (2,) and p (1,); both must be (n,), one number a row"),
        ([0, 2], [0.5, 0.5], BadInput, "y holds 2 at row 1; allowed are 0 and 1"),
        ([0, 1], [0.5, math.nan], BadInput, "p holds nan at row 1; allowed are finite numbers"),
        (
            ["a", "b"],
            [0.5, 0.5],
            WrongType,
            "y and p must be numbers: could not convert string to float: 'a'; map the labels to 0 and 1 first",
        ),
    ],
)
def test_bad_rows_are_named(y, p, error, message):
    with pytest.raises(error) as caught:
        scores.brier(y, p)
    assert str(caught.value) == message


def test_an_unknown_score_names_the_nearest():
    with pytest.raises(BadInput, match=r"no score 'logloss'; known are .*Did you mean 'log_loss'"):
        scores.score_named("logloss")


def test_calibration_refuses_what_is_no_probability():
    with pytest.raises(BadInput, match=r"p ranges from -1 to 0\.5; calibration needs probabilities"):
        scores.calibration([0, 1], [-1.0, 0.5])
