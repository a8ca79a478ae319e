"""Scores of every task against scikit-learn: ties, weights, rare classes and degenerate rows."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn import metrics

from tidemill.core import scores
from tidemill.core.errors import BadInput, NotEnoughRows

CLOSE = {"rel": 1e-12, "abs": 1e-12}
CHANCES = [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0]  # few distinct values: ties matter


def column(values, rows):
    return st.lists(st.sampled_from(values), min_size=rows, max_size=rows).map(np.array)


@st.composite
def binary(draw):
    rows = draw(st.integers(1, 50))
    weights = draw(column([0.0, 0.5, 1.0, 3.0], rows).filter(lambda each: each.sum() > 0))
    return draw(column([0, 1], rows)), draw(column(CHANCES, rows)), weights


@given(binary())
@settings(deadline=None)
def test_binary_scores_with_weights(data):
    y, p, w = data
    said = (p >= 0.5).astype(int)
    given_ = {"sample_weight": w}
    assert scores.log_loss(y, p, weights=w) == pytest.approx(metrics.log_loss(y, p, labels=[0, 1], **given_), **CLOSE)
    assert scores.brier(y, p, weights=w) == pytest.approx(
        metrics.brier_score_loss(y, p, labels=[0, 1], **given_), **CLOSE
    )
    assert scores.accuracy(y, p, weights=w) == pytest.approx(metrics.accuracy_score(y, said, **given_), **CLOSE)
    for ours, theirs in (
        (scores.precision, metrics.precision_score),
        (scores.recall, metrics.recall_score),
        (scores.f1, metrics.f1_score),
    ):
        assert ours(y, p, weights=w) == pytest.approx(theirs(y, said, zero_division=0, **given_), **CLOSE)
        assert ours(y, p) == pytest.approx(theirs(y, said, zero_division=0), **CLOSE)
        got, want = ours(y, p, undefined=math.nan), theirs(y, said, zero_division=np.nan)
        assert got == pytest.approx(want, nan_ok=True, **CLOSE)


@given(binary())
@settings(deadline=None)
def test_ranking_scores_of_a_classifier_with_weights(data):
    y, p, w = data
    assume((w[y == 1] > 0).any() and (w[y == 0] > 0).any())
    assert scores.auc(y, p, weights=w) == pytest.approx(metrics.roc_auc_score(y, p, sample_weight=w), **CLOSE)
    assert scores.auc(y, p, weights=np.ones(len(y))) == pytest.approx(scores.auc(y, p), **CLOSE)
    assert scores.pr_auc(y, p) == pytest.approx(metrics.average_precision_score(y, p), **CLOSE)
    want = metrics.average_precision_score(y, p, sample_weight=w)
    assert scores.pr_auc(y, p, weights=w) == pytest.approx(want, **CLOSE)


def test_whole_weights_count_rows_so_many_times():
    dice = np.random.default_rng(0)
    y, p, times = dice.integers(0, 2, 300), dice.random(300).round(1), dice.integers(0, 4, 300)
    long = np.repeat(np.arange(300), times)
    for name in scores.names("binary"):
        function = scores.named(name).function
        assert function(y, p, weights=times) == pytest.approx(function(y[long], p[long]), **CLOSE)


@st.composite
def classes(draw):
    rows, count = draw(st.integers(1, 40)), draw(st.integers(2, 5))
    names = list(range(count))
    raw = draw(st.lists(st.lists(st.integers(0, 4), min_size=count, max_size=count), min_size=rows, max_size=rows))
    p = np.array(raw, dtype=float) + np.eye(count)[0]
    weights = draw(column([0.5, 1.0, 3.0], rows))
    return draw(column(names, rows)), draw(column(names, rows)), p / p.sum(axis=1, keepdims=True), weights


@given(classes())
@settings(deadline=None)
def test_multiclass_scores(data):
    y, given_, p, w = data
    names = np.arange(p.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn on classes that are only predicted
        for weights in (None, w):
            more = {"sample_weight": weights}
            macro = {"average": "macro", "zero_division": 0, **more}
            for name, want in {
                "label_accuracy": metrics.accuracy_score(y, given_, **more),
                "balanced_accuracy": metrics.balanced_accuracy_score(y, given_, **more),
                "macro_precision": metrics.precision_score(y, given_, **macro),
                "macro_recall": metrics.recall_score(y, given_, **macro),
                "macro_f1": metrics.f1_score(y, given_, **macro),
                "matthews": metrics.matthews_corrcoef(y, given_, **more),
            }.items():
                assert scores.named(name).function(y, given_, weights=weights) == pytest.approx(want, **CLOSE), name
            want = metrics.log_loss(y, p, labels=names, **more)
            assert scores.class_log_loss(y, p, weights=weights) == pytest.approx(want, **CLOSE)
            want = metrics.brier_score_loss(y, p, labels=names, scale_by_half=False, **more)
            assert scores.class_brier(y, p, weights=weights) == pytest.approx(want, **CLOSE)
            if set(y) == set(names) and len(names) > 2:
                want = metrics.roc_auc_score(y, p, multi_class="ovr", **more)
                assert scores.class_auc(y, p, weights=weights) == pytest.approx(want, **CLOSE)


def test_labels_may_be_text_and_a_class_that_is_missing_has_no_auc():
    assert scores.macro_f1(["b", "a", "a"], ["b", "a", "b"]) == scores.macro_f1([1, 0, 0], [1, 0, 1])
    assert math.isnan(scores.class_auc([0, 1], [[0.5, 0.5, 0], [0.2, 0.8, 0]]))


@st.composite
def measured(draw):
    rows = draw(st.integers(2, 40))
    number = st.floats(-100, 100).map(lambda each: round(each, 2))
    y, p = (np.array(draw(st.lists(number, min_size=rows, max_size=rows))) for _ in range(2))
    return y, p, draw(column([0.5, 1.0, 3.0], rows))


@given(measured())
@settings(deadline=None)
def test_regression_scores(data):
    y, p, w = data
    for weights in (None, w):
        more = {"sample_weight": weights}
        for name, want in {
            "mae": metrics.mean_absolute_error(y, p, **more),
            "mse": metrics.mean_squared_error(y, p, **more),
            "rmse": metrics.root_mean_squared_error(y, p, **more),
            "mape": metrics.mean_absolute_percentage_error(y, p, **more),
            "r2": metrics.r2_score(y, p, **more),
            "quantile_loss@0.9": metrics.mean_pinball_loss(y, p, alpha=0.9, **more),
            "quantile_loss": metrics.mean_pinball_loss(y, p, alpha=0.5, **more),
        }.items():
            assert scores.named(name).function(y, p, weights=weights) == pytest.approx(want, **CLOSE), name


def test_r2_of_a_constant_truth_and_of_one_row():
    assert scores.r2([2.0, 2.0], [2.0, 2.0]) == metrics.r2_score([2.0, 2.0], [2.0, 2.0]) == 1
    assert scores.r2([2.0, 2.0], [2.0, 3.0]) == metrics.r2_score([2.0, 2.0], [2.0, 3.0]) == 0
    assert math.isnan(scores.r2([1.0], [1.0]))


@st.composite
def queries(draw):
    lists, items = draw(st.integers(1, 5)), draw(st.integers(2, 8))
    gain = np.array([draw(column([0, 1, 2, 3], items)) for _ in range(lists)])
    return gain, np.array([draw(column(CHANCES, items)) for _ in range(lists)])


@given(queries(), st.sampled_from([None, 1, 3]))
@settings(deadline=None)
def test_ranking_scores(data, k):
    gain, p = data
    query = np.repeat(np.arange(len(gain)), gain.shape[1])
    shuffle = np.random.default_rng(0).permutation(len(query))  # rows of a query need not stand together
    rows = gain.ravel()[shuffle], p.ravel()[shuffle]
    want = metrics.ndcg_score(gain, p, k=k)
    assert scores.ndcg(*rows, groups=query[shuffle], k=k) == pytest.approx(want, **CLOSE)
    hits = (gain > 1).astype(int)
    each = [metrics.average_precision_score(y, s) if y.any() else 0.0 for y, s in zip(hits, p, strict=True)]
    got = scores.mean_average_precision((rows[0] > 1).astype(int), rows[1], groups=query[shuffle])
    assert got == pytest.approx(np.mean(each), **CLOSE)


def expected_place(relevant, p):
    """The first relevant item's place, over all orders of ties: by drawing them."""
    dice = np.random.default_rng(0)
    places = []
    for _ in range(4000):
        order = np.lexsort((dice.random(len(p)), -p))
        places.append(1 + np.flatnonzero(relevant[order])[0])
    return np.mean(places)


