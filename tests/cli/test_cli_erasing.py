"""`tidemill dataset erase`: shows what goes and what used it, asks, and takes the person out of everything."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tidemill as tm

Shell = Any  # conftest.Shell
START = datetime(2026, 1, 1, tzinfo=UTC)
ADA = "ada.lovelace@example.org"


def fit(train: tm.Matrix, strength: float = 1.0) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength).fit(train.X, train.y)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A served model that learned from rides, three of them ada's, one of which it was asked about."""
    n = range(120)
    frame = pl.DataFrame(
        {
            "ride": [f"r{i}" for i in n],
            "rider": [ADA if i in (3, 30, 100) else f"rider{i}@example.org" for i in n],
            "at": [START + timedelta(hours=i) for i in n],
            "km": [1.0 + i % 17 for i in n],
            "late": [int(i % 17 > 8) for i in n],
        }
    )
    folder = tmp_path_factory.mktemp("served") / "w.mill"
    with tm.open(folder) as mill:
        mill.add("rides", frame, key="ride", event_time="at", known_time="at")
        mill.governance.tag("rides", "rider", "subject")
        train, test = mill.dataset("rides").split(time=["2026-01-05"])
        fitted = mill.fit(fit, train, tm.recipe(tm.scale("km")), target="late")
        server = mill.deploy(mill.register(fitted, "lateness", on=test))
        server.predict([{"km": 3.0}, {"km": 4.0}], keys=["r100", "r101"])
        server.stop()
    return folder


@pytest.fixture
def rides(shell: Shell, workspace: Path, served: Path) -> Shell:
    shutil.rmtree(workspace)
    shutil.copytree(served, workspace)
    return shell


def test_a_dry_run_shows_what_goes_and_what_used_it_and_takes_nothing(rides: Shell) -> None:
    ran = rides("dataset", "erase", "--subject", ADA, "--dry-run")
    assert ran.code == 0
    assert "rows of rides      3" in ran.out
    assert "predictions        1" in ran.out
    assert "changed versions: dataset/rides@1" in ran.out
    assert "models that learned from it: model/lateness@1" in ran.out
    assert "deployments of these models: " in ran.out
    assert "these models gave 2 answers" in ran.out
    assert rides("dataset", "show", "rides", "--json").json["rows"] == 120


def test_it_asks_and_a_no_takes_nothing(rides: Shell) -> None:
    ran = rides("dataset", "erase", "--subject", ADA, answer="n\n")
    assert ran.code == 1
    assert "model/lateness@1" in ran.out
    assert "Erase it for good?" in ran.err
    assert rides("dataset", "show", "rides", "--json").json["rows"] == 120


def test_after_a_yes_no_file_names_the_person_and_all_else_is_there(rides: Shell, workspace: Path) -> None:
    ran = rides("dataset", "erase", "--subject", ADA, answer="y\n")
    assert ran.code == 0, ran.err
    assert "erased 3 rows and 1 prediction;" in ran.out
    assert [path for path in workspace.rglob("*") if path.is_file() and ADA.encode() in path.read_bytes()] == []
    with tm.open(workspace) as mill:
        assert mill.dataset("rides", 1).frame().height == 117
        assert mill.deployments.predictions("lateness").height == 1
        assert len(mill.models.score(mill.model("lateness"), pl.DataFrame({"km": [3.0]}))) == 1
    assert rides("audit", "verify").code == 0
    erased = rides("audit", "who", "--what", "erased", "--subject", "dataset/rides", "--json").json
    assert {line["kind"] for line in erased} == {"data.erase", "artifact.erased"}
    again = rides("dataset", "erase", "--subject", ADA, "--yes")
    assert (again.code, "nothing of this person was found" in again.out) == (0, True)


def test_programs_say_yes_and_get_counts(rides: Shell) -> None:
    assert rides("dataset", "erase", "--subject", ADA, "--json").code == 2  # nobody could be asked
    made = rides("dataset", "erase", "--subject", ADA, "--yes", "--json")
    assert json.loads(made.out)["rows"] == {"rides": 3}
    assert ADA not in made.out


def test_a_legal_hold_stops_it(rides: Shell) -> None:
    rides("dataset", "hold", "rides", "case-7")
    ran = rides("dataset", "erase", "--subject", ADA, "--yes")
    assert (ran.code, "release-hold rides case-7" in ran.err) == (1, True)
    assert rides("dataset", "show", "rides", "--json").json["rows"] == 120


def test_columns_that_name_persons_can_be_given(rides: Shell) -> None:
    shown = rides("dataset", "erase", "--subject", "r3", "--column", "rides.ride", "--dry-run", "--json").json
    assert shown["rows"] == {"rides": 1}
    for wrong, code in (("ride", 2), ("rides.rid", 2), ("ridez.ride", 1)):
        assert rides("dataset", "erase", "--subject", "r3", "--column", wrong, "--dry-run").code == code, wrong


def test_without_a_column_that_names_persons_nobody_can_be_found(shell: Shell) -> None:
    ran = shell("dataset", "erase", "--subject", ADA, "--yes")
    assert (ran.code, "tidemill dataset tag-column DATASET COLUMN subject" in ran.err) == (2, True)
