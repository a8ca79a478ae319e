"""Our ONNX exporter against scikit-learn itself: every estimator, missing values, thresholds hit exactly."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tidemill.core.errors import BadInput
from tidemill.serve.formats.onnx import OnnxFormat
from tidemill.testing.formats import ModelFormatSuite

ROWS, WIDTH = 1_200, 5


def _data(*, missing):
    random = np.random.default_rng(7)
    matrix = random.normal(size=(ROWS, WIDTH))
    matrix[:, 1] = matrix[:, 1] * 1e-4 + 1_000_000.1  # neighbours in float64 that are one in float32
    matrix[:, 2] = random.integers(0, 4, ROWS)
    target = (matrix[:, 0] + 0.3 * matrix[:, 2] + random.normal(size=ROWS) > 0.5).astype(float)
    if missing:
        matrix[random.random(matrix.shape) < 0.2] = np.nan
    return matrix, target


ESTIMATORS = {
    "logistic": (LogisticRegression(solver="liblinear"), False),
    "scaled logistic": (make_pipeline(StandardScaler(), LogisticRegression(C=0.1)), False),
    "histogram boosting": (HistGradientBoostingClassifier(max_iter=40), False),
    "histogram boosting, missing values": (HistGradientBoostingClassifier(max_iter=40), True),
    "histogram boosting of single leaves": (HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=ROWS), True),
    "random forest": (RandomForestClassifier(20, random_state=0), False),
    "random forest, missing values": (RandomForestClassifier(20, random_state=0), True),
    "weighted forest": (RandomForestClassifier(20, random_state=0, class_weight="balanced_subsample"), False),
    "extra trees": (ExtraTreesClassifier(20, min_samples_leaf=5, random_state=0), False),
    "extra trees, missing values": (ExtraTreesClassifier(20, random_state=0), True),
    "tree": (DecisionTreeClassifier(random_state=0), True),
    "boosting": (GradientBoostingClassifier(n_estimators=20, random_state=0), False),
    "exponential boosting": (GradientBoostingClassifier(n_estimators=20, loss="exponential", random_state=0), False),
    "prior": (DummyClassifier(strategy="prior"), True),
    "linear": (LinearRegression(), False),
    "ridge": (Ridge(), False),
    "forest regression": (RandomForestRegressor(10, random_state=0), False),
    "extra trees regression": (ExtraTreesRegressor(10, random_state=0), True),
    "tree regression": (DecisionTreeRegressor(random_state=0), False),
    "boosting regression": (GradientBoostingRegressor(n_estimators=20, random_state=0), False),
    "histogram regression": (HistGradientBoostingRegressor(max_iter=20), True),
    "poisson regression": (HistGradientBoostingRegressor(max_iter=20, loss="poisson"), True),
}


def _scores(estimator, matrix):
    return estimator.predict_proba(matrix)[:, 1] if hasattr(estimator, "classes_") else estimator.predict(matrix)


@pytest.fixture
def form():
    return OnnxFormat()


@pytest.fixture(params=sorted(ESTIMATORS), scope="module")
def fitted(request):
    estimator, missing = ESTIMATORS[request.param]
    matrix, target = _data(missing=missing)
    estimator.fit(matrix, target)
    return estimator, matrix, _scores(estimator, matrix)


class TestOnnx(ModelFormatSuite):
    pass


def _thresholds(estimator):
    """Each feature's thresholds and their nearest float64 and float32 neighbours, as rows of a matrix."""
    if hasattr(estimator, "_predictors"):
        pairs = [
            (int(node["feature_idx"]), float(node["num_threshold"]))
            for stage in estimator._predictors
            for node in stage[0].nodes
            if not node["is_leaf"]
        ]
    else:
        pairs = [
            (int(feature), float(threshold))
            for tree in estimator.estimators_
            for feature, threshold in zip(tree.tree_.feature, tree.tree_.threshold, strict=True)
            if feature >= 0
        ]
    matrix, _ = _data(missing=False)
    rows = []
    for place, (feature, threshold) in enumerate(pairs[:500]):
        near32 = np.float32(threshold)
        for value in (
            threshold,
            np.nextafter(threshold, np.inf),
            np.nextafter(threshold, -np.inf),
            float(near32),
            float(np.nextafter(near32, np.float32(np.inf))),
            float(np.nextafter(near32, np.float32(-np.inf))),
        ):
            row = matrix[place % len(matrix)].copy()
            row[feature] = value
            rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("name", ["histogram boosting", "random forest", "extra trees"])
def test_a_value_at_a_threshold_takes_the_branch_it_took_in_scikit_learn(name):
    estimator, _ = ESTIMATORS[name]
    matrix, target = _data(missing=False)
    estimator.fit(matrix, target)
    edges = _thresholds(estimator)
    found = OnnxFormat().load(OnnxFormat().export(estimator, WIDTH))(edges)
    np.testing.assert_allclose(found, _scores(estimator, edges), rtol=0, atol=1e-12)


def test_infinite_and_all_missing_rows_score_as_in_scikit_learn():
    estimator = HistGradientBoostingClassifier(max_iter=30)
    matrix, target = _data(missing=True)
    estimator.fit(matrix, target)
    extremes = np.array([[np.nan] * WIDTH, [np.inf] * WIDTH, [-np.inf] * WIDTH, [0.0] * WIDTH, [1e308] * WIDTH])
    found = OnnxFormat().load(OnnxFormat().export(estimator, WIDTH))(extremes)
    np.testing.assert_allclose(found, _scores(estimator, extremes), rtol=0, atol=1e-12)


def test_three_classes_cannot_be_exported():
    matrix, target = _data(missing=False)
    estimator = DecisionTreeClassifier().fit(matrix, target + (matrix[:, 2] > 2))
    with pytest.raises(BadInput, match="knows 3 classes"):
        OnnxFormat().export(estimator, WIDTH)


def test_categorical_splits_cannot_be_exported():
    matrix, target = _data(missing=False)
    estimator = HistGradientBoostingClassifier(max_iter=3, categorical_features=[2]).fit(matrix, target)
    with pytest.raises(BadInput, match="categorical_features cannot be exported"):
        OnnxFormat().export(estimator, WIDTH)


def test_an_estimator_that_is_not_known_is_named_with_those_that_are():
    matrix, target = _data(missing=False)
    with pytest.raises(BadInput) as caught:
        OnnxFormat().export(KNeighborsClassifier().fit(matrix, target), WIDTH)
    assert str(caught.value).startswith("cannot export sklearn.KNeighborsClassifier to ONNX; what can be exported: ")
    assert "HistGradientBoostingClassifier" in str(caught.value)


def test_an_estimator_that_is_not_fitted_is_named():
    with pytest.raises(BadInput, match="LogisticRegression is not fitted"):
        OnnxFormat().export(LogisticRegression(), WIDTH)
