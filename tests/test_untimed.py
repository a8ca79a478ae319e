"""Rows without an event time: fitted, tuned, judged and registered; only what goes back in time refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import pytest

import tidemill as tm
from tidemill.core.errors import BadInput
from tidemill.core.ids import iso

RECIPE = tm.recipe(tm.scale("km"), tm.one_hot("town"))


def logistic(train: tm.Matrix, strength: Annotated[float, tm.log(0.01, 10)] = 1.0) -> object:
    from sklearn.linear_model import LogisticRegression

    assert (train.times == 0).all()
    return LogisticRegression(C=strength).fit(train.X, train.y)


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[tm.Project]:
    dice = np.random.default_rng(5)
    km, town = dice.normal(10, 3, 600), dice.choice(["north", "south"], 600)
    frame = pl.DataFrame(
        {
            "trip": [f"t{row}" for row in range(600)],
            "rider": [f"r{row // 4}" for row in range(600)],
            "km": km,
            "town": town,
            "late": (km + dice.normal(0, 2, 600) > 11).astype(int),
        }
    )
    with tm.open(tmp_path / "w.mill") as opened:
        opened.add("trips", frame, key="trip")
        yield opened


@pytest.mark.parametrize("how", [{}, {"group": "rider"}, {"stratify": "late"}])
def test_rows_without_a_time_go_all_the_way_to_a_deployable_model(mill: tm.Project, how: dict[str, str]) -> None:
    train, valid, test = mill.dataset("trips").split(shares=[0.6, 0.2, 0.2], **how)  # type: ignore[arg-type]
    best = mill.tune(logistic, train, RECIPE, on=valid, target="late", trials=3)
    assert best.time is None
    assert best.metrics["auc"] > 0.8
    assert best.data_time == iso(mill.dataset("trips").base.artifact.created_at)
    fitted = mill.fit(logistic, train, RECIPE, target="late")
    model = mill.register(fitted, "lateness", on=test)
    assert mill.register(mill.fit(logistic, train, RECIPE, target="late"), "lateness", on=test) == model
    assert model.artifact.meta["test_from"] == best.data_time
    found = mill.evaluate(model, on=test, cluster="rider")
    assert found.report["rows"] == test.frame().height
    registered = mill.register(best, "lateness", on=test)
    assert mill.compare(model, registered, on=test).paired.rows == test.frame().height


def test_a_fit_without_a_time_is_found_again(mill: tm.Project) -> None:
    train, _ = mill.dataset("trips").split(shares=[0.6, 0.4])
    first = mill.fit(logistic, train, RECIPE, target="late")
    assert mill.fit(logistic, train, RECIPE, target="late").run == first.run
    other, _ = mill.dataset("trips").split(shares=[0.6, 0.4], seed=1)
    assert mill.fit(logistic, other, RECIPE, target="late").run != first.run


def test_suspicious_labels_are_asked_about_without_a_time(mill: tm.Project) -> None:
    from tidemill.improve.reviewing import ask_for_review

    assert ask_for_review(mill.ws, "odd", mill.dataset("trips"), logistic, RECIPE, target="late", params={}) > 0


def test_only_what_goes_back_in_time_refuses_them(mill: tm.Project) -> None:
    rows = mill.dataset("trips")
    mill.add("towns", pl.DataFrame({"id": [1], "town": ["north"], "people": [9]}), key="id")
    with pytest.raises(BadInput, match=r"dataset 'trips' has no event time; add it with event_time= to look back"):
        rows.as_of(mill.dataset("towns"), by="town")
    with pytest.raises(BadInput, match="has no event time to filter by"):
        rows.split(time=["2026-01-01"])
    with pytest.raises(BadInput, match="a forecast needs rows with an event time"):
        mill.leaderboard(tm.candidates("forecast"), rows, RECIPE, on=rows, target="km")
