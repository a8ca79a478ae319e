"""Paired tests against scipy, the closed form of DeLong, simulation and the bootstrap."""

import numpy as np
import pytest
from scipy import stats

from tidemill.core import scores
from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.train.scoring.compare import mcnemar, paired


def rows(seed, n=400, gain=0.0, noise=0.8):
    """y with two models' p; gain: how much better the new one is."""
    dice = np.random.default_rng(seed)
    signal = dice.normal(size=n)
    y = (dice.random(n) < 1 / (1 + np.exp(-signal))).astype(float)
    old = 1 / (1 + np.exp(-(signal + noise * dice.normal(size=n))))
    new = 1 / (1 + np.exp(-(signal + (noise - gain) * dice.normal(size=n))))
    return y, old, new


def test_per_row_losses_are_compared_as_scipy_does():
    y, old, new = rows(0, gain=0.3)
    got = paired(y, old, new, score="brier")
    want = stats.ttest_rel((new - y) ** 2, (old - y) ** 2)
    assert got.p_value == pytest.approx(want.pvalue, rel=1e-9)
    interval = want.confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert got.difference == pytest.approx(scores.brier(y, new) - scores.brier(y, old), abs=1e-12)


def brute_delong(y, old, new):
    """DeLong's variance by all pairs, straight from the paper's equations."""

    def components(p):
        pairs = np.sign(p[y == 1][:, None] - p[y == 0][None, :]) / 2 + 0.5
        return pairs.mean(axis=1), pairs.mean(axis=0)

    (v10_old, v01_old), (v10_new, v01_new) = components(old), components(new)
    s10, s01 = np.cov(v10_old, v10_new), np.cov(v01_old, v01_new)
    s = s10 / (y == 1).sum() + s01 / (y == 0).sum()
    return np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])


def test_auc_is_compared_by_delongs_test():
    y, old, new = rows(1, gain=0.3)
    old, new = old.round(2), new.round(2)  # ties
    got = paired(y, old, new, score="auc")
    error = brute_delong(y, old, new)
    want = 2 * stats.t.sf(abs(got.difference) / error, len(y) - 1)
    assert got.p_value == pytest.approx(want, rel=1e-9)
    assert (got.high - got.low) / 2 == pytest.approx(stats.t.ppf(0.975, len(y) - 1) * error, rel=1e-9)


def test_the_interval_of_auc_agrees_with_the_bootstrap():
    y, old, new = rows(2, n=600, gain=0.4)
    got = paired(y, old, new, score="auc")
    dice = np.random.default_rng(0)
    drawn = []
    for _ in range(800):
        pick = dice.integers(0, len(y), len(y))
        drawn.append(scores.auc(y[pick], new[pick]) - scores.auc(y[pick], old[pick]))
    assert (got.high - got.low) / (2 * 1.96) == pytest.approx(np.std(drawn), rel=0.1)


@pytest.mark.parametrize("score", ["log_loss", "auc"])
def test_equal_models_are_called_different_as_rarely_as_alpha_says(score):
    called = [paired(*rows(seed, n=200), score=score).p_value < 0.05 for seed in range(400)]
    # Binomial(400, 0.05) lies within 8..34 with probability 0.999.
    assert 8 <= sum(called) <= 34


def clustered(seed, days=20, a_day=40):
    """Two equal models whose errors are shared within a day, as weather makes them."""
    dice = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), a_day)
    late = dice.normal(size=days)[day]
    y = (dice.random(len(day)) < 1 / (1 + np.exp(-1.5 * late))).astype(float)
    shift = 0.5 * dice.normal(size=days)[day]
    return y, 1 / (1 + np.exp(-shift)), 1 / (1 + np.exp(shift)), day


@pytest.mark.parametrize("score", ["log_loss", "auc"])
def test_groups_keep_the_false_alarms_at_alpha_where_rows_are_not_independent(score):
    grouped = alone = 0
    for seed in range(200):
        y, old, new, day = clustered(seed)
        grouped += paired(y, old, new, score=score, groups=day).p_value < 0.05
        alone += paired(y, old, new, score=score).p_value < 0.05
    # Binomial(200, 0.05) reaches 22 with probability 0.0003; a little more is the price of 20 clusters for AUC.
    assert grouped <= 26
    assert alone > 60


