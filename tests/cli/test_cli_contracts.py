"""`tidemill dataset contract|check|quarantine|release|discard`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

Shell = Any  # conftest.Shell


@pytest.fixture
def planes(shell: Shell, tmp_path: Path) -> Shell:
    (tmp_path / "planes.csv").write_text("tail,seats\nN1,100\nN2,200\n")
    (tmp_path / "more.csv").write_text("tail,seats\nN3,150\nX4,900\n")
    assert shell("dataset", "add", "planes", "planes.csv", "--key", "tail").code == 0
    assert shell("dataset", "contract", "set", "planes", "tail matches ^N", "seats between 1 500").code == 0
    return shell


def test_rows_that_break_the_contract_wait_in_quarantine_and_are_told(planes: Shell) -> None:
    ran = planes("dataset", "add", "planes", "more.csv", "--key", "tail")
    assert ran.code == 0
    assert "in quarantine" in ran.err
    assert "next: tidemill" in ran.err
    assert "dataset quarantine planes" in ran.err
    assert planes("dataset", "show", "planes", "--json").json["rows"] == 3
    (row,) = planes("dataset", "quarantine", "planes", "--json").json
    assert (row["tail"], row["seats"], len(row["__reasons"])) == ("X4", 900, 2)
    assert "X4" in planes("dataset", "quarantine", "planes").out


def test_quarantine_shows_the_key_the_reasons_and_what_failed_first(
    planes: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wide.csv").write_text("made,seats,by,tail\n2001,900,Airbus,N7\n")
    planes("dataset", "add", "wide", "wide.csv", "--key", "tail")
    planes("dataset", "contract", "set", "wide", "seats between 1 500")
    (tmp_path / "wide.csv").write_text("made,seats,by,tail\n2001,901,Airbus,N8\n")
    planes("dataset", "add", "wide", "wide.csv", "--key", "tail")
    shown = planes("dataset", "quarantine", "wide").out
    assert shown.splitlines()[0].split() == ["tail", "reasons", "seats", "quarantine", "id", "made", "by"]
    monkeypatch.setenv("COLUMNS", "60")
    assert "not shown: quarantine id, made, by" in planes("dataset", "quarantine", "wide").out


def test_a_check_names_rows_as_the_reader_may_see_them(planes: Shell) -> None:
    planes("dataset", "contract", "set", "planes", "seats between 1 150")
    planes("dataset", "tag-column", "planes", "tail", "subject")
    ran = planes("dataset", "check", "planes", "--json")
    (rule,) = ran.json["rules"]
    assert (ran.code, rule["rows"], rule["keys"][0][:2]) == (1, 1, "p_")
    assert "N2" not in planes("dataset", "check", "planes").out
    planes("role", "grant", "local", "pii@planes")
    assert "N2" in planes("dataset", "check", "planes").out


def test_a_mended_row_is_released_and_another_discarded(planes: Shell, tmp_path: Path) -> None:
    planes("dataset", "add", "planes", "more.csv", "--key", "tail")
    (tmp_path / "mended.csv").write_text("tail,seats\nN4,900\n")
    still = planes("dataset", "release", "planes", "X4", "--with", "mended.csv")
    assert (still.code, "still fail" in still.err) == (2, True)
    (tmp_path / "mended.csv").write_text("tail,seats\nN4,90\n")
    assert planes("dataset", "release", "planes", "X4", "--with", "mended.csv", "--json").json["rows"] == 4
    again = planes("dataset", "release", "planes", "X4", "--with", "mended.csv")
    assert (again.code, "in quarantine of dataset 'planes'" in again.err) == (1, True)
    (tmp_path / "more.csv").write_text("tail,seats\nN5,1\nX6,900\n")
    planes("dataset", "add", "planes", "more.csv", "--key", "tail")
    assert planes("dataset", "discard", "planes", "X6").code == 2  # a reason is needed
    assert planes("dataset", "discard", "planes", "X6", "--reason", "foreign", "--json").json["discarded"] == 1
    assert planes("dataset", "quarantine", "planes", "--json").json == []


def test_a_check_ends_with_1_when_a_rule_fails(planes: Shell) -> None:
    assert planes("dataset", "check", "planes").code == 0
    planes("dataset", "contract", "set", "planes", "--add", "seats between 150 500")
    ran = planes("dataset", "check", "planes", "--json")
    assert ran.code == 1
    assert [(each["rows"], each["keys"]) for each in ran.json["rules"] if not each["ok"]] == [(1, ["N1"])]
    assert "planes@1 breaks its contract" in planes("dataset", "check", "planes").out


def test_a_contract_is_suggested_written_to_a_file_and_set_from_it(planes: Shell, tmp_path: Path) -> None:
    rules = planes("dataset", "contract", "suggest", "planes").out
    assert "tail unique" in rules
    (tmp_path / "rules.txt").write_text(rules)
    assert planes("dataset", "contract", "set", "planes", "--from", "rules.txt").code == 0
    set_now = planes("dataset", "contract", "show", "planes", "--json").json
    (tmp_path / "rules.json").write_text(json.dumps(set_now))
    assert planes("dataset", "contract", "set", "planes", "--from", "rules.json", "--json").json == set_now
    assert len(planes("dataset", "contract", "log", "planes", "--json").json) == 2
    planes("dataset", "contract", "drop", "planes")
    assert planes("dataset", "contract", "show", "planes", "--json").json is None


BAD = [
    (["contract", "set", "planes"], 2, "give rules"),
    (["contract", "set", "planes", "--from", "none.txt"], 2, "no file 'none.txt'"),
    (["contract", "set", "planes", "seats tpye Int64"], 2, "Did you mean 'type'?"),
    (["contract", "set", "planes", "seat not_null"], 2, "Did you mean 'seats'?"),
    (["contract", "set", "planes", "seats"], 2, "cannot be read"),
    (["contract", "suggest", "plane"], 1, "Did you mean 'planes'?"),
    (["check", "planes", "--version", "9"], 1, "has no version 9"),
    (["release", "planes", "N9"], 1, "no rows ['N9'] in quarantine"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), BAD, ids=[" ".join(each[0]) for each in BAD])
def test_bad_input_is_told_in_one_line(planes: Shell, arguments: list[str], code: int, text: str) -> None:
    ran = planes("dataset", *arguments)
    assert (ran.code, text in ran.err) == (code, True), ran.err
