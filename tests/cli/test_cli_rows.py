"""`tidemill dataset`: imports, exports, columns and profiles from a shell."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

Shell = Any  # conftest.Shell


@pytest.fixture
def trips(shell: Shell, tmp_path: Path) -> Shell:
    (tmp_path / "trips.csv").write_text(
        "id,at,km\n1,2026-01-01T00:00:00Z,5.5\n2,2026-01-02T00:00:00Z,\n3,2026-01-03T00:00:00Z,7\n"
    )
    ran = shell("dataset", "import", "trips", "trips.csv", "--key", "id", "--event-time", "at")
    assert ran.code == 0, ran.err
    return shell


def test_init_makes_a_workspace_once(shell: Shell, tmp_path: Path) -> None:
    there = shell("init")
    assert (there.code, there.out) == (0, f"{tmp_path / 'w.mill'} was there already; nothing changed\n")
    told = shell("init", "--json").json
    assert (told["workspace"], told["made"]) == (str(tmp_path / "w.mill"), False)
    made = shell("-w", tmp_path / "new.mill", "init")
    assert (made.code, made.out) == (0, f"{tmp_path / 'new.mill'} made\n")
    assert shell("-w", tmp_path / "new.mill", "dataset", "list").code == 0


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "arrow"])
def test_what_is_exported_is_imported_again_as_it_was(trips: Shell, tmp_path: Path, ending: str) -> None:
    made = trips("dataset", "export", "trips", f"out.{ending}", "--json").json
    assert made["rows"] == 3
    ran = trips("dataset", "import", "again", f"out.{ending}", "--key", "id", "--event-time", "at", "--json")
    assert ran.json["rows"] == 3, ran.err
    digests = [trips("dataset", "show", name, "--json").json["digest"] for name in ("trips", "again")]
    assert digests[0] == digests[1]


def test_an_export_takes_columns_in_the_order_of_the_file(trips: Shell, tmp_path: Path) -> None:
    trips("dataset", "export", "trips", "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "id,at,km"
    trips("dataset", "export", "trips", "few.csv", "--column", "km", "--column", "id")
    assert pl.read_csv(tmp_path / "few.csv").columns == ["km", "id"]


def test_a_database_is_read_by_query_and_only_what_is_new(shell: Shell, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as link, link:
        link.execute("CREATE TABLE sales (id INTEGER, size REAL)")
        link.executemany("INSERT INTO sales VALUES (?, ?)", [(1, 1.5), (2, 2.5)])
    verb = ["dataset", "import", "sales", "sqlite:///shop.db", "--query", "SELECT * FROM sales", "--key", "id"]
    assert shell(*verb, "--incremental", "id", "--json").json["rows"] == 2
    with closing(sqlite3.connect(tmp_path / "shop.db")) as link, link:
        link.execute("INSERT INTO sales VALUES (3, 3.5)")
    assert shell(*verb, "--incremental", "id", "--json").json["rows"] == 3
    shell("dataset", "export", "sales", "sqlite:///out.db", "--table", "sold")
    with closing(sqlite3.connect(tmp_path / "out.db")) as link:
        assert link.execute("SELECT count(*), sum(size) FROM sold").fetchone() == (3, 7.5)


def test_a_column_is_added_for_some_rows(trips: Shell, tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text("id,good\n1,true\n")
    assert trips("dataset", "add-column", "trips", "good.csv").code == 0
    rows = {row["id"]: row["good"] for row in trips("dataset", "rows", "trips", "--json").json}
    assert rows == {1: True, 2: None, 3: None}
    again = trips("dataset", "add-column", "trips", "good.csv")
    assert (again.code, "is in dataset 'trips' already" in again.err) == (2, True)


def test_a_profile_tells_each_column(trips: Shell) -> None:
    facts = trips("dataset", "profile", "trips", "--json").json["columns"]["km"]
    assert (facts["missing"], facts["min"], facts["max"]) == (1, 5.5, 7.0)
    shown = trips("dataset", "profile", "trips")
    assert "33.3 %" in shown.out
    one = trips("dataset", "profile", "trips", "--column", "km").out
    assert "histogram" in one
    wrong = trips("dataset", "profile", "trips", "--column", "kn")
    assert (wrong.code, "no column 'kn'" in wrong.err) == (2, True)


def test_rows_that_do_not_fit_name_the_columns_left_out(trips: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "18")
    assert "not shown: km (--json has all)" in trips("dataset", "rows", "trips").out


def test_the_key_is_shown_first_wherever_it_stands(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "last.csv").write_text("km,id\n5,a\n")
    shell("dataset", "add", "last", "last.csv", "--key", "id")
    assert shell("dataset", "rows", "last").out.splitlines()[0].split() == ["id", "km"]
    assert list(shell("dataset", "rows", "last", "--json").json[0]) == ["km", "id"]


def test_rows_that_are_there_already_are_told(trips: Shell) -> None:
    ran = trips("dataset", "import", "trips", "trips.csv", "--key", "id", "--event-time", "at")
    assert (ran.code, "nothing new: trips@1 has these rows already" in ran.err) == (0, True)


def test_a_key_of_several_columns_is_told_how_to_be_one(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "legs.csv").write_text("carrier,flight,km\nUA,1,5\n")
    ran = shell("dataset", "import", "legs", "legs.csv", "--key", "carrier,flight")
    assert (ran.code, "pl.concat_str('carrier', 'flight', separator='|').alias('id')" in ran.err) == (2, True)


def test_no_value_of_an_id_is_called_common(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("id,km\na,1\nb,2\n")
    shell("dataset", "add", "ids", "ids.csv", "--key", "id")
    (line,) = (each for each in shell("dataset", "profile", "ids").out.splitlines() if each.startswith("id"))
    assert line.split()[-1] == "–"


def test_clocks_without_a_zone_need_one_and_are_kept_in_utc(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "naive.csv").write_text("id,at\n1,2026-01-01 10:00:00\n")
    verb = ["dataset", "add", "naive", "naive.csv", "--key", "id", "--event-time", "at"]
    without = shell(*verb)
    assert (without.code, "say which zone they are in" in without.err) == (2, True)
    wrong = shell(*verb, "--zone", "Europe/Londn")
    assert (wrong.code, "Did you mean 'Europe/London'?" in wrong.err) == (2, True)
    assert shell(*verb, "--zone", "America/New_York").code == 0
    assert shell("dataset", "rows", "naive", "--json").json == [{"id": 1, "at": "2026-01-01T15:00:00.000000Z"}]
    (tmp_path / "naive.csv").write_text("id,at\n2,2026-11-01 01:30:00\n")  # the clocks go back: there are two
    twice = shell(*verb, "--zone", "America/New_York")
    assert (twice.code, "give times with their offset" in twice.err) == (2, True)


def test_long_work_says_how_far_it_is_on_standard_error(trips: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.cli.show.TOLD_S", 0.0)
    ran = trips("dataset", "import", "again", "trips.csv", "--key", "id", "--event-time", "at", "--json")
    assert "importing again: rows: 3 of 3 (100 %)" in ran.err
    assert ran.json["rows"] == 3
    assert "exporting trips: rows: 3" in trips("dataset", "export", "trips", "out.csv").err


BAD = [
    (["import", "new", "none.csv", "--key", "id"], 1, "no file none.csv"),
    (["import", "new", "trips.csv", "--key", "idd"], 2, "no column 'idd'"),
    (["import", "new", "trips.xml", "--key", "id"], 2, "trips.xml"),
    (["import", "new", "gopher://x", "--key", "id"], 2, "no database that SQLAlchemy knows"),
    (["import", "trips", "trips.csv"], 2, "Missing option '--key'"),
    (["export", "trips", "out.xlsx"], 2, "ending that is not known"),
    (["export", "trip", "out.csv"], 1, "Did you mean 'trips'?"),
    (["export", "trips", "sqlite:///x.db"], 2, "say which table to make"),
    (["rows", "trips", "--column", "kmm"], 2, "no column 'kmm'"),
    (["rows", "trips", "--limit", "0"], 2, "0 is not in the range"),
    (["update", "trips", "none.csv"], 1, "no file none.csv"),
    (["update", "nothing", "trips.csv"], 1, "no dataset 'nothing'"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), BAD, ids=[" ".join(each[0]) for each in BAD])
def test_bad_input_is_told_in_one_line(
    trips: Shell, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    (tmp_path / "trips.xml").write_text("<x/>")
    ran = trips("dataset", *arguments)
    assert (ran.code, text in ran.err) == (code, True), ran.err
