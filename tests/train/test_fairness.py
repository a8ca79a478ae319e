"""Fairness by group: shares against scikit-learn by hand, gaps by simulation."""

import json

import numpy as np
import pytest
from sklearn import metrics

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.train.scoring.fairness import fairness


def data(seed=0, n=900, harder=0.0):
    """Three groups; in "b" p is lower by `harder`."""
    dice = np.random.default_rng(seed)
    group = dice.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    p = dice.random(n)
    y = (dice.random(n) < p).astype(int)
    return y, np.clip(p - harder * (group == "b"), 0, 1), group


def test_each_group_has_the_shares_of_its_rows():
    y, p, group = data()
    got = fairness(y, p, group)
    assert [each.group for each in got.groups] == ["a", "b", "c"]
    for each in got.groups:
        mine = group == each.group
        said = p[mine] >= 0.5
        assert each.rows == mine.sum()
        assert each.selected.value == pytest.approx(said.mean())
        assert each.recall.value == pytest.approx(metrics.recall_score(y[mine], said))
        assert each.precision.value == pytest.approx(metrics.precision_score(y[mine], said))
        tn, fp, _, _ = metrics.confusion_matrix(y[mine], said).ravel()
        assert each.false_alarms.value == pytest.approx(fp / (fp + tn))
        assert each.recall.low < each.recall.value < each.recall.high
        assert each.off_low < each.off < each.off_high
    recalls, alarms, shares = (
        [getattr(each, name).value for each in got.groups] for name in ("recall", "false_alarms", "selected")
    )
    assert got.equal_opportunity == pytest.approx(max(recalls) - min(recalls))
    assert got.equalised_odds == pytest.approx(max(max(recalls) - min(recalls), max(alarms) - min(alarms)))
    assert got.demographic_parity == pytest.approx(max(shares) - min(shares))
    assert got.selected_ratio == pytest.approx(min(shares) / max(shares))
    json.dumps(got.as_json())


def test_a_group_that_is_told_too_little_shows():
    got = fairness(*data(n=3000, harder=0.25))
    gaps = {(gap.measure, gap.group): gap for gap in got.gaps}
    assert gaps["selected", "b"].certain
    assert gaps["recall", "b"].high < 0
    assert not gaps["recall", "c"].certain
    b = next(each for each in got.groups if each.group == "b")
    assert b.off_low > 0.15
    assert b.calibration_error.low > 0.1
    c = next(each for each in got.groups if each.group == "c")
    assert c.calibration_error.low < 0.03


def test_equal_groups_are_told_apart_as_rarely_as_the_level_says():
    wrong = sum(
        any(gap.certain for gap in fairness(*data(seed, n=600), level=0.9).gaps if gap.measure == "recall")
        for seed in range(200)
    )
    # Both gaps of a measure together: at most Binomial(200, 0.1), 34 with probability 0.999.
    assert 4 <= wrong <= 34


def test_newcombes_interval_is_that_of_his_table():
    # Newcombe 1998, table II, case (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339.
    y = np.ones(150)
    p = np.array([1.0] * 56 + [0.0] * 14 + [1.0] * 48 + [0.0] * 32)
    got = fairness(y, p, ["x"] * 70 + ["y"] * 80, reference="y")
    gap = next(gap for gap in got.gaps if gap.measure == "recall")
    assert (gap.low, gap.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_small_groups_are_left_out_by_name_and_missing_is_a_group():
    y, p, _ = data(n=200)
    group = np.array([None] * 90 + ["a"] * 100 + ["rare"] * 10, dtype=object)
    got = fairness(y, p, group)
    assert [each.group for each in got.groups] == ["a", "(missing)"]
    assert got.left_out == ("rare",)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"reference": "A"}, BadInput, "no group 'A'; there are a, b, c"),
        ({"min_rows": 400}, NotEnoughRows, "1 groups of 400 rows or more, of 3"),
        ({"level": 1}, BadInput, "level is 1 and min_rows 30; allowed are 0 to 1"),
    ],
)
def test_bad_questions_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        fairness(*data(), **change)


def test_a_group_a_row_is_needed():
    with pytest.raises(BadInput, match="one group a row"):
        fairness([0, 1], [0.1, 0.2], ["a"])
