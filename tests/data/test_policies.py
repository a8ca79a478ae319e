"""Purposes, legal bases, retention and legal holds: what they refuse, and what they leave."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidemill.core.errors import BadInput, NotFound, Refused
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.catalogue import policies
from tidemill.data.versioning import branches
from tidemill.track import own, runs

START = datetime(2026, 1, 1, tzinfo=UTC)
FAR = datetime(2999, 1, 1, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    yield made
    made.close()


def visits(ws: Workspace, days: range = range(10), name: str = "visits") -> DatasetVersion:
    """A visit a day."""
    frame = pl.DataFrame({"visit": [f"v{n}" for n in days], "at": [START + timedelta(days=n) for n in days]})
    return datasets.add(ws, name, frame, key="visit", event_time="at")


def keys(ws: Workspace, version: DatasetVersion) -> list[Any]:
    return datasets.scan(ws, version).collect()["visit"].sort().to_list()


# ------------------------------------------------------------------------------------------------------- purposes


def test_without_a_policy_any_purpose_is_allowed(ws: Workspace) -> None:
    assert policies.require(ws, visits(ws), "marketing") == []
    assert policies.require(ws, visits(ws), None) == []


def test_a_purpose_is_allowed_on_its_basis_and_others_are_refused(ws: Workspace) -> None:
    version = visits(ws)
    policies.allow(ws, "visits", "churn", "legitimate_interests", until=FAR)
    policies.allow(ws, "visits", "billing", "contract")
    (permit,) = policies.require(ws, version, "churn")
    assert (permit.dataset, permit.purpose, permit.basis, permit.until) == (
        "visits",
        "churn",
        "legitimate_interests",
        FAR,
    )
    message = (
        "dataset 'visits' may not be used for 'chrun'. Allowed: billing (contract), churn (legitimate_interests, until "
        "2999-01-01). Did you mean 'churn'? Its owner can allow it: tidemill dataset allow visits chrun --basis consent"
    )
    with pytest.raises(Refused, match=re.escape(message)):
        policies.require(ws, version, "chrun")
    with pytest.raises(
        Refused, match=r"may be used for named purposes only; say which with purpose= \(--purpose\)\. Allowed: bill"
    ):
        policies.require(ws, version, None)


def test_a_refusal_is_in_the_log(ws: Workspace) -> None:
    version = visits(ws)
    policies.allow(ws, "visits", "churn", "consent")
    with pytest.raises(Refused):
        policies.require(ws, version, "marketing")
    (event,) = ws.graph.events("read/visits")
    assert (event.kind, event.body["purpose"], event.body["version"]) == ("refused", "marketing", 1)


def test_a_permit_ends(ws: Workspace) -> None:
    version = visits(ws)
    policies.allow(ws, "visits", "churn", "consent", until=datetime(2020, 5, 1, tzinfo=UTC))
    with pytest.raises(Refused, match=r"may not be used for 'churn' since 2020-05-01, when its permit ended"):
        policies.require(ws.at(datetime(2019, 1, 1, tzinfo=UTC)), version, "churn")  # no way round by a view's clock


def test_taking_the_last_purpose_back_leaves_none(ws: Workspace) -> None:
    version = visits(ws)
    policies.allow(ws, "visits", "churn", "consent")
    policies.disallow(ws, "visits", "churn")
    with pytest.raises(Refused, match=r"No purpose is allowed\."):
        policies.require(ws, version, "churn")
    policies.allow_any(ws, "visits")
    assert policies.require(ws, version, "churn") == []


def test_derived_data_keeps_the_limits_of_what_it_came_from(ws: Workspace) -> None:
    version = visits(ws)
    with own.run(ws, "derive", inputs=[version]) as run:
        made = visits(ws, range(3), "sample")
        run.link_output(made)
    policies.allow(ws, "visits", "churn", "consent")
    policies.allow(ws, "sample", "marketing", "consent")
    with pytest.raises(Refused, match=r"dataset 'visits', which dataset/sample@1 came from, may not be used for 'mark"):
        policies.require(ws, made, "marketing")
    policies.allow(ws, "visits", "marketing", "consent")
    assert [each.dataset for each in policies.require(ws, made, "marketing")] == ["sample", "visits"]


def test_an_unknown_basis_purpose_or_time_is_named(ws: Workspace) -> None:
    visits(ws)
    with pytest.raises(
        BadInput, match=r"legal basis 'consnt' is not known; allowed: consent, .* Did you mean 'consent'"
    ):
        policies.allow(ws, "visits", "churn", "consnt")
    with pytest.raises(BadInput, match=r"purpose 'Any thing' cannot be used"):
        policies.allow(ws, "visits", "Any thing", "consent")
    with pytest.raises(BadInput, match=r"has no zone"):
        policies.allow(ws, "visits", "churn", "consent", until=datetime(2030, 1, 1))
    with pytest.raises(
        NotFound, match=r"purpose 'churn' is not allowed for dataset 'visits' anyway; Any purpose is all"
    ):
        policies.disallow(ws, "visits", "churn")


# ------------------------------------------------------------------------------------------------------- retention


def test_rows_past_their_time_are_due_and_go_from_the_next_version(ws: Workspace) -> None:
    first = visits(ws)
    policies.keep_for(ws, "visits", timedelta(days=30))
    view = ws.at(START + timedelta(days=34, hours=1))
    (found,) = policies.due(view)
    assert (found.dataset, found.rows, found.older_versions, found.held) == ("visits", 5, 0, ())
    (done,) = policies.apply_retention(view)
    assert (done.rows, done.how, done.older_versions) == (5, "deleted", 1)
    assert keys(ws, datasets.get(ws, "visits")) == [f"v{n}" for n in range(5, 10)]
    assert keys(ws, first) == [f"v{n}" for n in range(10)]  # the old version keeps them, and it is said so
    (left,) = policies.due(view)
    assert (left.rows, left.older_versions) == (0, 1)
    (run,) = runs.find(ws, kind="data.retention")
    assert (run.metrics["rows"], run.params["how"]) == (5, "deleted")


def test_a_row_at_the_border_stays(ws: Workspace) -> None:
    visits(ws)
    policies.keep_for(ws, "visits", timedelta(days=30))
    assert policies.due(ws.at(START + timedelta(days=30))) == []


def test_an_erasure_gets_the_keys_of_all_versions(ws: Workspace) -> None:
    visits(ws)
    datasets.delete(ws, "visits", ["v1"])
    policies.keep_for(ws, "visits", timedelta(days=30))
    asked: list[tuple[str, list[Any]]] = []
    (done,) = policies.apply_retention(
        ws.at(START + timedelta(days=32, hours=1)), erase=lambda _, name, gone: asked.append((name, sorted(gone)))
    )
    assert asked == [("visits", ["v0", "v1", "v2"])]
    assert (done.rows, done.how, done.older_versions) == (3, "erased", 0)


def test_every_branch_goes_on_without_them(ws: Workspace) -> None:
    visits(ws)
    branches.branch(ws, "visits", "trial")
    datasets.delete(ws, "visits", ["v0"])
    policies.keep_for(ws, "visits", timedelta(days=30))
    view = ws.at(START + timedelta(days=32, hours=1))
    assert policies.due(view)[0].rows == 3
    (done,) = policies.apply_retention(view)
    assert (done.rows, done.older_versions) == (3, 2)
    assert {label: keys(ws, head)[0] for label, head in branches.branches(ws, "visits").items()} == {
        "main": "v3",
        "trial": "v3",
    }


def test_a_dataset_whose_rows_are_all_past_their_time_goes_on_empty(ws: Workspace) -> None:
    visits(ws)
    policies.keep_for(ws, "visits", timedelta(days=30))
    (done,) = policies.apply_retention(ws.at(START + timedelta(days=400)))
    assert done.rows == 10
    assert datasets.get(ws, "visits").rows == 0


def test_nothing_is_due_without_a_period(ws: Workspace) -> None:
    visits(ws)
    policies.keep_for(ws, "visits", timedelta(days=1))
    policies.keep_for(ws, "visits", None)
    assert policies.due(ws) == []


def test_a_period_needs_an_event_time(ws: Workspace) -> None:
    datasets.add(ws, "plain", pl.DataFrame({"id": [1]}), key="id")
    with pytest.raises(BadInput, match=r"dataset 'plain' has no event time to count from"):
        policies.keep_for(ws, "plain", timedelta(days=1))


# ------------------------------------------------------------------------------------------------------- legal hold


def test_a_held_dataset_keeps_its_rows_until_the_last_case_is_released(ws: Workspace) -> None:
    visits(ws)
    policies.keep_for(ws, "visits", timedelta(days=30))
    policies.hold(ws, "visits", "case 7", reason="claim")
    policies.hold(ws, "visits", "case 8")
    view = ws.at(START + timedelta(days=365))
    assert policies.due(view)[0].held == ("case 7", "case 8")
    policies.release(ws, "visits", "case 7")
    assert [each.how for each in policies.apply_retention(view)] == ["held"]
    assert len(datasets.log(ws, "visits")) == 1
    with pytest.raises(Refused, match=r"dataset 'visits' is under legal hold for case 8; nothing of it may be removed"):
        policies.require_free(ws, "visits")
    policies.release(ws, "visits", "case 8")
    policies.require_free(ws, "visits")
    assert policies.held(ws, "visits") == []


def test_holding_again_is_no_event_and_an_unknown_case_is_named(ws: Workspace) -> None:
    visits(ws)
    first = policies.hold(ws, "visits", "case 7")
    assert policies.hold(ws, "visits", "case 7").seq == first.seq
    with pytest.raises(NotFound, match=r"no case 'case 9' holds dataset 'visits'; open are case 7\. Did you mean"):
        policies.release(ws, "visits", "case 9")
