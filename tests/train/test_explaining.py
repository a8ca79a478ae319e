"""Importances against known models and scikit-learn; Shapley values against their definition."""

import itertools
import math
import sys

import numpy as np
import pytest
from sklearn import inspection
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from tidemill.core.errors import BadInput, MissingExtra
from tidemill.train.scoring.explaining import contributions, permutation_importance


def data(seed=0, n=800):
    dice = np.random.default_rng(seed)
    X = dice.normal(size=(n, 4))
    y = (dice.random(n) < 1 / (1 + np.exp(-(2 * X[:, 0] + X[:, 1])))).astype(int)
    return X, y


def test_importances_of_a_linear_model_are_those_of_its_slopes():
    # Shuffling feature j of a linear model adds 2 * slope ** 2 * variance to the mean squared error.
    dice = np.random.default_rng(0)
    X = dice.normal(size=(4000, 3))
    y = 3 * X[:, 0] + X[:, 1] + dice.normal(size=4000)
    found = permutation_importance(lambda rows: rows @ [3, 1, 0], X, y, score="mse", names=["a", "b", "c"])
    assert [each.name for each in found] == ["a", "b", "c"]
    for each, want in zip(found, (18, 2, 0), strict=True):
        assert each.low <= want <= each.high or each.drop == pytest.approx(want, rel=0.05)
    assert (found[2].drop, found[2].low, found[2].high) == (0, 0, 0)


def test_importances_agree_with_scikit_learn():
    X, y = data()
    model = LogisticRegression().fit(X[:400], y[:400])
    got = permutation_importance(lambda rows: model.predict_proba(rows)[:, 1], X[400:], y[400:], repeats=30)
    want = inspection.permutation_importance(
        model, X[400:], y[400:], scoring="neg_log_loss", n_repeats=30, random_state=0
    )
    for each in got:
        place = int(each.name[1:])
        assert each.drop == pytest.approx(want.importances_mean[place], abs=0.02)
    assert [each.name for each in got[:2]] == ["x0", "x1"]


def test_the_interval_holds_what_other_rows_would_say():
    truth = 2 * 4 * 1.0  # slope 2, variance 1
    held = 0
    for seed in range(100):
        dice = np.random.default_rng(seed)
        X = dice.normal(size=(200, 1))
        y = 2 * X[:, 0] + dice.normal(size=200)
        got = permutation_importance(lambda rows: 2 * rows[:, 0], X, y, score="mse", seed=seed, level=0.9)[0]
        held += got.low <= truth <= got.high
    # Binomial(100, 0.9) lies within 80..98 with probability 0.998; skewed losses cost a little more.
    assert held >= 78


def test_two_features_that_say_the_same_are_important_together():
    X, y = data()
    X[:, 1] = X[:, 0]
    predict = lambda rows: 1 / (1 + np.exp(-np.where(rows[:, 0] > rows[:, 1], rows[:, 0], rows[:, 1])))  # noqa: E731
    alone = {each.name: each.drop for each in permutation_importance(predict, X, y)}
    both = permutation_importance(predict, X, y, together={"pair": ["x0", "x1"]})
    assert both[0].name == "pair"
    assert both[0].drop > 1.5 * max(alone["x0"], alone["x1"])


def test_a_score_that_is_better_when_higher_drops_too():
    X, y = data()
    predict = lambda rows: 1 / (1 + np.exp(-rows[:, 0]))  # noqa: E731
    for score in ("auc", "f1", "accuracy"):
        found = permutation_importance(predict, X, y, score=score)
        assert found[0].name == "x0"
        assert found[0].low > 0.1


def shapley(predict, row, background):
    """By the definition: over all orders, what the feature adds to the mean prediction of the background."""
    width = len(row)

    def worth(known):
        rows = background.copy()
        rows[:, list(known)] = row[list(known)]
        return predict(rows).mean()

    values = np.zeros(width)
    for order in itertools.permutations(range(width)):
        for place, feature in enumerate(order):
            values[feature] += worth(order[: place + 1]) - worth(order[:place])
    return values / math.factorial(width)


def test_contributions_of_a_function_are_shapley_values():
    pytest.importorskip("shap")
    X, _ = data(n=30)
    predict = lambda rows: rows[:, 0] * rows[:, 1] + np.maximum(rows[:, 2], 0)  # noqa: E731
    got = contributions(predict, X[:3], background=X)
    for row in range(3):
        assert got.values[row] == pytest.approx(shapley(predict, X[row], X), abs=1e-9)
    assert got.base + got.values.sum(axis=1) == pytest.approx(predict(X[:3]), abs=1e-9)
    assert got.unit == "predicted"


def test_contributions_of_trees_add_up_to_their_raw_prediction():
    pytest.importorskip("shap")
    X, y = data()
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(X, y)
    got = contributions(model, X, names=["a", "b", "c", "d"], at_most=50)
    assert got.values.shape == (50, 4)
    assert got.base + got.values.sum(axis=1) == pytest.approx(model.decision_function(X[:50]), abs=1e-6)
    assert list(got.mean_sizes())[:2] == ["a", "b"]
    row = got.of_row(0)
    assert list(map(abs, row.values())) == sorted(map(abs, row.values()), reverse=True)
    forest = RandomForestClassifier(10, random_state=0).fit(X, y)
    got = contributions(forest, X[:9], output=1)
    assert got.base + got.values.sum(axis=1) == pytest.approx(forest.predict_proba(X[:9])[:, 1], abs=1e-6)


def test_without_shap_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)  # what Python itself does for a module that is not to be found
    with pytest.raises(MissingExtra, match=r"pip install 'tidemill\[explain\]'"):
        contributions(lambda rows: rows[:, 0], [[1.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "ndcg"}, "score 'ndcg' is for ranking"),
        ({"repeats": 1}, "repeats is 1"),
        ({"names": ["a"]}, "1 names for 4 features"),
        ({"together": {"pair": ["x0", "x9"]}}, "no feature 'x9' for 'pair'; there are x0, x1, x2, x3"),
        ({"X": [[1.0]]}, r"X has shape \(1, 1\) for 800 truths"),
    ],
)
def test_bad_questions_are_refused(change, message):
    X, y = data()
    with pytest.raises(BadInput, match=message):
        permutation_importance(lambda rows: rows[:, 0], change.pop("X", X), y, **change)


def test_what_is_no_model_of_trees_is_refused():
    pytest.importorskip("shap")
    X, y = data(n=50)
    with pytest.raises(BadInput, match="LinearRegression is no model of trees; give a function"):
        contributions(LinearRegression().fit(X, y), X)
    with pytest.raises(BadInput, match="int can neither predict nor be called"):
        contributions(3, X)
    with pytest.raises(BadInput, match="output is 5; the model has 2, 0 to 1"):
        contributions(RandomForestClassifier(3).fit(X, y), X, output=5)
