"""Fit functions for searches: at the top level of a module, so that worker processes find them."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier

from tidemill.core.types import Matrix
from tidemill.train.ranges import choice, floats, given, ints, log


def linear(train: Matrix, c: Annotated[float, log(1e-3, 1e2)] = 1.0) -> LogisticRegression:
    return LogisticRegression(C=c).fit(train.X, train.y)


def ridge(train: Matrix, alpha: Annotated[float, log(1e-3, 1e3)] = 1.0) -> Ridge:
    return Ridge(alpha=alpha).fit(train.X, train.y)


def trees(train: Matrix, seed: int, depth: Annotated[int, ints(1, 4)] = 2) -> HistGradientBoostingRegressor:
    made = HistGradientBoostingRegressor(max_depth=depth, max_iter=10, random_state=seed)
    return made.fit(train.X, train.y)


def either(
    train: Matrix,
    penalty: Annotated[str, choice("strong", "none")] = "strong",
    c: Annotated[float, log(1e-3, 1e2), given(penalty="strong")] = 1.0,
) -> LogisticRegression:
    return LogisticRegression(C=c if penalty == "strong" else 1e6).fit(train.X, train.y)


class Fixed:
    """Says p = quality for positives of the first column and its complement for the others."""

    def __init__(self, quality: float) -> None:
        self.quality = quality

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        p = np.where(X[:, 0] > 0, self.quality, 1 - self.quality)
        return np.column_stack([1 - p, p])


def stepwise(train: Matrix, report, rate: Annotated[float, floats(0.0, 1.0)] = 0.9) -> LogisticRegression:
    """Better at each step, and the better the higher the rate: so the order of the trials is known."""
    for step in range(5):
        report(step, 0.5 + rate * (step + 1) / 10)
    return LogisticRegression(C=10 ** (3 * rate - 3)).fit(train.X, train.y)


def reporting_models(
    train: Matrix, report, seed: int, alpha: Annotated[float, log(1e-6, 1e-1)] = 1e-4
) -> SGDClassifier:
    model = SGDClassifier(loss="log_loss", alpha=alpha, random_state=seed)
    for step in range(3):
        model.partial_fit(train.X, train.y, classes=[0, 1])
        report(step, model)
    return model


def dies_once(train: Matrix, c: Annotated[float, log(1e-3, 1e2)] = 1.0) -> LogisticRegression:
    """Kills its worker the first time that it is called with other than its default."""
    mark = Path(os.environ["DIES_ONCE"])
    if c != 1.0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return LogisticRegression(C=c).fit(train.X, train.y)


def always_dies(train: Matrix, c: Annotated[float, log(1e-3, 1e2)] = 1.0) -> LogisticRegression:
    if c != 1.0:
        os.kill(os.getpid(), signal.SIGKILL)
    return LogisticRegression(C=c).fit(train.X, train.y)


def sleeps(train: Matrix, c: Annotated[float, log(1e-3, 1e2)] = 1.0) -> LogisticRegression:
    time.sleep(0.05)
    return LogisticRegression(C=c).fit(train.X, train.y)


def in_steps(train: Matrix, checkpoints, c: Annotated[float, log(1e-3, 1e2)] = 1.0) -> LogisticRegression:
    """Ten steps with a line a step in the file STEPS; a checkpoint after each."""
    before = checkpoints.newest()
    for step in range(0 if before is None else before.step, 10):
        with Path(os.environ["STEPS"]).open("a") as file:
            file.write(f"{c:.6g} {step}\n")
        time.sleep(0.02)
        checkpoints.save(step + 1, {"step": step + 1})
    return LogisticRegression(C=c).fit(train.X, train.y)
