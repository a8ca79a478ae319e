"""Thresholds against trying every cut."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.train.scoring.thresholds import cheapest, reaching


def data(seed=0, n=500):
    dice = np.random.default_rng(seed)
    p = dice.random(n).round(2)
    return (dice.random(n) < p).astype(int), p


def cost_at(y, p, cut, costs):
    tn, fp, fn, tp = metrics.confusion_matrix(y, p >= cut, labels=[0, 1]).ravel()
    return (fp * costs[0] + fn * costs[1] + tp * costs[2] + tn * costs[3]) / len(y)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.1, 0.3, 0.5, 0.9])), min_size=1, max_size=30),
    st.sampled_from([(1, 1, 0, 0), (1, 10, 0, 0), (5, 1, -2, 0), (1, 1, 0, 0.5)]),
)
@settings(deadline=None)
def test_no_cut_is_cheaper(rows, costs):
    y, p = (np.array(each) for each in zip(*rows, strict=True))
    got = cheapest(
        y, p, false_positive=costs[0], false_negative=costs[1], true_positive=costs[2], true_negative=costs[3]
    )
    every = {cut: cost_at(y, p, cut, costs) for cut in [math.inf, *sorted(set(p.tolist()), reverse=True)]}
    assert got.cost == pytest.approx(min(every.values()), abs=1e-12)
    assert every[got.threshold] == pytest.approx(got.cost, abs=1e-12)
    assert got.cost_never == pytest.approx(every[math.inf], abs=1e-12)
    assert got.cost_always == pytest.approx(cost_at(y, p, -1, costs), abs=1e-12)


def test_calibrated_p_is_cut_near_where_theory_says():
    y, p = data(n=50_000)
    got = cheapest(y, p, false_negative=4)
    assert got.calibrated == pytest.approx(0.2)
    assert got.threshold == pytest.approx(0.2, abs=0.06)
    assert got.precision == metrics.precision_score(y, p >= got.threshold)
    assert got.recall == metrics.recall_score(y, p >= got.threshold)
    assert got.precision_interval[0] < got.precision < got.precision_interval[1]


def test_where_no_cut_pays_no_row_is_called_positive():
    got = cheapest([0, 0, 0, 1], [0.9, 0.8, 0.7, 0.1])
    assert got.threshold == math.inf
    assert (got.selected, got.precision, got.recall) == (0, None, 0)
    assert got.as_json()["threshold"] is None


def test_weights_count_rows():
    y, p = data(n=60)
    times = np.random.default_rng(1).integers(1, 4, 60)
    got = cheapest(y, p, false_negative=3, weights=times)
    long = cheapest(np.repeat(y, times), np.repeat(p, times), false_negative=3)
    assert (got.threshold, got.cost, got.recall) == pytest.approx((long.threshold, long.cost, long.recall))


def test_a_precision_is_reached_with_the_highest_recall():
    y, p = data()
    got = reaching(y, p, precision=0.8)
    precision, recall, _ = metrics.precision_recall_curve(y, p)
    assert got.precision >= 0.8
    assert got.recall == max(recall[:-1][precision[:-1] >= 0.8])
    got = reaching(y, p, recall=0.8)
    assert got.recall >= 0.8
    assert got.precision == max(precision[recall >= 0.8])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: cheapest([0, 1], [0.1, 0.2], false_positive=0),
            BadInput,
            "being wrong must cost more than being right",
        ),
        (lambda: reaching([0, 1], [0.1, 0.2]), BadInput, "precision is None and recall None; give one of them"),
        (lambda: reaching([0, 1], [0.1, 0.2], recall=2), BadInput, "recall 2; give one of them, 0 to 1"),
        (lambda: reaching([1, 0], [0.1, 0.2], precision=0.9), NotEnoughRows, "precision of 0.9; the best is 0.5"),
        (lambda: reaching([0, 0], [0.1, 0.2], recall=0.9), NotEnoughRows, "none of 2 rows is positive"),
    ],
)
def test_bad_questions_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