@pytest.mark.parametrize("score", ["log_loss", "brier", "auc", "accuracy"])
def test_a_better_model_is_called_better_and_the_other_way_round_worse(score):
    y, old, new = rows(5, n=6000, gain=0.7, noise=1.2)
    assert paired(y, old, new, score=score).better
    assert paired(y, new, old, score=score).worse
    assert not paired(y, new, old, score=score).better


def test_the_same_model_is_neither():
    y, old, _ = rows(6)
    got = paired(y, old, old, score="auc")
    assert (got.difference, got.p_value, got.better, got.worse) == (0.0, 1.0, False, False)


def test_another_score_is_bootstrapped_and_repeatable():
    y, old, _ = rows(7, n=2000)
    off = np.clip(old + 0.15, 0, 1)
    got = paired(y, old, off, score="calibration_error", seed=4)
    assert got == paired(y, old, off, score="calibration_error", seed=4)
    assert got.worse
    assert got.low < got.difference < got.high


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"score": "auk"}, BadInput, "no score 'auk'; known are auc, log_loss, .*Did you mean 'auc'"),
        ({"alpha": 5}, BadInput, "alpha is 5; it must lie between 0 and 1"),
        ({"groups": [1, 2]}, BadInput, r"groups has shape \(2,\) for 400 rows"),
        ({"groups": np.arange(400) % 3}, NotEnoughRows, "3 groups to compare on; give at least 5"),
    ],
)
def test_bad_questions_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        paired(*rows(0), **change)


def test_too_few_rows_are_refused():
    with pytest.raises(NotEnoughRows, match="4 rows to compare on; give at least 20"):
        paired([0, 1, 0, 1], [0.1] * 4, [0.2] * 4)
    with pytest.raises(NotEnoughRows, match="0 positive and 30 negative rows"):
        paired([0] * 30, [0.1] * 30, [0.2] * 30, score="auc")


def test_regressions_and_classes_are_compared_too():
    dice = np.random.default_rng(0)
    y = dice.normal(size=400)
    near, far = y + 0.5 * dice.normal(size=400), y + dice.normal(size=400)
    for score in ("mae", "rmse", "r2", "quantile_loss@0.9"):
        assert paired(y, far, near, score=score).better, score
        assert paired(y, near, far, score=score).worse, score
    want = stats.ttest_rel(np.abs(y - near), np.abs(y - far))
    assert paired(y, far, near, score="mae").p_value == pytest.approx(want.pvalue, rel=1e-9)
    kinds = dice.integers(0, 3, 400)
    good, poor = (np.where(dice.random(400) < share, kinds, dice.integers(0, 3, 400)) for share in (0.8, 0.4))
    for score in ("label_accuracy", "macro_f1"):
        assert paired(kinds, poor, good, score=score).better, score


def test_pr_auc_is_compared_as_its_bootstrap_says():
    y, old, new = rows(2, n=600, gain=0.4)
    got = paired(y, old, new, score="pr_auc")
    dice = np.random.default_rng(0)
    drawn = []
    for _ in range(500):
        pick = dice.integers(0, len(y), len(y))
        drawn.append(scores.pr_auc(y[pick], new[pick]) - scores.pr_auc(y[pick], old[pick]))
    assert (got.high - got.low) / (2 * 1.96) == pytest.approx(np.std(drawn), rel=0.13)


def test_mcnemar_counts_the_rows_on_which_models_differ():
    y = np.array([1] * 12 + [0] * 8)
    old = np.array([0.9] * 4 + [0.1] * 8 + [0.1] * 8)
    new = np.array([0.9] * 11 + [0.1] + [0.1] * 7 + [0.9])
    got = mcnemar(y, old, new)
    assert (got.only_old, got.only_new) == (1, 7)
    assert got.p_value == pytest.approx(2 * stats.binom.cdf(1, 8, 0.5), rel=1e-12)
    assert mcnemar(y, old, old).p_value == 1


def test_rankings_and_clusterings_are_no_comparison_of_rows():
    with pytest.raises(BadInput, match="score 'ndcg' is for ranking; models are compared by scores of rows"):
        paired([0, 1] * 20, [0.1] * 40, [0.2] * 40, score="ndcg")
