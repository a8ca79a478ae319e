"""Candidates for classification, by scikit-learn: each returns a fitted classifier with `predict_proba`."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from tidemill.core.types import Matrix
from tidemill.train.ranges import choice, floats, ints, log
from tidemill.train.selecting.columns import scaled, whole

EXACT_ROWS = 4_000  # more rows cost an exact kernel their square: then it is approximated
NYSTROEM = 300  # kernel columns of that approximation


def logistic(train: Matrix, strength: Annotated[float, log(1e-4, 1e3)] = 1.0) -> object:
    """Logistic regression. strength: the inverse of the L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    return scaled(LogisticRegression(C=strength, max_iter=2_000)).fit(train.X, train.y)


def nearest(
    train: Matrix,
    neighbours: Annotated[int, ints(1, 200)] = 25,
    weights: Annotated[str, choice("uniform", "distance")] = "uniform",
) -> object:
    """Shares of the classes among the nearest rows."""
    from sklearn.neighbors import KNeighborsClassifier

    return scaled(KNeighborsClassifier(min(neighbours, len(train)), weights=weights)).fit(train.X, train.y)


def support_vectors(
    train: Matrix, strength: Annotated[float, log(1e-2, 1e2)] = 1.0, width: Annotated[float, log(1e-2, 1e2)] = 1.0
) -> object:
    """A support vector machine with a radial kernel, its margins made probabilities by a sigmoid over 3 folds.

    width: of the kernel, as a multiple of scikit-learn's "scale". Beyond 4,000 rows the kernel is approximated by
    Nystroem's method with 300 of them. Source: Platt, Probabilistic outputs for support vector machines, 1999.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.kernel_approximation import Nystroem
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC, LinearSVC

    gamma = 1 / (width * max(1, train.X.shape[1]))  # columns are scaled, so their variance is 1
    machine: Any  # one of two kinds of scikit-learn's, which has no types
    if len(train) <= EXACT_ROWS:
        machine = SVC(C=strength, gamma=gamma)
    else:
        kernel = Nystroem(gamma=gamma, n_components=NYSTROEM, random_state=0)
        machine = make_pipeline(kernel, LinearSVC(C=strength, dual=False, max_iter=5_000))
    rarest = int(np.unique(train.y, return_counts=True)[1].min())
    judged = CalibratedClassifierCV(machine, cv=max(2, min(3, rarest)), ensemble=False)
    return scaled(judged).fit(train.X, train.y)


def tree(
    train: Matrix, depth: Annotated[int, ints(1, 20)] = 6, leaf: Annotated[int, ints(1, 200)] = 20, seed: int = 0
) -> object:
    """One decision tree. leaf: the fewest rows of a leaf."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=depth, min_samples_leaf=leaf, random_state=seed).fit(train.X, train.y)


def forest(
    train: Matrix,
    trees: Annotated[int, ints(50, 500)] = 200,
    leaf: Annotated[int, ints(1, 50)] = 3,
    columns: Annotated[float, floats(0.1, 1.0)] = 0.4,
    seed: int = 0,
) -> object:
    """A random forest. columns: the share of them that a split chooses from."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, min_samples_leaf=leaf, max_features=columns, random_state=seed).fit(
        train.X, train.y
    )


def extra_trees(
    train: Matrix,
    trees: Annotated[int, ints(50, 500)] = 200,
    leaf: Annotated[int, ints(1, 50)] = 3,
    columns: Annotated[float, floats(0.1, 1.0)] = 0.4,
    seed: int = 0,
) -> object:
    """Trees with splits drawn by chance: quicker than a forest and smoother."""
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(trees, min_samples_leaf=leaf, max_features=columns, random_state=seed).fit(
        train.X, train.y
    )


def boosting(
    train: Matrix,
    rate: Annotated[float, log(0.01, 0.5)] = 0.1,
    leaves: Annotated[int, ints(4, 128)] = 31,
    rounds: Annotated[int, ints(20, 500)] = 100,
    penalty: Annotated[float, log(1e-3, 10)] = 1e-3,
    seed: int = 0,
) -> object:
    """Histogram gradient boosting. penalty: L2, on the leaves."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=rate,
        max_leaf_nodes=leaves,
        max_iter=rounds,
        l2_regularization=penalty,
        early_stopping=False,
        random_state=seed,
    )
    return whole(model, train.X).fit(train.X, train.y)
