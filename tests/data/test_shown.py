"""What a person is shown of contracts: no value of a personal column without the role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.errors import BadInput, Refused
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.catalogue import access, governance, policies, shown
from tidemill.data.quality import contract as data
from tidemill.data.quality import contracts, keeping
from tidemill.data.versioning import branches


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "shop.mill")
    people = pl.DataFrame(
        {
            "mail": [f"p{number}@example.org" for number in range(40)],
            "town": [("Hull", "York")[number % 2] for number in range(40)],
            "plan": [("free", "paid")[number % 2] for number in range(40)],
        }
    )
    datasets.add(made, "people", people, key="mail")
    governance.tag(made, "people", "mail", "subject")
    governance.tag(made, "people", "town", "pii:address")
    yield made
    made.close()


def test_keys_are_shown_as_rows_are(ws: Workspace) -> None:
    version = datasets.get(ws, "people")
    rows = access.scan(ws, version).collect()["mail"].to_list()
    assert shown.keys(ws, version, ["p0@example.org"])[0] in rows
    access.grant(ws, ws.settings.who, "pii@people")
    assert shown.keys(ws, version, ["p0@example.org"]) == ["p0@example.org"]


def test_a_suggested_contract_tells_no_personal_value(ws: Workspace) -> None:
    version = datasets.get(ws, "people")
    rules = "\n".join(shown.suggest(ws, version).rules)
    assert "plan one_of" in rules
    assert "town not_null" in rules
    assert "Hull" not in rules
    access.grant(ws, ws.settings.who, "pii@people")
    assert "Hull" in "\n".join(shown.suggest(ws, version).rules)


def test_differences_are_rows_and_have_a_purpose(ws: Workspace) -> None:
    first = datasets.get(ws, "people")
    second = datasets.update(ws, "people", pl.DataFrame({"mail": ["p1@example.org"], "plan": ["free"]}))
    assert shown.diff(ws, first, second)["counts"]["changed"] == 1
    policies.allow(ws, "people", "support", "contract")
    with pytest.raises(Refused, match="named purposes only"):
        shown.diff(ws, first, second)
    assert shown.diff(ws, first, second, purpose="support")["counts"]["changed"] == 1


def test_a_refused_merge_names_no_person(ws: Workspace) -> None:
    branches.branch(ws, "people", "trial")
    datasets.update(ws, "people", pl.DataFrame({"mail": ["p1@example.org"], "plan": ["gift"]}), branch="trial")
    datasets.update(ws, "people", pl.DataFrame({"mail": ["p2@example.org"], "plan": ["paid"]}))
    contracts.set_contract(ws, "people", data.rules(["plan one_of free paid"]))
    with pytest.raises(BadInput, match="would break its contract") as told:
        keeping.merge(ws, "people", "trial")
    assert "p1@" not in str(told.value)
    with pytest.raises(BadInput, match=r"such as p1@example\.org"):  # who writes the row is told which it is
        keeping.update(ws, "people", pl.DataFrame({"mail": ["p1@example.org"], "plan": ["gift"]}))
