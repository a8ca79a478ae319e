"""Candidates for tests of leaderboards: at the top of a module, so that worker processes find them."""

import os
import time
from pathlib import Path

from sklearn.linear_model import LogisticRegression

from tidemill.core.types import Matrix

CALLS: list[str] = []


def plain(train: Matrix, strength: float = 1.0):
    CALLS.append("plain")
    return LogisticRegression(C=strength).fit(train.X, train.y)


def nearly_plain(train: Matrix):
    CALLS.append("nearly_plain")
    return LogisticRegression(C=0.9).fit(train.X, train.y)


def breaks(train: Matrix):
    CALLS.append("breaks")
    raise RuntimeError("no luck\nwith more lines")


def silent(train: Matrix):
    return object()


def dies(train: Matrix):
    os._exit(7)


def sleeps(train: Matrix):
    time.sleep(60)


def marks(train: Matrix):
    """Says that it began, and takes its time: to be killed in the middle."""
    Path(os.environ["MARK"]).touch()
    time.sleep(float(os.environ.get("NAP", "0")))
    return LogisticRegression(C=0.5).fit(train.X, train.y)


class Pickleless(LogisticRegression):
    def __reduce_ex__(self, protocol):
        raise TypeError("stays here")


def unsendable(train: Matrix):
    return Pickleless().fit(train.X, train.y)
