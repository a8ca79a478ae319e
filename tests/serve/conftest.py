"""A workspace with a small fitted model of raw rows that hold every kind of column, missing values too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from tidemill.core import recipe as recipes
from tidemill.core.workspace import open_workspace
from tidemill.serve import deploy as deploying
from tidemill.serve import packages, registry

ROWS = 600


def made_frame(rows=ROWS, seed=3):
    random = np.random.default_rng(seed)
    temp = np.round(random.normal(55, 18, rows), 2)
    return pl.DataFrame(
        {
            "id": [f"f{place}" for place in range(rows)],
            "temp": [None if place % 11 == 0 else float(value) for place, value in enumerate(temp)],
            "distance": random.integers(80, 5000, rows),
            "carrier": [None if place % 29 == 0 else ["AA", "B6", "DL", "UA"][place % 4] for place in range(rows)],
            "sched": [datetime(2013, 1, 1, 6, tzinfo=UTC) + timedelta(minutes=97 * place) for place in range(rows)],
            "late": (temp + random.normal(0, 10, rows) > 60).astype(int),
        }
    )


@pytest.fixture(scope="session")
def frame():
    return made_frame()


@pytest.fixture(scope="session")
def recipe(frame):
    steps = recipes.recipe(
        recipes.fill("temp"),
        recipes.scale("distance"),
        recipes.one_hot("carrier"),
        recipes.dates("sched", parts=("hour", "weekday")),
    )
    return recipes.fit(steps, frame)


@pytest.fixture(scope="session")
def estimators(frame, recipe):
    matrix, target = recipes.batch(recipe, frame), frame["late"].to_numpy()
    return (
        HistGradientBoostingClassifier(max_iter=20).fit(matrix, target),
        LogisticRegression(solver="liblinear").fit(matrix, target),
    )


@pytest.fixture
def ws(tmp_path):
    with_ws = open_workspace(tmp_path / "w.mill")
    yield with_ws
    with_ws.close()


@pytest.fixture
def package(ws, recipe, estimators, frame):
    return packages.build(ws, recipe=recipe, estimator=estimators[0], frame=frame, card="# Card", meta={"key": "id"})


@pytest.fixture
def model(ws, package):
    return registry.register(ws, "late", package=package, meta={"metrics": {"auc": 0.8}})


@pytest.fixture
def other_model(ws, recipe, estimators, frame):
    made = packages.build(ws, recipe=recipe, estimator=estimators[1], frame=frame, card="# Card", meta={"key": "id"})
    return registry.register(ws, "late", package=made, meta={"metrics": {"auc": 0.7}})


@pytest.fixture
def rows(frame):
    return [{**row, "sched": row["sched"].isoformat()} for row in frame.drop("late").head(40).to_dicts()]


@pytest.fixture
def served(ws, model):
    server = deploying.deploy(ws, model, name="late", lifetime="parent")
    yield server
    server.stop()
