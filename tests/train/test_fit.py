"""One fit as a recorded run."""

import random

import numpy as np
import polars as pl
import pytest
import user_fits as fits

from tidemill.core import recipe as recipes
from tidemill.core.errors import BadInput, NotEnoughRows, UnknownColumn
from tidemill.core.ids import parse_time
from tidemill.core.scores import auc
from tidemill.core.types import Query
from tidemill.train.fit import fit_model, predict
from tidemill.train.rowids import holds_row, row_keys

RECIPE = recipes.recipe(recipes.fill("distance"), recipes.scale("distance"), recipes.one_hot("carrier"))


@pytest.fixture
def fitted(ws, flights):
    def call(frame, fit=fits.logistic, **options):
        given = {
            "target": "late", "key": "id", "time": "at", "params": {}, "inputs": (flights,), "plan_digest": "p",
        } | options  # fmt: skip
        return fit_model(ws, fit, frame, RECIPE, **given)

    return call


def test_a_fit_predicts_better_than_chance(fitted, train, valid):
    p = predict(fitted(train), valid)
    assert p.shape == (400,)
    assert auc(valid["late"].cast(float), p) > 0.75


def test_a_fit_traces_to_its_dataset_code_and_row_ids(ws, flights, fitted, train):
    made = fitted(train)
    run = ws.graph.get(made.run)
    assert (run.kind, run.name, run.status) == ("train.fit", "logistic", "done")
    assert "LogisticRegression(C=c)" in ws.store.get(run.code).decode()
    assert row_keys(ws, made.rows) == train["id"].to_list()
    assert holds_row(ws, made.rows, "1-7")
    assert not holds_row(ws, made.rows, "2-7")
    assert flights.id in {each.id for each in made.recipe_artifact.trace().artifacts}
    assert {each.kind for each in flights.impact().artifacts} >= {"recipe", "profile", "rows"}


def test_data_time_is_the_clock_or_else_the_last_row(ws, flights, fitted, train):
    assert fitted(train).data_time == "2013-01-25T23:00:00.000000Z"
    made = fit_model(
        ws.at(parse_time("2013-04-01")), fits.logistic, train, RECIPE, target="late", key="id", time="at",
        params={"c": 2.0}, inputs=(flights,), plan_digest="p",
    )  # fmt: skip
    assert made.data_time == "2013-04-01T00:00:00.000000Z"


def test_the_same_fit_again_shares_its_run_and_gives_the_same_model(ws, fitted, train, valid):
    for fit in (fits.forest, fits.boosted):
        one, two = fitted(train, fit), fitted(train, fit)
        assert one.run == two.run
        assert np.array_equal(predict(one, valid), predict(two, valid))
    assert len(ws.graph.find(Query("run", kind="train.fit"))) == 2


def test_other_rows_parameters_seeds_and_code_are_other_runs(fitted, train):
    runs = {
        fitted(train).run,
        fitted(train, plan_digest="q").run,
        fitted(train, params={"c": 3.0}).run,
        fitted(train, seed=1).run,
        fitted(train, code=lambda fit: ("changed", "text")).run,
        fitted(train.head(500)).run,
    }
    assert len(runs) == 6


def test_the_global_generators_are_as_they_were(fitted, train):
    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist()
    fitted(train, fits.forest)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_the_recipe_learns_from_the_training_rows(fitted, train, valid):
    made = fitted(train)
    assert made.names == recipes.feature_names(made.recipe)
    shifted = valid.with_columns(pl.col("distance") + 5000)
    assert recipes.batch(made.recipe, shifted)[:, 0].mean() > 10  # scaled by the training rows' mean, not its own


def test_what_cannot_be_fitted_is_refused(ws, fitted, train):
    with pytest.raises(BadInput, match=r"logistic\(\) has no parameter 'd'"):
        fitted(train, params={"d": 1})
    with pytest.raises(NotEnoughRows, match="target 'late' is 0 in all 600 training rows; a classifier needs both"):
        fitted(train.with_columns(late=False))
    with pytest.raises(BadInput, match="target 'late' holds 7; allowed are 0 and 1"):
        fitted(train.with_columns(late=pl.when(pl.col("late")).then(7).otherwise(0)))
    with pytest.raises(UnknownColumn, match="no column 'lat' in the training rows"):
        fitted(train, target="lat")
    assert ws.graph.find(Query("run", kind="train.*")) == []


def test_an_estimator_without_probabilities_is_refused(fitted, train):
    with pytest.raises(BadInput, match="LinearRegression has no predict_proba; return a fitted classifier"):
        predict(fitted(train, fits.regression), train)


def test_a_failed_fit_is_recorded_with_its_error(ws, fitted, train):
    with pytest.raises(RuntimeError, match="no luck"):
        fitted(train, fits.always_breaks)
    (run,) = ws.graph.find(Query("run", kind="train.fit"))
    assert (run.status, run.error) == ("failed", "RuntimeError: no luck")
