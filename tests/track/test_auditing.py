"""Who did what: reads, changes, promotions and erasures out of events and runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tidemill.core.errors import BadInput, Refused
from tidemill.core.ids import parse_time
from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue import access, governance, policies
from tidemill.data.quality import contract, contracts
from tidemill.track import auditing


def short(lines: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(line["what"], line["subject"], line["kind"]) for line in lines]


def as_actor(ws: Workspace, actor: str) -> Workspace:
    return replace(ws, settings=replace(ws.settings, actor=actor))


def test_reads_by_people_and_by_runs_are_told(story: Workspace, people: DatasetVersion) -> None:
    access.scan(story, people, actor="eve", columns=["age"])
    lines = auditing.who(story, what="read")
    assert short(lines) == [
        ("read", "dataset/people", "train.tune"),
        ("read", "dataset/people", "train.fit"),
        ("read", "dataset/people", "train.fit"),
        ("read", "dataset/people", "read"),
    ]
    assert (lines[-1]["actor"], lines[-1]["body"]["columns"]) == ("eve", ["age"])
    assert [line["status"] for line in lines[:3]] == ["done", "done", "failed"]


def test_a_refused_read_is_told(story: Workspace, people: DatasetVersion) -> None:
    policies.allow(story, "people", "support", "contract")
    with pytest.raises(Refused):
        access.scan(story, people, purpose="marketing")
    assert auditing.who(story, what="read")[-1]["kind"] == "refused"


def test_changes_are_told_with_who_made_them(story: Workspace) -> None:
    governance.describe(as_actor(story, "ada"), "people", owner="ada")
    lines = auditing.who(story, what="changed")
    assert short(lines) == [
        ("changed", "dataset/people", "data.import"),
        ("changed", "model/churn", "train.fit"),
        ("changed", "dataset/people", "set"),
    ]
    assert [line["subject"] for line in auditing.who(story, actor="ada")] == ["dataset/people"]


def test_promotions_are_aliases_traffic_and_decisions(ws: Workspace) -> None:
    ws.graph.record("model/churn@champion", "alias", {"version": 1}, actor="ada")
    ws.graph.record("deployment/churn", "traffic", {"champion": 1}, actor="ada")
    ws.graph.record("loop/churn", "ticked", {})
    ws.graph.record("loop/churn", "promoted", {"text": "better"}, actor="loop")
    ws.graph.record("loop/churn", "shadow", {}, actor="loop")
    assert short(auditing.who(ws, what="promoted")) == [
        ("promoted", "model/churn@champion", "alias"),
        ("promoted", "deployment/churn", "traffic"),
        ("promoted", "loop/churn", "promoted"),
    ]
    assert "ticked" not in [line["kind"] for line in auditing.who(ws)]


def test_erasures_are_runs_that_erase(ws: Workspace, people: DatasetVersion) -> None:
    with recorded(ws, "data.erase", "subject", inputs=[("rows", people)], params={"subject": "salted"}):
        pass
    assert short(auditing.who(ws, what="erased")) == [("erased", "dataset/people", "data.erase")]
    assert auditing.who(ws, what="read") == []


def test_an_erasure_that_found_nothing_is_told_too(ws: Workspace) -> None:
    with recorded(ws, "data.erase", "subject") as run:
        pass
    assert short(auditing.who(ws, what="erased")) == [("erased", f"run/{run.run.id}", "data.erase")]


def test_one_subject_is_asked_for_by_its_kind_and_name_by_name_or_by_a_beginning(story: Workspace) -> None:
    story.graph.record("model/churn@champion", "alias", {"version": 1})
    every = auditing.who(story)
    assert {line["subject"] for line in every} == {"dataset/people", "model/churn", "model/churn@champion"}
    for asked, found in (
        ("dataset/people", {"dataset/people"}),
        ("people", {"dataset/people"}),
        ("churn", {"model/churn", "model/churn@champion"}),
        ("model/churn@champion", {"model/churn@champion"}),
        ("model/*", {"model/churn", "model/churn@champion"}),
        ("nobody", set()),
    ):
        assert {line["subject"] for line in auditing.who(story, subject=asked)} == found


def test_lines_are_in_order_of_time_and_can_be_cut_by_it(story: Workspace) -> None:
    every = auditing.who(story)
    assert [line["at"] for line in every] == sorted(line["at"] for line in every)
    third = parse_time(every[2]["at"])
    assert auditing.who(story, until=third) + auditing.who(story, since=third) == every
    assert len(auditing.who(story, until=third)) == len([line for line in every if line["at"] < every[2]["at"]])


def test_another_question_is_refused(ws: Workspace) -> None:
    with pytest.raises(
        BadInput, match=r"'red' is not asked of the audit log; allowed: read, changed, .* Did you mean 're"
    ):
        auditing.who(ws, what="red")  # type: ignore[arg-type]


def test_a_line_reads_as_a_sentence(story: Workspace, people: DatasetVersion) -> None:
    governance.tag(story, "people", "email", "pii:email")
    access.scan(story, people, actor="eve", columns=["email"])
    line = auditing.who(story, what="read")[-1]
    assert auditing.text(line).endswith(
        f"Z eve read dataset/people (event {line['seq']}, read; version 1; masked email)"
    )


def test_a_change_says_what_was_set(story: Workspace, people: DatasetVersion) -> None:
    begun = story.graph.events(last=1)[0].seq
    governance.describe(story, "people", owner="ada")
    governance.tag(story, "people", "email", "pii:email")
    governance.describe(story, "people", owner="", licence="internal")
    governance.untag(story, "people", "email")
    policies.allow(story, "people", "churn", "consent")
    datasets.add(
        story, "times", pl.DataFrame({"n": [1], "at": [datetime(2026, 1, 1, tzinfo=UTC)]}), key="n", event_time="at"
    )
    policies.keep_for(story, "times", timedelta(days=400))
    policies.disallow(story, "people", "churn")
    contracts.set_contract(story, "people", contract.rules(["email not_null", "person unique"]))
    contracts.set_contract(story, "people", contract.rules(["person unique", "email matches @"]))
    datasets.tag(story, "people", 1, "first")
    access.grant(story, "eve", "pii")
    policies.hold(story, "people", "A-7", reason="a claim")
    lines = [line for line in auditing.who(story) if line.get("seq", 0) > begun]
    assert [line["said"] for line in lines] == [
        "owner ada",
        "column email tagged pii:email",
        "owner taken back; licence internal",
        "column email no longer tagged pii:email",
        "churn allowed (consent)",
        "rows kept for 400 days",
        "churn no longer allowed",
        "new rules: email not_null, person unique",
        "new rules: email matches @; without: email not_null",
        "tag first on version 1",
        "role admin given",
        "role pii given",
        "held for case A-7 (a claim)",
    ]


def test_an_event_of_any_kind_says_something(ws: Workspace) -> None:
    ws.graph.record("other/x", "moved", {"format": 1, "to": "there", "count": 3, "more": {"a": 1}})
    assert auditing.who(ws)[-1]["said"] == "count 3, to there"
