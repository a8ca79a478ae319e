"""Selection from the project's handle: candidates, splits, a leaderboard, and the chosen one registered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tidemill as tm
from tidemill.core.errors import Refused
from tidemill.serve.formats.onnx import OnnxFormat
from tidemill.train.fit import answers, predict
from tidemill.train.ranges import Fit, fit_name

START = datetime(2026, 1, 1, tzinfo=UTC)
RECIPE = tm.recipe(tm.keep("km"), tm.one_hot("town"))


def trips(n: int = 900, first: int = 0) -> pl.DataFrame:
    dice = np.random.default_rng(first)
    km, town = dice.normal(10, 3, n), dice.choice(["north", "south"], n)
    late = (km + np.where(town == "north", 2.0, 0.0) + dice.normal(0, 2, n) > 11).astype(int)
    km[dice.random(n) < 0.05] = np.nan
    return pl.DataFrame(
        {
            "trip": [f"t{first + row}" for row in range(n)],
            "at": [START + timedelta(hours=first + row) for row in range(n)],
            "km": km,
            "town": town,
            "rider": [f"r{(first + row) // 5}" for row in range(n)],
            "late": late,
        }
    )


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[tm.Project]:
    with tm.open(tmp_path / "w.mill") as opened:
        opened.add("trips", trips(), key="trip", event_time="at", known_time="at")
        yield opened


def mine(train: tm.Matrix) -> object:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(train.X, train.y)


def test_from_candidates_to_a_registered_model(mill: tm.Project) -> None:
    train, valid, test = mill.dataset("trips").split(time=["2026-01-25", "2026-01-31"], gap=timedelta(hours=6))
    fits = [*tm.candidates("classification", include=["logistic", "tree", "class_shares"]), mine]
    board = mill.leaderboard(fits, train, RECIPE, on=valid, target="late", groups="rider")
    assert board.best.standing is not None
    assert board.line("class_shares").rank == 4
    assert (board.name, board.units) == ("trips", valid.frame()["rider"].n_unique())
    assert mill.leaderboard.names() == ["trips"]
    assert mill.leaderboard.read("trips") == board
    assert mill.leaderboard.looks(valid, target="late").times == 1
    assert mill.leaderboard.looks(test, target="late").times == 0

    chosen = next(fit for fit in fits if fit_name(fit) == "logistic")
    fitted = mill.fit(chosen, train, RECIPE, target="late")
    assert board.line("logistic").scores["auc"] == pytest.approx(auc(fitted, valid), abs=1e-12)
    model = mill.register(fitted, "lateness", on=test)
    assert model.version == 1
    assert mill.leaderboard.looks(test, target="late").times == 1


def auc(fitted: object, rows: tm.Rows) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(rows.frame()["late"], predict(fitted, rows.frame())))  # type: ignore[arg-type]


def test_a_leaderboard_runs_on_a_pool_by_its_address(mill: tm.Project) -> None:
    train, valid = mill.dataset("trips").split(shares=[0.7, 0.3], stratify="late")
    said: list[str] = []
    board = mill.leaderboard(
        tm.candidates("classification", include=["logistic", "tree"]),
        train,
        RECIPE,
        on=valid,
        target="late",
        engine="pool://2",
        progress=lambda done, total, text: said.append(text),
    )
    assert said == ["class_shares done", "logistic done", "tree done"]
    assert [line.error for line in board.lines] == ["", "", ""]


def test_leaks_are_asked_for_alone(mill: tm.Project) -> None:
    train, valid = mill.dataset("trips").split(shares=[0.7, 0.3])
    kinds = {finding.kind for finding in mill.leaderboard.leaks(train, valid, target="late", groups=["rider"])}
    assert kinds >= {"same group", "time"}
    train, valid = mill.dataset("trips").split(time=["2026-01-26"])
    alone = {finding.kind for finding in mill.leaderboard.leaks(train, valid, target="late", groups=["rider"])}
    assert alone <= {"same row", "near row"}  # of two columns alone, rows are alike by chance
    told = mill.leaderboard.leaks(train, valid, target="late", columns=["km", "late"])
    assert (told[0].kind, told[0].severity) == ("target", "error")


def test_a_purpose_that_is_not_allowed_is_refused(mill: tm.Project) -> None:
    mill.policies.allow("trips", "lateness", "contract")
    train, valid = mill.dataset("trips").split(time=["2026-01-25"])
    with pytest.raises(Refused, match="may not be used for 'training'"):
        mill.leaderboard(mine, train, RECIPE, on=valid, target="late")
    assert mill.leaderboard(mine, train, RECIPE, on=valid, target="late", purpose="lateness").best


def exportable(kind: str, *names: str) -> list[Fit]:
    return tm.candidates(kind, include=list(names))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fit",
    [
        *exportable("classification", "class_shares", "logistic", "tree", "forest", "extra_trees", "boosting"),
        *exportable("regression", "linear", "ridge", "lasso", "regression_forest", "regression_boosting"),
    ],
    ids=fit_name,
)
def test_what_can_be_exported_answers_as_before_also_where_values_are_missing(fit: Fit) -> None:
    frame = trips()
    X = np.ascontiguousarray(np.c_[frame["km"].to_numpy(), (frame["town"] == "north").to_numpy(), np.full(900, np.nan)])
    y = frame["late"].to_numpy().astype(float)
    train = tm.Matrix(X, y, ("km", "north", "never"), frame["trip"].to_numpy(), np.arange(900))
    model = fit(train)
    task = "binary" if hasattr(model, "predict_proba") else "regression"
    form = OnnxFormat()
    scored = form.load(form.export(model, 3))(X)
    assert np.asarray(scored).reshape(-1) == pytest.approx(answers(model, X, task), abs=1e-9)
