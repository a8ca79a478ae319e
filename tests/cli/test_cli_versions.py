"""`tidemill dataset`: versions, tags, branches and merges from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidemill.cli.dataset import SECTIONS

Shell = Any  # conftest.Shell


@pytest.fixture
def things(shell: Shell, tmp_path: Path) -> Shell:
    (tmp_path / "things.csv").write_text("k,x,town\n1,10,Hull\n2,20,York\n3,30,Hull\n")
    assert shell("dataset", "add", "things", "things.csv", "--key", "k", "--message", "first").code == 0
    return shell


def update(shell: Shell, tmp_path: Path, text: str, *options: str) -> Any:
    (tmp_path / "update.csv").write_text(text)
    return shell("dataset", "update", "things", "update.csv", *options)


def test_every_verb_of_the_table_has_a_help_and_takes_json(shell: Shell) -> None:
    for verbs in SECTIONS.values():
        for verb in verbs:
            said = shell("dataset", verb, "--help")
            assert said.code == 0, verb
            assert "--json" in said.out or verb == "contract", verb
    listed = shell("dataset", "--help").out
    assert all(f"  {verb} " in listed for verbs in SECTIONS.values() for verb in verbs)


def test_the_guide_names_every_verb() -> None:
    section = (Path(__file__).parents[2] / "docs" / "verbs.md").read_text().split("## dataset\n")[1].split("\n## ")[0]
    missing = [verb for verbs in SECTIONS.values() for verb in verbs if f"`{verb}" not in section
               and f"`dataset {verb}" not in section]  # fmt: skip
    assert missing == []


def test_an_unknown_verb_is_answered_with_the_nearest(shell: Shell) -> None:
    ran = shell("dataset", "brunch", "things")
    assert ran.code == 2
    assert "no verb 'brunch'" in ran.err
    assert "Did you mean 'branch'?" in ran.err


def test_a_version_is_shown_by_number_tag_branch_and_digest(things: Shell, tmp_path: Path) -> None:
    assert things("dataset", "tag", "things", "first").code == 0
    assert things("dataset", "branch", "things", "spring").code == 0
    update(things, tmp_path, "k,x\n1,11\n")
    one = things("dataset", "show", "things", "--version", "1", "--json").json
    assert one["tags"] == ["first"]
    for ref in ("first", "spring", one["digest"][:12]):
        assert things("dataset", "show", "things", "--version", ref, "--json").json["id"] == one["id"], ref
    assert things("dataset", "show", "things", "--json").json["version"] == 2
    wrong = things("dataset", "show", "things", "--version", "frist")
    assert (wrong.code, "Did you mean 'first'?" in wrong.err) == (1, True)


def test_a_diff_shows_old_and_new_values_by_key(things: Shell, tmp_path: Path) -> None:
    update(things, tmp_path, "k,x\n2,25\n")
    things("dataset", "delete", "things", "3")
    found = things("dataset", "diff", "things", "1", "--json").json
    assert found["changed"] == [{"key": 2, "columns": {"x": {"old": 20, "new": 25}}}]
    assert found["removed"] == [{"k": 3, "x": 30, "town": "Hull"}]
    shown = things("dataset", "diff", "things", "1", "3").out
    assert "things@1 (3 rows) -> @3 (2 rows)" in shown
    assert "removed           1 row" in shown
    assert "x: 1 value" in shown


def test_keys_are_read_in_the_type_of_the_key_column(things: Shell) -> None:
    assert things("dataset", "delete", "things", "1", "2", "--json").json["rows"] == 1
    unknown = things("dataset", "delete", "things", "9")
    assert (unknown.code, "such as 9" in unknown.err) == (2, True)
    wrong = things("dataset", "delete", "things", "nine")
    assert (wrong.code, "'nine' is no Int64, as column 'k' of 'things' is" in wrong.err) == (2, True)


def test_a_revert_goes_back_and_keeps_what_was(things: Shell) -> None:
    things("dataset", "delete", "things", "1")
    assert things("dataset", "revert", "things", "1", "--json").json["rows"] == 3
    assert [each["rows"] for each in things("dataset", "log", "things", "--json").json] == [3, 2, 3]


def test_tags_come_and_go(things: Shell) -> None:
    things("dataset", "tag", "things", "good", "1")
    assert things("dataset", "tags", "things", "--json").json == [{"tag": "good", "version": 1}]
    assert "good" in things("dataset", "log", "things").out
    assert things("dataset", "untag", "things", "good").code == 0
    gone = things("dataset", "untag", "things", "good")
    assert (gone.code, "'good'" in gone.err) == (1, True)
    number = things("dataset", "tag", "things", "7")
    assert (number.code, "Traceback" in number.err) == (2, False)


def test_a_merge_shows_each_conflict_and_writes_nothing_until_they_are_settled(things: Shell, tmp_path: Path) -> None:
    things("dataset", "branch", "things", "spring")
    update(things, tmp_path, "k,x\n1,11\n2,22\n", "--branch", "spring")
    update(things, tmp_path, "k,x\n2,29\n")
    ran = things("dataset", "merge", "things", "spring")
    assert ran.code == 1
    assert "1 conflict; nothing was merged" in ran.out
    assert ran.out.splitlines()[1].split() == ["2", "x", "20", "29", "22"]
    assert "--theirs 2" in ran.err
    assert len(things("dataset", "log", "things", "--json").json) == 3
    conflicts = things("dataset", "merge", "things", "spring", "--json").json["conflicts"]
    assert conflicts == [{"key": 2, "column": "x", "base": 20, "ours": 29, "theirs": 22}]
    both = things("dataset", "merge", "things", "spring", "--ours", "2", "--theirs", "2")
    assert (both.code, "name it once" in both.err) == (2, True)
    assert things("dataset", "merge", "things", "spring", "--theirs", "2", "--json").json["branch"] == "main"
    rows = things("dataset", "rows", "things", "--column", "k", "--column", "x", "--json").json
    assert sorted(rows, key=lambda row: row["k"]) == [{"k": 1, "x": 11}, {"k": 2, "x": 22}, {"k": 3, "x": 30}]


def test_a_person_is_shown_the_first_of_many_changes_and_told_of_the_others(shell: Shell, tmp_path: Path) -> None:
    for name, shift in (("old", 0), ("ours", 1), ("theirs", 2)):
        lines = "".join(f"{k},{k + shift}\n" for k in range(120))
        (tmp_path / f"{name}.csv").write_text("k,x\n" + lines)
    shell("dataset", "add", "many", "old.csv", "--key", "k")
    shell("dataset", "branch", "many", "spring")
    shell("dataset", "update", "many", "ours.csv")
    shell("dataset", "update", "many", "theirs.csv", "--branch", "spring")
    shown = shell("dataset", "diff", "many", "1").out
    assert ["changed", "120", "rows"] in [line.split() for line in shown.splitlines()]
    assert "(the first 20 values; --json has 80 more)" in shown
    merged = shell("dataset", "merge", "many", "spring")
    assert "120 conflicts, 20 of them not shown (--json has all); nothing was merged" in merged.out
    assert len(shell("dataset", "merge", "many", "spring", "--json").json["conflicts"]) == 120


def test_the_next_step_compares_with_the_version_that_was_changed(things: Shell, tmp_path: Path) -> None:
    things("dataset", "branch", "things", "spring")
    assert "dataset diff things 1 2" in update(things, tmp_path, "k,x\n1,11\n", "--branch", "spring").err
    assert "dataset diff things 1 3" in update(things, tmp_path, "k,x\n2,22\n").err  # 2 is of the branch


def test_branches_are_listed_with_their_heads(things: Shell, tmp_path: Path) -> None:
    things("dataset", "branch", "things", "spring", "--at", "1")
    update(things, tmp_path, "k,x\n1,11\n", "--branch", "spring")
    heads = {each["branch"]: each["version"] for each in things("dataset", "branches", "things", "--json").json}
    assert heads == {"main": 1, "spring": 2}
    again = things("dataset", "branch", "things", "spring")
    assert (again.code, "has a branch 'spring' already" in again.err) == (2, True)


@pytest.mark.parametrize(
    "verb",
    ["show", "log", "tags", "branches", "rows", "profile", "card", "describe", "find-pii", "policy", "quarantine",
     "contract show", "contract suggest", "check", "croissant"],
)  # fmt: skip
def test_a_dataset_that_is_not_there_is_answered_with_the_nearest(things: Shell, verb: str) -> None:
    ran = things("dataset", *verb.split(), "thingz")
    assert (ran.code, "no dataset 'thingz'" in ran.err, "Did you mean 'things'?" in ran.err) == (1, True, True), ran.err


@pytest.mark.parametrize("verb", ["card things --output none/card.md", "cat photos a.txt --output none/a"])
def test_a_place_that_cannot_be_used_is_told(things: Shell, tmp_path: Path, verb: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("a")
    things("dataset", "add-files", "photos", "photos")
    ran = things("dataset", *verb.split())
    assert (ran.code, ran.err.startswith("tidemill: cannot use none/")) == (1, True), ran.err


def test_a_version_is_named_beside_the_dataset_wherever_one_is_taken(things: Shell, tmp_path: Path) -> None:
    for text in ("k,x\n1,9\n", "k,x\n1,8\n"):
        (tmp_path / "late.csv").write_text(text)
        assert things("dataset", "update", "things", "late.csv").code == 0
    assert things("dataset", "tag", "things@2", "good").code == 0
    assert things("dataset", "branch", "things@good", "try").code == 0
    for form in (["things@2"], ["things@good"], ["things@try"], ["dataset/things@2"], ["things", "--version", "2"],
                 ["things@2", "--version", "2"], ["things", "--version", "things@2"]):  # fmt: skip
        assert things("dataset", "show", *form, "--json").json["version"] == 2, form
        for verb in ("rows", "profile", "card", "croissant", "find-pii"):
            assert things("dataset", verb, *form).code == 0, (verb, form)
    assert things("dataset", "export", "things@2", "out.csv").code == 0
    assert "1,9" in (tmp_path / "out.csv").read_text()
    same = [["things", "1", "2"], ["things@1", "2"], ["things@1", "things@2"], ["things", "1", "things@2"]]
    assert len({things("dataset", "diff", *form, "--json").out for form in same}) == 1
    assert [each["version"] for each in things("dataset", "log", "things@2", "--json").json] == [2, 1]
    (tmp_path / "late.csv").write_text("k,x\n1,7\n")
    assert things("dataset", "update", "things@try", "late.csv", "--json").json["branch"] == "try"
    merged = things("dataset", "merge", "things@try", "--theirs", "1", "--json")
    assert (merged.code, merged.json["branch"]) == (0, "main")
    assert things("dataset", "revert", "things@1", "--json").json["message"] == "back to version 1"
    assert things("dataset", "tagged", "things@2").code == 0
    assert things("trace", "things@2", "--json").json == things("trace", "dataset/things@good", "--json").json


def test_two_versions_of_one_verb_are_refused(things: Shell) -> None:
    told = things("dataset", "rows", "things@1", "--version", "2")
    assert (told.code, told.err) == (
        2, "tidemill: 'things@1' names version '1', and '2' is asked for; name one of them\n")  # fmt: skip
    assert "is a version of dataset 'other', not of 'things'" in things("dataset", "diff", "things", "other@1").err
    for verb in ("diff", "revert", "merge"):
        assert things("dataset", verb, "things").code == 2, verb
