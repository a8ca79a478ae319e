"""Confident learning on labels flipped on purpose."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.prepare.suspects import suspects


def test_flipped_labels_are_among_the_suspects():
    dice = np.random.default_rng(0)
    n = 2000
    truth = dice.integers(0, 2, n)
    X = dice.normal(size=(n, 3)) + 1.6 * truth[:, None]
    flipped = dice.choice(n, 100, replace=False)
    y = truth.copy()
    y[flipped] = 1 - y[flipped]
    p = cross_val_predict(LogisticRegression(), X, y, cv=5, method="predict_proba")[:, 1]
    found = suspects(y, p, at_most=100)
    right = sum(each.index in set(flipped.tolist()) for each in found)
    # The best that anyone could do: rank by the true posterior of this simulation. Chance would find 5.
    posterior = 1 / (1 + np.exp(-(1.6 * X.sum(axis=1) - 3 * 1.6**2 / 2)))
    best = np.argsort(np.where(y == 1, posterior, 1 - posterior))[:100]
    assert right >= len(set(best.tolist()) & set(flipped.tolist())) - 5
    assert all(each.given == y[each.index] and each.suggested == 1 - each.given for each in found)


def test_the_surest_come_first_and_no_more_than_asked():
    y = [0] * 10 + [1] * 10
    p = [0.1] * 8 + [0.99, 0.9] + [0.9] * 8 + [0.02, 0.9]
    assert [each.index for each in suspects(y, p)] == [8, 18, 9]
    assert [each.index for each in suspects(y, p, at_most=1)] == [8]


def test_clean_labels_give_no_suspects():
    assert suspects([0, 0, 1, 1], [0.1, 0.1, 0.9, 0.9]) == []


def test_one_class_and_no_probabilities_are_refused():
    with pytest.raises(NotEnoughRows, match="no row is labelled 1"):
        suspects([0, 0], [0.1, 0.2])
    with pytest.raises(BadInput, match=r"p ranges from 0\.1 to 2"):
        suspects([0, 1], [0.1, 2.0])
