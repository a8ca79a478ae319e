"""`tidemill dataset describe|tag-column|find-pii|allow|keep|hold|card|croissant`, `role` and `audit who`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

Shell = Any  # conftest.Shell
PEOPLE = """cust,email,town,joined
1,ada@example.org,Hull,2020-01-01T00:00:00Z
2,bob@example.org,York,2020-01-02T00:00:00Z
"""


@pytest.fixture
def people(shell: Shell, tmp_path: Path) -> Shell:
    (tmp_path / "people.csv").write_text(PEOPLE)
    ran = shell("dataset", "add", "people", "people.csv", "--key", "cust", "--event-time", "joined")
    assert ran.code == 0, ran.err
    return shell


@pytest.fixture
def tagged(people: Shell) -> Shell:
    assert people("dataset", "tag-column", "people", "email", "pii:email", "subject").code == 0
    return people


def test_facts_are_set_shown_and_taken_back(people: Shell) -> None:
    people("dataset", "describe", "people", "--owner", "ada", "--licence", "internal")
    said = people("dataset", "describe", "people", "--owner", "", "--json").json
    assert (said["owner"], said["licence"]) == (None, "internal")
    shown = people("dataset", "show", "people")
    assert "internal" in shown.out
    wrong = people("dataset", "describe", "people", "--classification", "secret")
    assert (wrong.code, "allowed: public, internal, confidential, restricted" in wrong.err) == (2, True)


def test_personal_columns_are_found_and_confirmed_or_rejected(people: Shell) -> None:
    (finding,) = people("dataset", "find-pii", "people", "--json").json
    assert (finding["column"], finding["tag"], finding["said"]) == ("email", "pii:email", "open")
    assert "ada@" not in people("dataset", "find-pii", "people").out
    wrong = people("dataset", "find-pii", "people", "--confirm", "town")
    assert (wrong.code, "found: email" in wrong.err) == (2, True)
    people("dataset", "find-pii", "people", "--confirm", "email")
    assert people("dataset", "find-pii", "people", "--json").json == []
    assert people("dataset", "tagged", "people", "--json").json == {
        "email": {"tags": ["pii:email"], "from": ["people.email"]}
    }
    people("dataset", "tag-column", "people", "email", "--remove")
    assert people("dataset", "tagged", "people", "--json").json == {}


def test_personal_columns_are_masked_in_all_that_a_person_is_shown(tagged: Shell, tmp_path: Path) -> None:
    (tmp_path / "moved.csv").write_text("cust,email\n2,bobby@example.org\n")
    tagged("dataset", "update", "people", "moved.csv")
    tagged("dataset", "contract", "set", "people", "town not_null")
    (tmp_path / "bad.csv").write_text("cust,email,town,joined\n3,cleo@example.org,,2020-01-03T00:00:00Z\n")
    tagged("dataset", "add", "people", "bad.csv", "--key", "cust", "--event-time", "joined")
    tagged("dataset", "export", "people", "out.parquet")
    looks = [
        tagged("dataset", "rows", "people").out,
        tagged("dataset", "diff", "people", "1", "2").out,
        tagged("dataset", "profile", "people", "--json").out,
        tagged("dataset", "profile", "people", "--column", "email").out,
        tagged("dataset", "quarantine", "people", "--json").out,
        str(pl.read_parquet(tmp_path / "out.parquet").to_dicts()),
    ]
    assert [look for look in looks if "@example.org" in look] == []
    tagged("role", "grant", "local", "pii")
    assert "bobby@example.org" in tagged("dataset", "rows", "people").out
    assert "bobby@example.org" in tagged("dataset", "diff", "people", "1", "2").out
    assert "cleo@example.org" in tagged("dataset", "quarantine", "people").out
    tagged("role", "revoke", "local", "pii")
    assert "bobby@example.org" not in tagged("dataset", "rows", "people").out


def test_conflicts_of_a_merge_are_masked_too(tagged: Shell, tmp_path: Path) -> None:
    tagged("dataset", "branch", "people", "spring")
    for place, options in (("a", ["--branch", "spring"]), ("b", [])):
        (tmp_path / "moved.csv").write_text(f"cust,email,town\n2,{place}@example.org,{place}\n")
        tagged("dataset", "update", "people", "moved.csv", *options)
    ran = tagged("dataset", "merge", "people", "spring", "--json")
    assert ran.code == 1
    assert "@example.org" not in ran.out
    town = next(each for each in ran.json["conflicts"] if each["column"] == "town")
    assert town == {"key": 2, "column": "town", "base": "York", "ours": "b", "theirs": "a"}
    tagged("role", "grant", "local", "pii@people")
    assert "a@example.org" in tagged("dataset", "merge", "people", "spring").out


def test_roles_are_listed_given_and_taken(shell: Shell) -> None:
    assert shell("role", "grant", "ada", "pii", "--json").json == {"who": "ada", "roles": ["pii"]}
    assert shell("role", "list", "--json").json == [
        {"who": "ada", "roles": ["pii"]}, {"who": "local", "roles": ["admin"]}]  # fmt: skip
    assert shell("role", "revoke", "ada", "pii").code == 0
    wrong = shell("role", "revoke", "ada", "pii")
    assert (wrong.code, "'ada' does not have role 'pii'" in wrong.err) == (1, True)
    assert shell("role", "grant", "ada", "PII !").code == 2


def test_other_purposes_are_refused_from_the_first_permit_on(people: Shell) -> None:
    people("dataset", "allow", "people", "churn-model", "--basis", "consent", "--until", "2099-01-01")
    refused = people("dataset", "rows", "people", "--purpose", "advertising")
    assert refused.code == 1
    assert "Allowed: churn-model (consent, until 2099-01-01)" in refused.err
    assert people("dataset", "rows", "people", "--purpose", "churn-model").code == 0
    assert people("dataset", "policy", "people", "--json").json["purposes"]["churn-model"]["basis"] == "consent"
    people("dataset", "disallow", "people", "--limits")
    assert people("dataset", "rows", "people").code == 0
    wrong = people("dataset", "allow", "people", "churn-model", "--basis", "consnt")
    assert (wrong.code, "Did you mean 'consent'?" in wrong.err) == (2, True)
    assert people("dataset", "disallow", "people").code == 2


def test_rows_past_their_time_go_unless_a_case_holds_them(people: Shell, tmp_path: Path) -> None:
    people("dataset", "keep", "people", "400d")
    (due,) = people("dataset", "retention", "--json").json
    assert [each["rows"] for each in people("dataset", "retention", "people", "--json").json] == [due["rows"]]
    (tmp_path / "other.csv").write_text("id\n1\n")
    people("dataset", "add", "other", "other.csv", "--key", "id")
    nothing = people("dataset", "retention", "other")
    assert (nothing.code, nothing.out) == (0, "(none)\nrows of other are kept for ever\n")
    assert people("dataset", "retention", "other", "--apply", "--json").json == []
    assert people("dataset", "retention", "pepole").code == 1
    assert (due["dataset"], due["rows"]) == ("people", 2)
    people("dataset", "hold", "people", "case-7", "--reason", "court")
    assert people("dataset", "retention", "--apply", "--json").json[0]["how"] == "held"
    assert people("dataset", "show", "people", "--json").json["rows"] == 2
    assert people("dataset", "release-hold", "people", "case-7").code == 0
    assert people("dataset", "retention", "--apply", "--json").json[0]["how"] == "deleted"
    assert people("dataset", "show", "people", "--json").json["rows"] == 0
    assert people("dataset", "show", "people", "--version", "1", "--json").json["rows"] == 2
    for wrong in (["400x"], [], ["400d", "--for-ever"]):
        assert people("dataset", "keep", "people", *wrong).code == 2


def test_retention_can_erase_from_old_versions_too(people: Shell) -> None:
    people("dataset", "keep", "people", "400d")
    assert people("dataset", "retention", "--erase", "--json").json[0]["how"] == "erased"
    assert people("dataset", "show", "people", "--version", "1", "--json").json["rows"] == 0
    assert people("audit", "verify").code == 0


def test_cards_and_croissant_files_are_made_from_the_records(tagged: Shell, tmp_path: Path) -> None:
    tagged("dataset", "describe", "people", "--description", "Customers since 2020")
    card = tagged("dataset", "card", "people").out
    assert "Customers since 2020" in card
    assert "@example.org" not in card
    assert tagged("dataset", "card", "people", "--output", "CARD.md").code == 0
    assert (tmp_path / "CARD.md").read_text().strip() == card.strip()
    assert tagged("dataset", "croissant", "people", "--json").json["@type"] == "sc:Dataset"
    assert tagged("dataset", "croissant", "people", "--to", "folder").code == 0
    names = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert names == ["croissant.json", "people-v1.parquet"]
    assert "ada@example.org" not in str(pl.read_parquet(tmp_path / "folder" / names[1]).to_dicts())


def test_audit_tells_who_read_and_changed_what(tagged: Shell) -> None:
    tagged("dataset", "rows", "people")
    read = tagged("audit", "who", "--what", "read", "--subject", "people", "--json").json
    assert [(line["subject"], line["body"]["masked"]) for line in read] == [("dataset/people", ["email"])]
    shown = tagged("audit", "who", "--what", "read")
    assert "masked email" in shown.out
    changed = tagged("audit", "who", "--what", "changed", "--subject", "dataset/people", "--json").json
    assert [line["kind"] for line in changed] == ["data.import", "set"]
    assert tagged("audit", "who", "--actor", "nobody", "--json").json == []
    assert tagged("audit", "who", "--since", "yesterday").code == 2
    assert tagged("audit", "who", "--what", "seen").code == 2


def test_runs_are_told_as_openlineage_events(people: Shell, tmp_path: Path) -> None:
    made = people("lineage", "export", "events.ndjson", "--json").json
    events = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    assert len(events) == made["events"] == 2
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    private = people("lineage", "export", "http://127.0.0.1:9/lineage")
    assert (private.code, "not a public address" in private.err) == (1, True)
    assert people("lineage", "export", "x.ndjson", "--header", "bad").code == 2


def test_a_sweep_deletes_what_nothing_refers_to(people: Shell, workspace: Path) -> None:
    import tidemill as tm

    with tm.open(workspace) as mill:
        orphan = mill.ws.store.put(b"left by a killed run")
    assert people("sweep", "--json").json["blobs"] == []  # too young
    asked = people("sweep", "--older-than", "0s", "--dry-run", "--json").json
    assert asked["would_go"] == [{"what": "blob", "name": orphan, "bytes": 20}]
    told = people("sweep", "--older-than", "0s", "--dry-run").out
    assert orphan in told
    assert "1 blob and 0 data files would be deleted, 20 bytes" in told
    assert people("sweep", "--older-than", "0s", "--json").json["blobs"] == [orphan]
    assert people("sweep", "--older-than", "soon").code == 2
    assert people("dataset", "rows", "people").code == 0


def test_tags_follow_into_a_table_that_was_cut_by_hand(tagged: Shell, tmp_path: Path) -> None:
    (tmp_path / "cut.csv").write_text("cust,email,n\n1,ada@example.org,3\n")
    assert tagged("dataset", "add", "alone", "cut.csv", "--key", "cust").code == 0
    assert tagged("dataset", "tagged", "alone", "--json").json == {}
    made = tagged("dataset", "add", "cut", "cut.csv", "--key", "cust", "--made-of", "people@1")
    assert made.code == 0, made.err
    assert tagged("dataset", "tagged", "cut", "--json").json["email"]["from"] == ["people.email"]
    assert "ada@example.org" not in tagged("dataset", "rows", "cut").out
    assert "people@1" in tagged("trace", "cut@1").out
    again = [*("dataset", "import", "alone", "cut.csv", "--key", "cust", "--mode", "replace"), "--made-of", "people"]
    assert tagged(*again, "--json").json["version"] == 2  # the same rows, and now known to be of people
    assert tagged(*again, "--json").json["version"] == 2
    assert "email" in tagged("dataset", "tagged", "alone", "--json").json
    wrong = tagged("dataset", "add", "cut", "cut.csv", "--key", "cust", "--made-of", "people@9")
    assert (wrong.code, "has no version 9" in wrong.err) == (1, True)


def test_profiles_and_quarantined_rows_ask_for_a_purpose_too(people: Shell, tmp_path: Path) -> None:
    people("dataset", "contract", "set", "people", "cust between 0 100")
    (tmp_path / "more.csv").write_text(
        "cust,email,town,joined\n999,x@example.org,York,2020-01-01T00:00:00Z\n3,y@example.org,York,2020-01-01T00:00:00Z\n"
    )
    people("dataset", "add", "people", "more.csv", "--key", "cust", "--event-time", "joined")
    people("dataset", "allow", "people", "churn-model", "--basis", "consent")
    for verb in ("profile", "quarantine"):
        refused = people("dataset", verb, "people")
        assert (refused.code, "named purposes only" in refused.err) == (1, True), verb
        assert people("dataset", verb, "people", "--purpose", "churn-model").code == 0


def test_long_work_says_how_far_it_is(tagged: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.cli.show.TOLD_S", 0.0)
    assert "profiling people: columns: 4 of 4 (100 %)" in tagged("dataset", "profile", "people").err
    told = tagged("dataset", "erase", "--subject", "ada@example.org", "--yes")
    assert (told.code, "searching: tables: 1" in told.err, "erasing: tables: 1 of 1" in told.err) == (0, True, True)
