"""`tidemill model evaluate`, `evaluation` and `compare`: what is printed, and what the exit code says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import tidemill as tm

START = datetime(2026, 1, 1, tzinfo=UTC)


def logistic(train: tm.Matrix) -> Any:  # Any: an estimator
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(train.X, train.y)


@pytest.fixture
def rides(workspace: Path) -> None:
    """Two models of one target: "blind" does not see what decides it, "seeing" does."""
    dice = np.random.default_rng(7)
    km = dice.uniform(0, 20, 900)
    frame = pl.DataFrame(
        {
            "ride": [f"r{place}" for place in range(900)],
            "at": [START + timedelta(hours=place) for place in range(900)],
            "km": km,
            "rain": dice.normal(size=900),
            "town": dice.choice(["Brest", "Bari"], 900),
            "late": (km + dice.normal(0, 3, 900) > 10).astype(int),
        }
    )
    with tm.open(workspace) as mill:
        mill.add("rides", frame, key="ride", event_time="at", known_time="at")
        train, test = mill.dataset("rides").split(time=["2026-01-15"])
        for name, columns in (("blind", ["rain"]), ("seeing", ["km", "rain"])):
            mill.register(mill.fit(logistic, train, tm.recipe(tm.scale(*columns)), target="late"), name, on=test)


@pytest.mark.usefixtures("rides")
def test_a_model_is_evaluated_and_its_evaluation_shown(shell: Callable[..., Any]) -> None:
    before = shell("model", "evaluation", "seeing")
    assert before.code == 1
    assert "`tidemill model evaluate seeing@1 --on DATASET` does it" in before.err
    asked = [
        "--on",
        "rides",
        "--since",
        "2026-01-15",
        "--slice",
        "town",
        "--group",
        "town",
        "--cost",
        "false_negative=4",
    ]
    ran = shell("model", "evaluate", "seeing", *asked)
    assert ran.code == 0, ran.err
    assert "fairness by town" in ran.out
    assert "cheapest threshold: 0." in ran.out
    assert "next: tidemill" in ran.err
    found = shell("model", "evaluation", "seeing@1", "--json").json
    report = found["report"]
    assert report["rows"] == 900 - 14 * 24
    assert report["scores"]["auc"]["low"] > 0.9
    assert [each["name"] for each in report["importances"]["columns"]] == ["km", "rain"]
    assert shell("model", "evaluation", "seeing").out == ran.out


@pytest.mark.usefixtures("rides")
def test_a_comparison_says_by_its_exit_code_whether_the_other_is_better(shell: Callable[..., Any]) -> None:
    rows = ["--on", "rides@1", "--since", "2026-01-15"]
    ran = shell("model", "compare", "blind", "seeing", *rows)
    assert ran.code == 0
    assert "seeing is better" in ran.out
    other = shell("model", "compare", "seeing", "blind", *rows, "--score", "auc", "--json")
    assert other.code == 1
    assert other.json["worse"] is True
    assert other.json["difference"] < -0.2
    same = shell("model", "compare", "seeing", "seeing@1", *rows)
    assert (same.code, "not distinguishable" in same.out) == (1, True)


@pytest.mark.usefixtures("rides")
def test_what_is_asked_wrongly_is_said(shell: Callable[..., Any]) -> None:
    ran = shell("model", "evaluate", "seeing", "--on", "rides", "--cost", "false_negative")
    assert (ran.code, "write it as false_negative=8" in ran.err) == (2, True)
    ran = shell("model", "evaluate", "seeing", "--on", "rides", "--group", "twon")
    assert (ran.code, "Did you mean 'town'?" in ran.err) == (2, True)
