"""`tidemill leaderboard`: what is printed, what is asked wrongly, and what the exit code says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import tidemill as tm

Shell = Callable[..., Any]
ROWS = 400
ASKED = ("--target", "late", "--task", "classification", "--include", "logistic", "--include", "tree")


@pytest.fixture
def rides(workspace: Path) -> None:
    dice = np.random.default_rng(7)
    km = dice.uniform(0, 20, ROWS)
    frame = pl.DataFrame(
        {
            "ride": [f"r{place}" for place in range(ROWS)],
            "at": [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=place) for place in range(ROWS)],
            "km": km,
            "town": dice.choice(["Brest", "Bari"], ROWS),
            "rider": [f"p{place // 5}" for place in range(ROWS)],
            "late": (km + dice.normal(0, 3, ROWS) > 10).astype(int),
        }
    )
    with tm.open(workspace) as mill:
        mill.add("rides", frame, key="ride", event_time="at", known_time="at")
        mill.add("points", frame.drop("at", "rider"), key="ride")


@pytest.mark.usefixtures("rides")
def test_a_leaderboard_is_made_listed_and_shown(shell: Shell) -> None:
    ran = shell("leaderboard", "run", "rides", *ASKED, "--split", "time:2026-01-12,2026-01-15", "--groups", "rider")
    assert ran.code == 0, ran.err
    assert "class_shares (baseline)" in ran.out
    assert "72 held out in 16 groups" in ran.out  # 3 days; the rows after them stay unseen
    assert "next: tidemill" in ran.err
    [line] = shell("leaderboard", "list", "--json").json
    assert (line["board"], line["candidates"], line["failed"], line["looks"]) == ("rides", 3, 0, 1)
    assert "classification of late" in shell("leaderboard", "list").out
    for which in ("rides", line["run"], line["id"], line["id"][:20]):
        assert shell("leaderboard", "show", which).out == ran.out
    found = shell("leaderboard", "show", "rides", "--json").json
    assert [each["name"] for each in found["board"]["lines"]][-1] == "class_shares"
    again = shell("leaderboard", "run", "rides", *ASKED, "--split", "time:2026-01-12,2026-01-15", "--groups", "rider")
    assert again.out == ran.out  # taken from the runs before: the same times of fits, and no new look


@pytest.mark.usefixtures("rides")
def test_rows_without_a_time_are_split_by_chance(shell: Shell) -> None:
    sizes = []
    for split in ("share:0.25", "stratified:0.25", "group:town:0.5"):
        ran = shell("leaderboard", "run", "points", *ASKED, "--split", split, "--column", "km", "--json")
        assert ran.code == 0, ran.err
        sizes.append(ran.json["board"]["train_rows"] + ran.json["board"]["rows"])
    assert sizes == [ROWS, ROWS, ROWS]


@pytest.mark.usefixtures("rides")
def test_a_candidate_that_fails_is_told_and_gives_exit_code_1(shell: Shell) -> None:
    ran = shell(
        "leaderboard", "run", "points", *ASKED, "--split", "share:0.2", "--column", "km", "--params", "tree.depth=-3"
    )
    assert (ran.code, "failed: " in ran.out) == (1, True), ran.err
    assert shell("leaderboard", "list", "--json").json[0]["failed"] == 1


@pytest.mark.usefixtures("rides")
def test_what_is_asked_wrongly_is_said(shell: Shell) -> None:
    for words, text in (
        (("rides", "--task", "classification", "--split", "share:0.2"), "--target is missing: which column of rides"),
        (("rides", *ASKED, "--split", "share:2"), "write one of time:MOMENT"),
        (("rides", *ASKED, "--split", "group:0.2"), "--split 'group:0.2'; write one of time:MOMENT"),
        (("rides", *ASKED, "--split", "share:0.2", "--params", "tree=3"), "such as tree.depth=3"),
        (
            ("rides", *ASKED, "--split", "share:0.2", "--column", "kn"),
            "no column 'kn' in the rows; it has ride, at, km",
        ),
        (("rides", *ASKED, "--split", "share:0.2", "--column", "at"), "no plain feature can be made of at ("),
        (("rides", *ASKED, "--split", "share:0.2", "--exclude", "treee"), "Did you mean 'tree'?"),
    ):
        ran = shell("leaderboard", "run", *words)
        assert (ran.code, text in ran.err) == (2, True), (words, ran.err)
    ran = shell("leaderboard", "show", "rides")
    assert (ran.code, "there is none yet: `tidemill leaderboard run` makes one" in ran.err) == (1, True), ran.err
    assert shell("leaderboard", "run", "points", *ASKED, "--split", "share:0.3", "--column", "km").code == 0
    ran = shell("leaderboard", "show", "pionts")
    assert "there are points. Did you mean 'points'?" in ran.err
    version = shell("dataset", "list", "--json").json
    ran = shell("leaderboard", "show", version[0]["id"])
    assert (ran.code, "no leaderboard" in ran.err) == (1, True), ran.err
