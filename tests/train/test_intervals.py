"""Intervals of scores: against scipy, numeric derivatives, drawn-out bootstraps, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from tidemill.core import scores
from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.scores import named
from tidemill.train.scoring.bootstrap import draw
from tidemill.train.scoring.influence import influence, standard_error
from tidemill.train.scoring.intervals import interval, wilson


def binary(seed=0, n=400, noise=1.0):
    dice = np.random.default_rng(seed)
    signal = dice.normal(size=n)
    y = (dice.random(n) < 1 / (1 + np.exp(-signal))).astype(float)
    return y, (1 / (1 + np.exp(-(signal + noise * dice.normal(size=n))))).round(2)


def multiclass(seed=0, n=400):
    dice = np.random.default_rng(seed)
    p = dice.dirichlet([1, 1, 2], n)
    return np.array([dice.choice(3, p=each) for each in p]), p


def measured(seed=0, n=400):
    dice = np.random.default_rng(seed)
    y = dice.normal(size=n)
    return y, y + dice.normal(size=n) * (0.2 + np.abs(y))


def data_of(name, seed=0, n=400):
    score = named(name)
    if score.task == "binary":
        return binary(seed, n)
    if score.task == "regression":
        return measured(seed, n)
    y, p = multiclass(seed, n)
    return y, p.argmax(axis=1) if score.takes == "label" else p


@pytest.mark.parametrize(("hits", "rows"), [(0, 5), (5, 5), (3, 10), (170, 1000)])
def test_shares_have_wilsons_interval(hits, rows):
    want = stats.binomtest(hits, rows).proportion_ci(0.9, method="wilson")
    assert wilson(hits, rows, 0.9) == pytest.approx((want.low, want.high), abs=1e-12)


def test_precision_is_a_share_of_the_rows_predicted_positive():
    y, p = binary()
    said = p >= 0.5
    got = interval(y, p, "precision")
    want = stats.binomtest(int(y[said].sum()), int(said.sum())).proportion_ci(method="wilson")
    assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=1e-12)
    assert got.value == scores.precision(y, p)
    assert got.method == "Wilson"


def test_means_have_students_interval_and_rmse_its_root():
    y, p = measured()
    squares = (y - p) ** 2
    want = stats.t.interval(0.95, len(y) - 1, squares.mean(), squares.std(ddof=1) / np.sqrt(len(y)))
    got = interval(y, p, "mse")
    assert (got.low, got.high) == pytest.approx(want, rel=1e-9)
    root = interval(y, p, "rmse")
    assert (root.low, root.high) == pytest.approx(np.sqrt(want), rel=1e-9)


CLOSED = [name for name in scores.names() if named(name).closed]


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("weighted", [False, True])
def test_influences_are_the_derivatives_of_the_score(name, weighted):
    y, p = data_of(name, n=60)
    dice = np.random.default_rng(1)
    weights = dice.choice([0.5, 1.0, 2.0], 60) if weighted else np.ones(60)
    got = np.zeros(60)
    for rows, values in influence(named(name), y, p, weights if weighted else None):
        got[rows] = values
    step = 1e-6
    for row in range(60):
        up, down = weights.copy(), weights.copy()
        up[row] *= 1 + step
        down[row] *= 1 - step
        slope = (named(name).function(y, p, weights=up) - named(name).function(y, p, weights=down)) / (2 * step)
        assert got[row] == pytest.approx(slope, abs=1e-8), row
    assert got.sum() == pytest.approx(0, abs=1e-12)


PARTS = [name for name in scores.names() if named(name).parts] + ["auc", "pr_auc", "class_auc"]


@pytest.mark.parametrize("name", PARTS)
def test_draws_at_once_are_spread_like_draws_one_by_one(name):
    y, p = data_of(name, n=300)
    got = draw(named(name), y, [p], draws=600, seed=0)[0]
    dice = np.random.default_rng(1)
    one = [named(name).function(y[pick], p[pick]) for pick in (dice.integers(0, 300, 300) for _ in range(600))]
    assert np.nanmean(got) == pytest.approx(np.nanmean(one), abs=5 * np.nanstd(one) / np.sqrt(300))
    assert np.nanstd(got) == pytest.approx(np.nanstd(one), rel=0.2)  # each is off by 3 %


@pytest.mark.parametrize("name", ["log_loss", "pr_auc", "rmse", "label_accuracy"])
def test_many_rows_are_spread_as_their_closed_form_says(name):
    y, p = data_of(name, n=30_000)
    got = draw(named(name), y, [p], draws=300, seed=0)[0]
    error = standard_error(influence(named(name), y, p), None)
    assert got.std() == pytest.approx(error, rel=0.17)  # 300 draws: four times 4 %
    assert got.mean() == pytest.approx(named(name).function(y, p), abs=error)


def test_weights_in_draws_count_rows():
    y, p = binary(n=300)
    weights = np.where(np.arange(300) < 150, 1.0, 0.0)
    alone = draw(named("brier"), y[:150], [p[:150]], draws=500, seed=0)[0]
    within = draw(named("brier"), y, [p], draws=500, seed=0, weights=weights)[0]
    assert within.mean() == pytest.approx(alone.mean(), abs=3e-3)
    assert within.std() == pytest.approx(alone.std(), rel=0.2)


def truth_of(name):
    y, p = data_of(name, seed=99, n=400_000)
    return named(name).function(y, p)


@pytest.mark.parametrize("name", ["auc", "pr_auc", "precision", "f1", "r2", "macro_f1", "mae"])
def test_intervals_hold_the_truth_as_often_as_they_say(name):
    truth = truth_of(name)
    held = 0
    for seed in range(200):
        got = interval(*data_of(name, seed, 150), name, level=0.9, draws=400)
        held += got.low <= truth <= got.high
    # Binomial(200, 0.9) lies within 165..194 with probability 0.999; two more for what small samples cost.
    assert 163 <= held <= 194


def test_groups_widen_where_rows_of_a_group_are_alike():
    y, p = binary(n=100)
    copies = np.repeat(np.arange(100), 9)
    for name in ("brier", "accuracy", "auc", "f1"):
        alone = interval(y, p, name)
        grouped = interval(y[copies], p[copies], name, groups=copies)
        blind = interval(y[copies], p[copies], name)
        assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.1), name
        assert blind.high - blind.low < 0.5 * (grouped.high - grouped.low), name
        assert grouped.units == 100


def test_perfect_ranking_is_not_certain():
    got = interval([0] * 8 + [1] * 8, np.arange(16), "auc")
    assert got.value == got.high == 1
    assert 0.7 < got.low < 0.95
    assert got.method == "Newcombe 5"
    flipped = interval([1] * 8 + [0] * 8, np.arange(16), "auc")
    assert (flipped.low, flipped.high) == pytest.approx((0, 1 - got.low))


def test_the_calibration_error_of_calibrated_p_may_be_zero():
    dice = np.random.default_rng(0)
    p = dice.random(5000)
    got = interval((dice.random(5000) < p).astype(float), p, "calibration_error")
    assert got.low == 0
    assert got.value <= got.high
    assert "reflected" in got.method


def test_rankings_have_intervals_over_queries():
    dice = np.random.default_rng(0)
    gain, p, query = dice.integers(0, 3, 600), dice.random(600), np.repeat(np.arange(60), 10)
    each = [scores.ndcg(gain[query == one], p[query == one], k=5) for one in range(60)]
    got = interval(gain, p, "ndcg@5", groups=query)
    want = stats.t.interval(0.95, 59, np.mean(each), stats.sem(each))
    assert (got.low, got.high) == pytest.approx(want, rel=1e-9)
    assert got.units == 60


def test_the_same_seed_gives_the_same_interval():
    y, p = binary()
    assert interval(y, p, "f1", seed=3) == interval(y, p, "f1", seed=3)
    assert interval(y, p, "f1", seed=3) != interval(y, p, "f1", seed=4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"score": "f2"}, BadInput, "no score 'f2'"),
        ({"level": 95}, BadInput, "level is 95; it must lie between 0 and 1"),
        ({"score": "f1", "method": "closed"}, BadInput, "there is no closed form for 'f1'"),
        ({"score": "f1", "draws": 10}, BadInput, "draws is 10; give 100 or more"),
        ({"score": "silhouette"}, BadInput, "'silhouette' has no interval: a row drawn twice is a cluster"),
        ({"score": "ndcg"}, NotEnoughRows, "ndcg of one query has no interval"),
        ({"groups": np.arange(400) % 2}, NotEnoughRows, "2 groups to compare on"),
    ],
)
def test_bad_questions_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        interval(*binary(), **change)


def test_one_class_has_no_interval_of_auc():
    with pytest.raises(NotEnoughRows, match="auc of 3 independent rows is nan"):
        interval([1, 1, 1], [0.1, 0.2, 0.3], "auc")
