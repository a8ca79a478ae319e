"""Dataset cards: every line comes from a record, and no value of a row is shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.checks import between, not_null
from tidemill.core.types import Artifact, DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.catalogue import governance, policies
from tidemill.data.catalogue.cards import card
from tidemill.data.quality import contracts, profiles
from tidemill.data.quality.contract import Contract
from tidemill.prepare.cleaning import clean_dataset, drop_duplicates
from tidemill.track import own

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    yield made
    made.close()


def calls(ws: Workspace, numbers: range = range(10)) -> DatasetVersion:
    frame = pl.DataFrame(
        {
            "call": [f"k{n}" for n in numbers],
            "email": [f"ada{n}@example.org" for n in numbers],
            "length": [None if n % 2 else float(n) for n in numbers],
            "at": [START + timedelta(days=n) for n in numbers],
        }
    )
    return datasets.add(
        ws, "calls", frame, key="call", event_time="at", message=f"calls from {numbers.start}", source="calls.csv"
    )


def test_a_bare_dataset_has_a_card_that_says_what_is_missing(ws: Workspace) -> None:
    text = card(ws, datasets.add(ws, "plain", pl.DataFrame({"id": [1, 2]}), key="id"))
    for line in (
        "# Dataset card: plain",
        "Nobody has described it yet.",
        "- licence: not said; classification: not said",
        "| `id` | Int64 | – |",
        "- frames given by a program; see the runs in `tidemill trace`",
        "- no contract is set",
        "- any purpose is allowed",
        "- no model was made of this version",
        "- no event time: rows cannot be joined in time, and retention cannot count from it",
        "- nobody answers for it",
    ):
        assert line in text.splitlines(), line


def test_a_card_tells_what_people_said_and_what_the_records_know(ws: Workspace) -> None:
    calls(ws)
    version = calls(ws, range(10, 14))
    governance.describe(
        ws,
        "calls",
        owner="ada",
        steward="bob",
        description="All calls.",
        licence="CC-BY-4.0",
        classification="restricted",
    )
    governance.tag(ws, "calls", "email", "pii:email")
    policies.allow(ws, "calls", "churn", "consent")
    policies.keep_for(ws, "calls", timedelta(days=90))
    policies.hold(ws, "calls", "case 7")
    contracts.set_contract(ws, "calls", Contract(checks=(not_null("call"), between("length", 0, 5))))
    contracts.evaluate(ws, version)
    profiles.of(ws, version)
    model = Artifact("m" * 32, "model", "buyers", 0, "1" * 64, START, None, {"target": "bought"})
    with own.run(ws, "fit", inputs=[version]) as run:
        run.emit("model", "buyers", digest=model.digest, meta=model.meta)
    text = card(ws, version)
    for line in (
        "All calls.",
        f"- version 2, digest `{version.digest}`, 14 rows, 4 columns",
        "- owner: ada",
        "- steward: bob",
        "- licence: CC-BY-4.0; classification: restricted",
        "- `at` says when it happened",
        "| `email` | String | pii:email | 0 % | 14 |",
        "| `length` | Float64 | – | 50 % | 7 |",
        "- contract: `length between 0 5`",
        "- may be used for: churn (consent)",
        "- rows are kept for 90 days after their event time",
        "- under legal hold: case 7",
        "- personal: `email`; masked for readers without the role `pii`",
        "- `model/buyers@1`, which estimates `bought`",
        "- no known time: a row counts as known when it happened, so what came late may leak into training",
        "- `length` is missing in 50 % of rows",
    ):
        assert line in text.splitlines(), line
    assert sum("data.import calls from calls.csv" in line for line in text.splitlines()) == 2
    (report,) = [line for line in text.splitlines() if "`report/contract/calls@1`" in line]
    assert report.endswith("2 rules, 1 failed")
    rows = [line for line in text.splitlines() if line.endswith(("| calls from 0 |", "| calls from 10 |"))]
    assert [row.split(" | ")[0] for row in rows] == ["| 2", "| 1"]


def test_a_card_shows_no_value_of_a_row(ws: Workspace) -> None:
    version = calls(ws)
    profiles.of(ws, version)
    governance.suggest(ws, version)
    text = card(ws, version)
    assert "ada" not in text
    assert "k3" not in text


def test_the_same_records_give_the_same_card(ws: Workspace) -> None:
    version = calls(ws)
    assert card(ws, version) == card(ws, version)


def test_what_came_in_from_another_dataset_is_named(ws: Workspace) -> None:
    source = calls(ws)
    governance.tag(ws, "calls", "email", "pii:email")
    with own.run(ws, "derive", inputs=[source]) as run:
        made = datasets.add(ws, "mails", ws.tables.frame(source.pinned).select("call", "email"), key="call")
        run.link_output(made)
    lines = card(ws, made).splitlines()
    assert "- personal data came in from `calls.email`" in lines
    assert any(line.endswith("track.run derive from dataset/calls@1, by " + ws.settings.who) for line in lines)


def test_a_cleaning_is_named(ws: Workspace) -> None:
    raw = datasets.add(ws, "raw", pl.DataFrame({"id": ["1", "1"], "row": [1, 2]}), key="row")
    rows, _ = clean_dataset(ws, raw, ws.tables.frame(raw.pinned), drop_duplicates("id"), name="tidy", key="row")
    assert "- cleaned from `raw`" in card(ws, datasets.add(ws, "tidy", rows, key="row")).splitlines()


def test_an_erased_profile_leaves_the_card_without_its_columns(ws: Workspace) -> None:
    version = calls(ws)
    profiles.of(ws, version)
    for blob in list(ws.store.list()):
        ws.store.delete(blob.digest)
    assert "| `email` | String | – |" in card(ws, version).splitlines()


def test_a_pipe_or_a_line_break_in_a_message_breaks_no_table(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": [1]})
    text = card(ws, datasets.add(ws, "plain", frame, key="id", message="a | b\nc"))
    assert any(line.endswith("| a \\| b c |") for line in text.splitlines())
