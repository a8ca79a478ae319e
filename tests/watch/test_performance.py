"""Scores by day and month against scikit-learn, and the fall of an AUC against Hanley and McNeil's table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from logged import DAY, START
from sklearn import metrics

from tidemill.core.errors import BadInput
from tidemill.core.workspace import Workspace
from tidemill.watch import log, performance, truth

Answer = Callable[..., list[str]]


def test_days_and_months_are_scored_as_scikit_learn_scores_them(ws: Workspace, answer: Answer) -> None:
    draw = np.random.default_rng(3)
    count = 400
    at = [datetime(2026, 1, 31, tzinfo=UTC) + timedelta(minutes=7 * n) for n in range(count)]
    p = draw.uniform(0.01, 0.99, count)
    y = (draw.uniform(size=count) < p).astype(float)
    keys = [f"k{n}" for n in range(count)]
    answer(keys, at, score=p)
    log.compact(ws, "d")
    known = [moment + DAY for moment in at]
    truth.add_truth(ws, "d", pl.DataFrame({"row_key": keys, "value": y, "known_time": known}))
    days = performance.daily(ws, "d")
    assert [line["period"] for line in days] == ["2026-01-31", "2026-02-01"]
    months = performance.monthly(ws, "d")
    assert [(line["period"], line["n"]) for line in months] == [("2026-01", days[0]["n"]), ("2026-02", days[1]["n"])]
    first = np.array([moment.month == 1 for moment in at])
    assert months[0]["auc"] == pytest.approx(metrics.roc_auc_score(y[first], p[first]), abs=1e-12)
    assert months[0]["log_loss"] == pytest.approx(metrics.log_loss(y[first], p[first]), abs=1e-12)
    assert months[1]["brier"] == pytest.approx(metrics.brier_score_loss(y[~first], p[~first]), abs=1e-12)
    assert months[1]["observed"] == pytest.approx(y[~first].mean())


def test_a_period_of_one_class_has_no_auc_and_a_shift_moves_midnight() -> None:
    frame = pl.DataFrame({"at": [START, START + timedelta(hours=6)], "score": [0.2, 0.4], "value": [1.0, 1.0]})
    (line,) = performance.by_period(frame, "1d")
    assert line["auc"] is None
    shifted = performance.by_period(frame, "1d", shift=timedelta(hours=-5))
    assert [each["period"] for each in shifted] == ["2025-12-31", "2026-01-01"]


def test_an_unknown_period_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"period '1h' is not known; allowed are '1d', '1w' and '1mo'"):
        performance.by_period(pl.DataFrame({"at": [START], "score": [0.1], "value": [1.0]}), "1h")


def test_the_error_of_an_auc_is_that_of_hanley_and_mcneil_1982() -> None:
    # their section "Standard error": area 0.893 with 51 abnormal and 58 normal images has standard error 0.032
    assert performance.auc_error(0.893, 51, 58) == pytest.approx(0.032, abs=0.0006)


def test_a_fall_is_found_and_its_error_agrees_with_a_bootstrap() -> None:
    draw = np.random.default_rng(5)
    y = draw.integers(0, 2, 3000).astype(float)
    p = 1 / (1 + np.exp(-(1.0 * y + draw.normal(size=3000))))
    found = performance.fallen(y, p, 0.85)
    areas = []
    for _ in range(200):
        rows = draw.integers(0, 3000, 3000)
        areas.append(metrics.roc_auc_score(y[rows], p[rows]))
    assert found["error"] == pytest.approx(np.std(areas), rel=0.2)
    assert found["p"] < 1e-6
    assert found["drop"] == pytest.approx(0.85 - metrics.roc_auc_score(y, p), abs=1e-12)


def test_one_class_says_nothing_about_a_fall() -> None:
    assert performance.fallen([1.0, 1.0], [0.2, 0.3], 0.9)["p"] == 1.0
