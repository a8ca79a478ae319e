"""Fit functions as a user would write them."""

from typing import Annotated

from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from tidemill.core.types import Matrix
from tidemill.train.ranges import choice, floats, ints, log

CALLS: list[str] = []  # one entry a call, to see what a resumed search does not do again


def logistic(train: Matrix, c: Annotated[float, log(1e-3, 1e2)] = 1.0) -> LogisticRegression:
    CALLS.append("logistic")
    return LogisticRegression(C=c).fit(train.X, train.y)


def forest(
    train: Matrix,
    trees: Annotated[int, ints(3, 12)] = 5,
    share: Annotated[float, floats(0.3, 1.0)] = 0.9,
    criterion: Annotated[str, choice("gini", "entropy")] = "gini",
) -> RandomForestClassifier:
    """Without random_state: only the global generator makes it repeatable."""
    CALLS.append("forest")
    return RandomForestClassifier(trees, max_features=share, criterion=criterion, n_jobs=1).fit(train.X, train.y)


def boosted(train: Matrix, seed: int, rate: Annotated[float, log(1e-2, 0.3)] = 0.1) -> HistGradientBoostingClassifier:
    CALLS.append("boosted")
    made = HistGradientBoostingClassifier(learning_rate=rate, max_iter=10, random_state=seed)
    return made.fit(train.X, train.y)


def breaks_sometimes(train: Matrix, c: Annotated[float, floats(0.0, 2.0)] = 1.0) -> LogisticRegression:
    if c != 1.0:
        raise RuntimeError(f"c is {c}")
    return LogisticRegression(C=c).fit(train.X, train.y)


def always_breaks(train: Matrix, c: Annotated[float, floats(0.0, 2.0)] = 1.0) -> LogisticRegression:
    raise RuntimeError("no luck")


def regression(train: Matrix) -> LinearRegression:
    return LinearRegression().fit(train.X, train.y)
