"""A day under watch: what is told of latency, errors, drift, performance and missing truth, and told once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from logged import DAY, START

from tidemill.core import profile
from tidemill.core.types import Query
from tidemill.core.workspace import Workspace
from tidemill.watch import log, truth
from tidemill.watch.alerts import alerts
from tidemill.watch.monitor import DayReport, Monitor, Reference, check_day, reports

Answer = Callable[..., list[str]]
A_DAY = 300
MONITOR = Monitor("d", window_days=2, min_rows=200, performance_days=3, due_days=1, quiet_days=5)


def reference() -> Reference:
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({"x": draw.normal(size=5000), "kind": draw.choice(["a", "b"], 5000)})
    bins = profile.bins_of(frame)
    return bins, profile.count(bins, frame)


def score_reference() -> Reference:
    frame = pl.DataFrame({"score": np.random.default_rng(1).uniform(0.05, 0.95, 5000)})
    bins = profile.bins_of(frame)
    return bins, profile.count(bins, frame)


@pytest.fixture
def play(ws: Workspace, answer: Answer) -> Callable[..., DayReport]:
    """Logs one day of answers and truths and checks it."""

    def play(
        day: int, *, shift: float = 0.0, skill: bool = True, known: bool = True, bias: float = 0.0, **options: Any
    ) -> DayReport:
        draw = np.random.default_rng(100 + day)
        at = [START + day * DAY + timedelta(minutes=4 * n) for n in range(A_DAY)]
        keys = [f"{day}-{n}" for n in range(A_DAY)]
        features = [{"x": float(x) + shift, "kind": str(draw.choice(["a", "b"]))} for x in draw.normal(size=A_DAY)]
        score = draw.uniform(0.05, 0.95, A_DAY)
        chance = np.clip(score + bias, 0, 1) if skill else np.full(A_DAY, 0.5)
        value = (draw.uniform(size=A_DAY) < chance).astype(float)
        answer(keys, at, score=score, features=features, **options)
        here = ws.at(START + (day + 1) * DAY)
        log.compact(here, "d")
        if known:
            truth.add_truth(here, "d", pl.DataFrame({"row_key": keys, "value": value, "known_time": at}))
        first = START.date() + day * DAY
        return check_day(here, MONITOR, first, reference(), score_reference(), reference_auc=0.8, revision=1)

    return play


def test_quiet_days_raise_nothing_and_say_what_they_saw(ws: Workspace, play: Callable[..., DayReport]) -> None:
    found = [play(day) for day in range(3)][-1]
    assert alerts(ws) == []
    assert found.rows == A_DAY
    assert found.p95_ms == pytest.approx(2.0)
    assert found.error_share == 0.0
    assert {line["column"] for line in found.columns} == {"x", "kind"}
    assert found.drifted == []
    assert found.performance is not None
    assert found.performance["n"] == 3 * A_DAY
    assert found.performance["auc"] > 0.75
    assert found.missing_truth_share == 0.0


def test_a_drifted_input_is_told_once_until_it_was_quiet_long_enough(
    ws: Workspace, play: Callable[..., DayReport]
) -> None:
    for day in range(8):
        play(day, shift=1.0)
    told = [(one.what, [line["column"] for line in one.evidence["columns"]], one.at) for one in alerts(ws)]
    assert told == [("input drift", ["x"], START + DAY), ("input drift", ["x"], START + 7 * DAY)]


def test_a_model_without_skill_is_told_by_its_fallen_auc(ws: Workspace, play: Callable[..., DayReport]) -> None:
    found = [play(day, skill=False) for day in range(2)][-1]
    assert {(one.what, one.evidence.get("column")) for one in alerts(ws)} == {("performance", "auc")}
    assert found.performance is not None
    assert found.performance["drop"] > 0.2


def test_a_biased_model_is_told_by_its_mean(ws: Workspace, play: Callable[..., DayReport]) -> None:
    play(0, bias=0.2)
    assert ("performance", "bias") in {(one.what, one.evidence.get("column")) for one in alerts(ws)}


def test_slow_and_failing_answers_are_told(ws: Workspace, play: Callable[..., DayReport]) -> None:
    found = play(0, latency_s=0.2, known=False)
    assert found.alerts == ("p95 latency 200.0 ms, allowed 50 ms",)
    found = play(1, error="ValueError: no", known=False)
    assert found.error_share == 1.0
    assert "100.0% of answers failed, allowed 1.0%" in found.alerts


def test_truth_that_is_overdue_is_told(ws: Workspace, play: Callable[..., DayReport]) -> None:
    play(0)
    play(1, known=False)
    found = play(2)
    assert found.missing_truth_share == 1.0
    assert "100% of answers have no truth 1 days later, allowed 10%" in found.alerts


def test_scores_that_moved_are_told_of_the_champion_only(ws: Workspace, answer: Answer) -> None:
    at = [START + timedelta(minutes=4 * n) for n in range(A_DAY)]
    features = [{"x": 0.0, "kind": "a"}] * A_DAY
    answer([f"r{n}" for n in range(A_DAY)], at, score=0.5, revision=2, role="canary", features=features)
    log.compact(ws, "d")
    options: Any = {"score_reference": score_reference(), "reference_auc": None}
    quiet = check_day(ws, MONITOR, START.date(), reference(), **options, revision=1)
    assert quiet.score is None
    told = check_day(ws, MONITOR, START.date(), reference(), **options, revision=2)
    assert told.score is not None
    assert told.score["drifted"]
    assert "score drift" in {one.what for one in alerts(ws)}


def test_a_day_checked_again_is_the_same_report_and_no_new_run(ws: Workspace, play: Callable[..., DayReport]) -> None:
    first = play(0, shift=1.0)
    again = play(0, shift=1.0)
    assert again == first
    assert len(ws.graph.find(Query("run", kind="watch.day"))) == 1
    assert reports(ws, "d") == [replace(first, run=first.run)]


def test_a_day_without_answers_says_nothing(ws: Workspace, play: Callable[..., DayReport]) -> None:
    play(0)
    found = check_day(ws.at(START + 9 * DAY), MONITOR, START.date() + 8 * DAY, reference(), revision=1)
    assert (found.rows, found.p95_ms, found.error_share, found.columns, found.performance) == (0, None, None, (), None)