def test_reciprocal_rank_takes_the_mean_place_among_ties():
    relevant, p = np.array([0, 0, 1, 1, 0, 0]), np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1])
    got = scores.mean_reciprocal_rank(relevant, p)
    assert 1 / got == pytest.approx(1 + 5 / 3, rel=1e-12)
    assert 1 / got == pytest.approx(expected_place(relevant, p), rel=0.02)
    # Two queries, and one without anything relevant counts 0.
    got = scores.mean_reciprocal_rank([0, 1, 1, 0, 0], [0.2, 0.1, 0.9, 0.5, 0.4], groups=["a", "a", "b", "b", "c"])
    assert got == pytest.approx((1 / 2 + 1 + 0) / 3, rel=1e-12)


@st.composite
def clustered(draw):
    rows, width = draw(st.integers(4, 40)), draw(st.integers(1, 4))
    flat = draw(st.lists(st.integers(-20, 20), min_size=rows * width, max_size=rows * width))
    return (
        np.array(flat, dtype=float).reshape(rows, width),
        draw(column([0, 1, 2], rows)),
        draw(column([3, 5, 9], rows)),
    )


@given(clustered())
@settings(deadline=None)
def test_clustering_scores(data):
    X, first, second = data
    assert scores.adjusted_rand(first, second) == pytest.approx(metrics.adjusted_rand_score(first, second), **CLOSE)
    want = metrics.normalized_mutual_info_score(first, second)
    assert scores.normalized_mutual_information(first, second) == pytest.approx(want, **CLOSE)
    assume(len(set(first)) > 1)
    # Distances as scipy takes them: scikit-learn's own, by dot products, lose half of their digits.
    want = metrics.silhouette_score(cdist(X, X), first, metric="precomputed")
    assert scores.silhouette(X, first) == pytest.approx(want, **CLOSE)
    assert scores.davies_bouldin(X, first) == pytest.approx(metrics.davies_bouldin_score(X, first), **CLOSE)
    assert scores.calinski_harabasz(X, first) == pytest.approx(metrics.calinski_harabasz_score(X, first), **CLOSE)


