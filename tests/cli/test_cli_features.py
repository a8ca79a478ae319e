"""`tidemill features`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

Shell = Any  # conftest.Shell


@pytest.fixture
def weather(shell: Shell, tmp_path: Path) -> Shell:
    (tmp_path / "weather.csv").write_text(
        "id,station,at,temp\n1,7,2026-01-01T00:00:00Z,3.5\n2,7,2026-01-01T06:00:00Z,4.5\n3,8,2026-01-01T00:00:00Z,9\n"
    )
    assert shell("dataset", "add", "weather", "weather.csv", "--key", "id", "--event-time", "at").code == 0
    ran = shell("features", "define", "near", "--source", "weather by station take temp within 3h prefix w_")
    assert ran.code == 0, ran.err
    return shell


def test_a_look_up_gives_what_the_join_in_time_gives(weather: Shell, tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("station,at\n7,2026-01-01T07:00:00Z\n8,2026-01-01T07:00:00Z\n")
    joined = weather("features", "offline", "near", "asked.csv", "--time", "at", "--json").json
    assert [row["w_temp"] for row in joined] == [4.5, None]  # the other one is older than 3 h
    assert weather("features", "materialize", "near", "--json").json["written"] == 3
    at = ["--at", "2026-01-01T07:00:00Z"]
    online = weather("features", "lookup", "near", "station=7", "station=8", *at, "--json").json
    assert [vector["w_temp"] for vector in online] == [4.5, None]
    assert "4.5" in weather("features", "lookup", "near", "station=7", *at).out
    assert weather("features", "offline", "near", "asked.csv", "--time", "at", "--output", "o.parquet").code == 0
    assert pl.read_parquet(tmp_path / "o.parquet")["w_temp"].to_list() == [4.5, None]


def test_times_without_a_zone_are_taken_in_the_one_that_is_named(weather: Shell, tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("station,at\n7,2026-01-01T08:00:00\n")
    asked = ["features", "offline", "near", "asked.csv", "--time", "at"]
    refused = weather(*asked)
    assert (refused.code, "times without a zone; say which zone they are in" in refused.err) == (2, True)
    (row,) = weather(*asked, "--zone", "Europe/Berlin", "--json").json
    assert (row["at"], row["w_temp"]) == ("2026-01-01T07:00:00.000000Z", 4.5)
    assert "Did you mean 'Europe/Berlin'?" in weather(*asked, "--zone", "Europe/Berln").err


def test_an_answer_of_nulls_names_the_flag_for_an_earlier_moment(weather: Shell) -> None:
    weather("features", "materialize", "near")
    assert "features lookup near station=7 --at TIME" in weather("features", "lookup", "near", "station=7").err
    earlier = weather("features", "lookup", "near", "station=7", "--at", "2026-01-01T07:00:00Z")
    assert "features show near" in earlier.err


def test_personal_features_are_masked_for_who_may_not_see_them(weather: Shell, tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("station,at\n7,2026-01-01T07:00:00Z\n")
    asked = ["--at", "2026-01-01T07:00:00Z", "--json"]
    weather("features", "materialize", "near")
    weather("dataset", "tag-column", "weather", "temp", "pii:health")

    def told() -> list[Any]:
        looked = weather("features", "lookup", "near", "station=7", *asked).json
        joined = weather("features", "offline", "near", "asked.csv", "--time", "at", "--json").json
        weather("features", "offline", "near", "asked.csv", "--time", "at", "--output", "o.parquet")
        return [looked[0]["w_temp"], joined[0]["w_temp"], pl.read_parquet(tmp_path / "o.parquet")["w_temp"][0]]

    assert told() == [None] * 3
    weather("role", "grant", "local", "pii@weather")
    assert told() == [4.5] * 3


def test_a_purpose_is_asked_for_where_a_dataset_of_the_view_has_a_policy(weather: Shell, tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("station,at\n7,2026-01-01T07:00:00Z\n")
    weather("features", "materialize", "near")
    weather("dataset", "allow", "weather", "forecast", "--basis", "not_personal")
    for verb in (["lookup", "near", "station=7"], ["offline", "near", "asked.csv", "--time", "at"]):
        refused = weather("features", *verb)
        assert refused.code != 0
        assert "named purposes only" in refused.err
        assert weather("features", *verb, "--purpose", "forecast").code == 0


def test_only_what_came_since_is_materialized(weather: Shell, tmp_path: Path) -> None:
    weather("features", "materialize", "near")
    (tmp_path / "more.csv").write_text("id,station,at,temp\n4,9,2026-01-01T06:00:00Z,1\n")
    weather("dataset", "add", "weather", "more.csv", "--key", "id", "--event-time", "at")
    made = weather("features", "materialize", "near", "--json").json
    assert (made["written"], made["anew"]) == (1, False)


def test_a_definition_is_listed_shown_and_defined_from_its_json(weather: Shell, tmp_path: Path) -> None:
    (listed,) = weather("features", "list", "--json").json
    assert (listed["view"], listed["features"], listed["entities"]) == ("near", ["w_temp"], ["station"])
    shown = weather("features", "show", "near", "--json")
    (tmp_path / "view.json").write_text(shown.out)
    assert weather("features", "define", "again", "--from", "view.json").code == 0
    assert weather("features", "show", "again", "--json").json["sources"] == shown.json["sources"]


BAD = [
    (["define", "v"], 2, "give --source"),
    (["define", "v", "--source", "weather by station"], 2, "is not 'DATASET by COLUMN take"),
    (["define", "v", "--source", "weather by station take tmp"], 2, "Did you mean 'temp'?"),
    (["define", "v", "--source", "wether by station take temp"], 1, "no dataset 'wether'"),
    (["define", "v", "--source", "weather by station take temp within 3x"], 2, "3x"),
    (["define", "v", "--from", "none.json"], 2, "holds no definition"),
    (["show", "naer"], 1, "Did you mean 'near'?"),
    (["lookup", "near", "7"], 2, "is no COLUMN=VALUE"),
    (["lookup", "near", "station=7"], 1, "materialize it first: tidemill features materialize near"),
    (["lookup", "near", "station=seven"], 2, "'seven' is no Int64"),
    (["materialize", "nea"], 1, "Did you mean 'near'?"),
    (["offline", "near", "none.csv", "--time", "at"], 1, "no file none.csv"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), BAD, ids=[" ".join(each[0]) for each in BAD])
def test_bad_input_is_told_in_one_line(weather: Shell, arguments: list[str], code: int, text: str) -> None:
    ran = weather("features", *arguments)
    assert (ran.code, text in ran.err) == (code, True), ran.err


def test_materializing_says_how_far_it_is(weather: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.cli.show.TOLD_S", 0.0)
    assert "materializing near: entries: 3" in weather("features", "materialize", "near").err
