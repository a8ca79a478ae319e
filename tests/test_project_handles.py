"""The handles for data: each noun calls its phase, and a fit asks what its rows may be used for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tidemill as tm
from tidemill.core.errors import NotFound, Refused, WrongType
from tidemill.project.contracts import Contracts
from tidemill.project.data import Data
from tidemill.project.deployments import Deployments
from tidemill.project.evaluation import Evaluations
from tidemill.project.features import Features
from tidemill.project.files import Files
from tidemill.project.governance import Governance
from tidemill.project.labels import Labels
from tidemill.project.lineage import Lineage
from tidemill.project.models import Models
from tidemill.project.policies import Policies
from tidemill.project.selection import Selection

START = datetime(2026, 1, 1, tzinfo=UTC)
HANDLES = {
    "data": Data,
    "contracts": Contracts,
    "files": Files,
    "features": Features,
    "governance": Governance,
    "policies": Policies,
    "labels": Labels,
    "models": Models,
    "deployments": Deployments,
    "lineage": Lineage,
    "evaluate": Evaluations,
    "leaderboard": Selection,
}


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[tm.Project]:
    with tm.open(tmp_path / "w.mill") as opened:
        yield opened


def test_a_project_is_shown_by_its_address_without_a_password(mill: tm.Project, tmp_path: Path) -> None:
    assert repr(mill) == f"<Project {tmp_path / 'w.mill'}>"
    remote = tm.Project(replace(mill.ws, url="postgresql://ann:secret@db.example/mill?password=secret"))
    assert repr(remote) == "<Project postgresql://db.example/mill>"


def rides(n: int = 60) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ride": [f"r{i}" for i in range(n)],
            "at": [START + timedelta(hours=i) for i in range(n)],
            "km": [1.0 + i % 17 for i in range(n)],
            "late": [int(i % 17 > 8) for i in range(n)],
        }
    )


def fit(train: tm.Matrix, strength: float = 1.0) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength).fit(train.X, train.y)


def add(mill: tm.Project) -> None:
    mill.add("rides", rides(), key="ride", event_time="at", known_time="at")


@pytest.mark.parametrize(("name", "kind"), HANDLES.items())
def test_a_handle_is_small_frozen_and_says_what_each_verb_does(mill: tm.Project, name: str, kind: type) -> None:
    verbs = [verb for verb in vars(kind) if not verb.startswith("_") and callable(getattr(kind, verb))]
    assert len(verbs) <= 20
    assert all((getattr(kind, verb).__doc__ or "").strip() for verb in verbs)
    handle = getattr(mill, name)
    assert isinstance(handle, kind)
    with pytest.raises(AttributeError):
        handle.ws = None


def test_the_project_itself_is_small_and_says_what_each_verb_does() -> None:
    verbs = {name: verb for name, verb in vars(tm.Project).items() if not name.startswith("_") and name != "ws"}
    assert len(verbs) < 30
    assert [name for name, verb in verbs.items() if not (verb.__doc__ or "").strip()] == []


def test_a_node_is_found_by_its_id_or_its_first_digits(mill: tm.Project) -> None:
    add(mill)
    version = mill.dataset("rides").base
    assert mill.lineage.get(version.id) == version.artifact
    assert mill.lineage.get(str(version.artifact.run_id)).kind == "data.import"
    assert mill.lineage.get(version.id[:20]).id == version.id


def squared(n: int) -> int:
    SQUARED.append(n)
    return n * n


SQUARED: list[int] = []


def test_a_step_without_a_pipeline_is_computed_once(mill: tm.Project) -> None:
    assert [mill.flows.step(squared, name="squared", n=n) for n in (3, 3, 4)] == [9, 9, 16]
    assert SQUARED == [3, 4]


def test_a_dataset_is_asked_for_by_number_tag_branch_and_digest(mill: tm.Project) -> None:
    add(mill)
    mill.data.tag("rides", 1, "first")
    mill.data.branch("rides", "spring")
    mill.data.update("rides", pl.DataFrame({"ride": ["r0"], "km": [99.0]}))
    first = mill.data.get("rides", 1)
    for ref in (1, "1", "first", "spring", first.digest[:8], first):
        assert mill.dataset("rides", ref).frame()["km"][0] == 1.0
    assert mill.dataset("rides").frame().filter(ride="r0")["km"].item() == 99.0
    with pytest.raises(NotFound, match=r"Did you mean 'first'\?"):
        mill.dataset("rides", "frist")


def test_a_view_of_the_past_shows_the_version_known_then(mill: tm.Project) -> None:
    add(mill)
    more = rides(61).tail(1)
    mill.add("rides", more, key="ride", event_time="at", known_time="at")
    assert mill.at(START + timedelta(hours=59)).data.get("rides").version == 1
    assert mill.data.get("rides").version == 2


def test_rows_that_break_a_contract_are_told_in_the_log(
    mill: tm.Project, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mill.contracts.set("rides", ["km between 0 10"])
    monkeypatch.setattr(logging.getLogger("tidemill"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="tidemill"):
        add(mill)
    kept = mill.data.get("rides").rows
    assert kept + mill.contracts.quarantined("rides").height == 60
    assert f"{60 - kept} rows of 'rides' are in quarantine" in caplog.text


def test_a_file_is_added_as_a_frame_is(mill: tm.Project, tmp_path: Path) -> None:
    rides().write_parquet(tmp_path / "rides.parquet")
    add(mill)
    from_file = mill.add("again", tmp_path / "rides.parquet", key="ride", event_time="at", known_time="at")
    assert from_file.digest == mill.data.get("rides").digest


def test_keys_may_be_texts(mill: tm.Project) -> None:
    mill.add("numbers", pl.DataFrame({"n": [1, 2, 3]}), key="n")
    assert mill.data.delete("numbers", ["1", 2]).rows == 1
    with pytest.raises(WrongType, match="'x' is no Int64, as column 'n' of 'numbers' is"):
        mill.data.delete("numbers", ["x"])


def test_a_fit_is_refused_where_its_purpose_is_not_allowed(mill: tm.Project) -> None:
    add(mill)
    recipe = tm.recipe(tm.scale("km"))
    train, test = mill.dataset("rides").split(time=["2026-01-02"])
    mill.policies.allow("rides", "lateness", "contract")
    with pytest.raises(Refused, match="may not be used for 'training'"):
        mill.fit(fit, train, recipe, target="late")
    with pytest.raises(Refused, match="may not be used for 'advertising'"):
        mill.tune(fit, train, recipe, on=test, target="late", trials=1, purpose="advertising")
    assert [run.kind for run in mill.lineage.runs(kind="train.*")] == []
    assert mill.fit(fit, train, recipe, target="late", purpose="lateness").run
    refused = mill.governance.who(what="read", subject="dataset/rides")
    assert [line["kind"] for line in refused if line["kind"] == "refused"] == ["refused", "refused"]


def test_the_purpose_of_every_joined_dataset_counts(mill: tm.Project) -> None:
    add(mill)
    towns = pl.DataFrame({"id": ["a"], "at": [START - timedelta(days=1)], "rain": [1.0], "kind": ["x"]})
    mill.add("weather", towns, key="id", event_time="at", known_time="at")
    mill.policies.allow("weather", "research", "consent")
    rows = mill.dataset("rides").as_of(mill.dataset("weather"), columns=["rain"])
    with pytest.raises(Refused, match="dataset 'weather' may not be used for 'training'"):
        mill.fit(fit, rows, tm.recipe(tm.scale("km")), target="late")


def test_an_export_is_masked_for_who_has_no_role(mill: tm.Project, tmp_path: Path) -> None:
    add(mill)
    mill.governance.tag("rides", "ride", "subject")
    mill.data.export("rides", tmp_path / "masked.parquet")
    assert not set(pl.read_parquet(tmp_path / "masked.parquet")["ride"]) & set(rides()["ride"])
    mill.governance.grant(mill.ws.settings.who, "pii@rides")
    mill.data.export("rides", tmp_path / "plain.parquet")
    assert set(pl.read_parquet(tmp_path / "plain.parquet")["ride"]) == set(rides()["ride"])