def test_many_rows_agree_with_scikit_learn():
    dice = np.random.default_rng(3)
    y, p = dice.integers(0, 2, 200_000), dice.random(200_000).round(4)
    assert scores.pr_auc(y, p) == pytest.approx(metrics.average_precision_score(y, p), abs=1e-12)
    truth, given_ = dice.normal(1e4, 1, 200_000), dice.normal(1e4, 1, 200_000)
    assert scores.r2(truth, given_) == pytest.approx(metrics.r2_score(truth, given_), abs=1e-12)
    assert scores.mse(truth, given_) == pytest.approx(metrics.mean_squared_error(truth, given_), rel=1e-12)
    classes_, clusters = dice.integers(0, 9, 200_000), dice.integers(0, 5, 200_000)
    want = metrics.adjusted_rand_score(classes_, clusters)
    assert scores.adjusted_rand(classes_, clusters) == pytest.approx(want, abs=1e-12)


def test_a_sample_of_a_silhouette_is_near_the_whole():
    dice = np.random.default_rng(0)
    labels = dice.integers(0, 3, 3000)
    X = dice.normal(size=(3000, 2)) + 6 * labels[:, None]
    assert scores.silhouette(X, labels, at_most=800) == pytest.approx(scores.silhouette(X, labels), abs=0.02)


def test_scores_are_found_by_name():
    assert scores.named("f1").takes == "proba"
    assert scores.named("rmse").direction == "min"
    assert scores.named("silhouette").of == "features"
    assert scores.named("ndcg@1").function([0, 1], [0.9, 0.1]) == 0
    assert scores.named("quantile_loss@0.9").function([10.0], [8.0]) == pytest.approx(1.8)
    assert set(scores.SCORES) == set(scores.names("binary"))


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("rsme", None, "no score 'rsme'; known are auc, .*Did you mean 'rmse'"),
        ("rmse", "binary", "score 'rmse' is for regression, not binary; for binary there are auc, log_loss"),
        ("auc@3", None, "no score 'auc@3'; known are"),
        ("ndcg@0", None, "no score 'ndcg@0': '0' is not allowed after the @; write it as in 'ndcg@10'"),
        ("quantile_loss@x", None, "'x' is not allowed after the @; write it as in 'quantile_loss@0.9'"),
    ],
)
def test_names_that_are_none_are_refused(name, task, message):
    with pytest.raises(BadInput, match=message):
        scores.named(name, task)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: scores.brier([0, 1], [0.5, 0.5], weights=[1]), BadInput, r"weights have shape \(1,\) for 2 rows"),
        (lambda: scores.brier([0, 1], [0.5, 0.5], weights=[0, 0]), BadInput, "weights range from 0 to 0"),
        (lambda: scores.mae([1, math.inf], [1, 2]), BadInput, "y holds inf at row 1; allowed are finite numbers"),
        (lambda: scores.mae([], []), NotEnoughRows, "no rows to score"),
        (lambda: scores.macro_f1(["a"], [1]), BadInput, "give labels of one kind, all numbers or all text"),
        (lambda: scores.class_brier([0, 3], [[0.5, 0.5], [0.5, 0.5]]), BadInput, "y holds 3 at row 1; p has 2 columns"),
        (lambda: scores.class_brier([0, 1], [[0.5, 0.6], [0.5, 0.5]]), BadInput, "its rows sum to 1 to 1.1"),
        (lambda: scores.class_brier([0, 1], [0.5, 0.5]), BadInput, r"they must be \(n,\) and \(n, classes\)"),
        (lambda: scores.ndcg([-1, 1], [1, 2]), BadInput, "y holds -1; relevance is 0 or more"),
        (lambda: scores.mean_average_precision([2, 1], [1, 2]), BadInput, "y holds 2 at row 0; allowed are 0 and 1"),
        (lambda: scores.silhouette([[1.0], [2.0]], [0, 0]), BadInput, "1 clusters of 2 rows; this score needs 2 to 1"),
        (lambda: scores.quantile_loss([1], [1], q=1), BadInput, "q is 1; it must lie between 0 and 1"),
    ],
)
def test_bad_rows_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
