"""The demo: no feature knows the future, one run ends with honest figures, and a killed one ends with the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

FOLDER = Path(__file__).parents[2] / "examples" / "departures"
APRIL = datetime(2013, 4, 1, tzinfo=UTC)


def test_the_user_s_program_has_at_most_80_lines() -> None:
    assert len((FOLDER / "departures.py").read_text().splitlines()) <= 80


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import departures
    import replay

    return departures, replay


def test_a_flight_looks_the_same_whether_or_not_the_future_is_there(example, tmp_path: Path) -> None:
    import tidemill as tm

    departures, replay = example
    with tm.open(tmp_path / "leak.mill") as mill:
        replay.bring(mill, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC))
        whole = departures.rows(mill).frame()
        for moment in (datetime(2013, 1, 9, 21, 30, tzinfo=UTC), datetime(2013, 1, 30, 23, 7, tzinfo=UTC)):
            then = departures.rows(mill.at(moment)).frame()
            assert_frame_equal(then, whole.filter(pl.col("scheduled") <= moment))


def test_no_flight_sees_its_own_departure(example) -> None:
    import source

    since, until = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC)
    both = source.departures(since, until).join(source.flights(since, until), on="flight_id")
    assert both.filter(pl.col("known") <= pl.col("scheduled")).height == 0


def test_truth_is_known_no_later_than_a_quarter_of_an_hour_after_the_scheduled_arrival(example) -> None:
    import source

    since, until = datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 2, tzinfo=UTC)
    both = source.landings(since, until).join(source.flights(since, until), on="flight_id")
    assert both.height == 336_776
    arrival = pl.col("scheduled") + pl.duration(minutes=pl.col("planned_min") + 15)
    assert both.filter(pl.col("known") > arrival).height == 0
    assert both["outcome"].value_counts().sort("outcome")["count"].to_list() == [8255, 1175, 327_346]


def demo(workspace: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tidemill.cli.main", "-w", str(workspace), "demo", "--months", "4", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def figures(text: str) -> dict:
    """What must be the same in each run; latency is the machine's own."""
    found = json.loads(text)
    alerts = [alert for alert in found["alerts"] if alert["what"] != "latency"]
    return {**{name: found[name] for name in ("months", "mean", "decisions")}, "alerts": alerts}


@pytest.mark.slow
def test_a_month_ends_with_honest_figures_and_a_killed_run_with_the_same(tmp_path: Path) -> None:
    whole, _ = (straight := demo(tmp_path / "whole.mill")).communicate(timeout=600)
    assert straight.returncode == 0
    found = json.loads(whole)
    (april,) = found["months"]
    assert april["answered"] == april["rows"] == 28_353
    for which in ("frozen", "loop"):
        assert 0.65 < april[which]["auc"] < 0.80  # above it something leaks
    assert found["audit_faults"] == 0
    assert any("dataset/flights@1" in line for line in found["tree_lines"])

    for wait_s in (4, 9, 16, 25):
        killed = demo(tmp_path / "killed.mill")
        time.sleep(wait_s)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
    again, _ = (last := demo(tmp_path / "killed.mill")).communicate(timeout=600)
    assert last.returncode == 0
    assert figures(again) == figures(whole)
    assert json.loads(again)["audit_faults"] == 0
