"""Candidates: each fits rows with gaps, answers as its task asks, repeats itself, and can be tuned."""

import subprocess
import sys

import numpy as np
import pytest

from tidemill.core.errors import BadInput, MissingExtra
from tidemill.core.types import Matrix
from tidemill.train.fit import answers, call
from tidemill.train.ranges import check_params, defaults_of, fit_name, ranges_of
from tidemill.train.selecting.baselines import BASELINES, is_baseline
from tidemill.train.selecting.candidates import candidates, kind_of
from tidemill.train.tuning.tune import tune

HOUR_US = 3_600_000_000
KINDS = ["classification", "regression", "clustering", "forecast"]


def rows(y=None, n=240, seed=0):
    dice = np.random.default_rng(seed)
    X = dice.normal(size=(n, 4))
    X[:, 0] += np.where(np.arange(n) % 2 == 0, 6.0, 0.0)
    made = np.zeros(n) if y is None else y(X)
    X[dice.random((n, 4)) < 0.03] = np.nan
    X[:, 3] = np.nan  # a column that is never there
    keys = np.array([f"r{each}" for each in range(n)], dtype=object)
    return Matrix(np.ascontiguousarray(X), made, ("a", "b", "c", "d"), keys, np.arange(n) * HOUR_US)


def named(kind):
    return [pytest.param(fit, id=fit_name(fit)) for fit in candidates(kind)]


@pytest.mark.parametrize("fit", named("classification"))
@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifier_gives_probabilities_and_the_same_ones_again(fit, classes):
    train = rows(lambda X: np.digitize(X[:, 1], [0.0] if classes == 2 else [-0.5, 0.5]).astype(float))
    task = "binary" if classes == 2 else "multiclass"
    p = answers(call(fit, train, {}, 3), train.X, task, tuple(range(classes)))
    assert p.shape == ((240,) if classes == 2 else (240, 3))
    assert ((p >= 0) & (p <= 1)).all()
    if classes == 3:
        assert p.sum(axis=1) == pytest.approx(1.0, abs=1e-6)
    assert np.array_equal(p, answers(call(fit, train, {}, 3), train.X, task, tuple(range(classes))))
    if not is_baseline(fit):
        right = (p > 0.5) == train.y if classes == 2 else p.argmax(axis=1) == train.y
        assert right.mean() > 0.8


@pytest.mark.parametrize("fit", named("regression"))
def test_a_regressor_gives_numbers_and_the_same_ones_again(fit):
    train = rows(lambda X: 100 + 10 * X[:, 1] + X[:, 2])
    told = answers(call(fit, train, {}, 3), train.X, "regression")
    assert np.array_equal(told, answers(call(fit, train, {}, 3), train.X, "regression"))
    if not is_baseline(fit):
        assert np.corrcoef(told, train.y)[0, 1] > 0.8
    else:
        constant = np.median(train.y) if fit_name(fit) == "median_value" else train.y.mean()
        assert told == pytest.approx(np.full(240, constant))


@pytest.mark.parametrize("fit", named("clustering"))
def test_a_clustering_says_of_new_rows_where_they_belong(fit):
    train, new = rows(), rows(seed=1)
    labels = np.asarray(call(fit, train, {}, 3).predict(new.X))
    assert labels.shape == (240,)
    assert np.array_equal(labels, np.asarray(call(fit, train, {}, 3).predict(new.X)))


def test_k_means_finds_two_clusters_that_are_there():
    model = call(candidates("clustering", include=["k_means"])[0], rows(), {"clusters": 2}, 0)
    labels = model.predict(rows(seed=1).X)
    truth = np.arange(240) % 2
    assert max((labels == truth).mean(), (labels != truth).mean()) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_baselines_come_first_and_names_are_different(kind):
    fits = candidates(kind)
    baselines = [is_baseline(fit) for fit in fits]
    assert baselines == sorted(baselines, reverse=True)
    assert sum(baselines) == len(BASELINES[kind])
    assert len({fit_name(fit) for fit in fits}) == len(fits)
    assert kind_of(fits) == kind


@pytest.mark.parametrize("fit", [each for kind in KINDS for each in named(kind)])
def test_every_range_holds_its_default_so_that_it_can_be_tuned(fit):
    check_params(fit, defaults_of(fit))
    if fit_name(fit) not in ("linear",) and not is_baseline(fit):
        assert ranges_of(fit)


def test_the_extremes_of_every_range_of_the_classifiers_fit():
    train = rows(lambda X: (X[:, 1] > 0).astype(float), n=120)
    for fit in candidates("classification", include=["logistic", "nearest", "support_vectors", "tree"]):
        for end in ("low", "high"):
            given = {name: getattr(each, end) for name, each in ranges_of(fit).items() if hasattr(each, end)}
            assert answers(call(fit, train, given, 0), train.X).shape == (120,)


def test_candidates_go_into_a_tuning_with_ones_own(ws, flights, train, valid):
    from tidemill.core import recipe as recipes

    def mine(train: Matrix):
        from sklearn.naive_bayes import GaussianNB

        return GaussianNB().fit(train.X, train.y)

    fits = [*candidates("classification", include=["class_shares", "logistic", "tree"]), mine]
    recipe = recipes.recipe(recipes.fill("distance"), recipes.one_hot("carrier"))
    best = tune(
        ws, fits, train, valid, recipe,
        target="late", key="id", time="at", trials=6, inputs=(flights,), plan_digest="p",
    )  # fmt: skip
    assert best.metrics["auc"] > best.baseline["auc"]


def test_names_are_chosen_left_out_and_looked_up():
    assert [fit_name(fit) for fit in candidates("forecast", include=["drift", "last_value"])] == ["drift", "last_value"]
    assert "forest" not in {fit_name(fit) for fit in candidates("classification", exclude=["forest"])}
    with pytest.raises(BadInput, match=r"no candidate 'forrest' for classification; .* Did you mean 'forest'\?"):
        candidates("classification", exclude=["forrest"])
    with pytest.raises(BadInput, match=r"no candidates for 'regresion'; known are .* Did you mean 'regression'\?"):
        candidates("regresion")
    with pytest.raises(BadInput, match="no candidates for clustering are left"):
        candidates("clustering", include=["dbscan"], exclude=["dbscan"])
    with pytest.raises(BadInput, match="of two kinds, forest for classification and ridge for regression"):
        kind_of([*candidates("classification", include=["forest"]), *candidates("regression", include=["ridge"])])


def test_what_is_not_installed_is_left_out_unless_it_is_asked_for():
    code = (
        "import sys, importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name in ('lightgbm', 'xgboost') else real(name, *more)\n"
        "from tidemill.train.selecting.candidates import candidates\n"
        "from tidemill.core.errors import MissingExtra\n"
        "names = [fit.__name__ for fit in candidates('regression')]\n"
        "print([name for name in names if 'boost' in name or 'gbm' in name])\n"
        "try: candidates('regression', include=['lightgbm_regressor'])\n"
        "except MissingExtra as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out == [
        "['regression_boosting']",
        "candidate 'lightgbm_regressor' needs lightgbm: pip install 'tidemill[boosting]'",
    ]


def test_a_booster_that_cannot_be_imported_says_which_extra_it_needs(monkeypatch):
    (fit,) = candidates("regression", include=["xgboost_regressor"])
    monkeypatch.setitem(sys.modules, "xgboost", None)  # as Python says that it is not there
    with pytest.raises(MissingExtra, match=r"XGBRegressor needs xgboost: pip install 'tidemill\[boosting\]'"):
        fit(rows(lambda X: X[:, 1]))
