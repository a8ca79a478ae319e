"""Out-of-fold probabilities."""

import numpy as np
import polars as pl
import pytest
import user_fits as fits
from sklearn.neighbors import KNeighborsClassifier

from tidemill.core import recipe as recipes
from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.scores import auc
from tidemill.train.folds import out_of_fold

RECIPE = recipes.recipe(recipes.fill("distance"), recipes.scale("distance"), recipes.one_hot("carrier"))
NAMES = {"target": "late", "key": "id", "time": "at", "params": {}}


def memorises(train):
    return KNeighborsClassifier(1).fit(train.X, train.y)


def test_no_row_is_scored_by_a_model_that_has_seen_it(train):
    noise = train.with_columns(late=pl.Series(np.random.default_rng(0).random(600) < 0.5))
    p = out_of_fold(memorises, noise, RECIPE, **NAMES)
    assert 0.4 < auc(noise["late"].cast(float), p) < 0.6  # one that had seen its rows would reach 1


def test_out_of_fold_probabilities_are_useful_and_repeatable(train):
    p = out_of_fold(fits.logistic, train, RECIPE, **NAMES)
    assert auc(train["late"].cast(float), p) > 0.75
    assert np.array_equal(p, out_of_fold(fits.logistic, train, RECIPE, **NAMES))


def test_too_few_rows_and_folds_are_refused(train):
    with pytest.raises(NotEnoughRows, match="4 rows for 5 folds; give at least 10"):
        out_of_fold(fits.logistic, train.head(4), RECIPE, **NAMES)
    with pytest.raises(BadInput, match="folds is 1; it must be 2 or more"):
        out_of_fold(fits.logistic, train, RECIPE, **NAMES, folds=1)
    with pytest.raises(NotEnoughRows, match="leaves one class only"):
        out_of_fold(fits.logistic, train.with_columns(late=pl.col("id") == "1-3"), RECIPE, **NAMES)
