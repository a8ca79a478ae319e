"""What the views of datasets show of personal columns and of data with purposes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import tidemill as tm
from tidemill.api import views
from tidemill.core.errors import Refused
from tidemill.data import datasets


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tm.Project]:
    with tm.open(tmp_path / "shop.mill") as mill:
        mill.add(
            "people", pl.DataFrame({"id": [1, 2], "mail": ["a@example.org", "b@example.org"], "age": [1, 2]}), key="id"
        )
        mill.governance.tag("people", "mail", "pii:email")
        yield mill


def test_a_personal_column_that_no_version_has_any_more_is_not_shown_in_quarantine(shop: tm.Project) -> None:
    shop.contracts.set("people", ["age between 0 130"])
    late = pl.DataFrame({"id": [3, 4], "mail": ["c@example.org", "d@example.org"], "age": [999, 3]})
    shop.add("people", late, key="id")
    assert views.contract(shop, "people")["quarantined"] == 1
    datasets.add(shop.ws, "people", pl.DataFrame({"id": [1], "age": [1]}), key="id", mode="replace")
    found = views.contract(shop, "people")
    assert "c@example.org" not in str(found)
    assert "mail" in found["masked"]


def test_differences_are_not_shown_where_only_named_purposes_are_allowed(shop: tm.Project) -> None:
    shop.data.update("people", pl.DataFrame({"id": [1], "age": [30]}))
    assert views.diff(shop, "people")["counts"]["changed"] == 1
    shop.policies.allow("people", "churn", "consent")
    with pytest.raises(Refused, match="named purposes only"):
        views.diff(shop, "people")


def test_profiles_and_quarantined_rows_are_shown_for_a_purpose_that_is_allowed(shop: tm.Project) -> None:
    shop.contracts.set("people", ["age between 0 130"])
    shop.add("people", pl.DataFrame({"id": [3, 4], "mail": ["c@x", "d@x"], "age": [999, 3]}), key="id")
    assert views.profile(shop, "people")["limited"] is False
    shop.policies.allow("people", "churn", "consent")
    for purpose, said in ((None, "named purposes only"), ("spam", "may not be used for 'spam'")):
        with pytest.raises(Refused, match=said):
            views.profile(shop, "people", purpose=purpose)
        waiting = views.contract(shop, "people", purpose=purpose)
        assert (waiting["quarantined"], waiting["rows"], said in waiting["refused"]) == (1, [], True)
        assert said in views.dataset(shop, "people", purpose=purpose)["refused"]
    assert views.profile(shop, "people", purpose="churn")["columns"]["age"]["max"] == 3
    assert len(views.contract(shop, "people", purpose="churn")["rows"]) == 1
    assert views.dataset(shop, "people", purpose="churn")["refused"] is None
    assert views.diff(shop, "people", purpose="churn")["counts"]["added"] == 1
