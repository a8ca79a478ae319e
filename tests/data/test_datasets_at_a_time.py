"""A dataset as it could be known at a time is the same one, whatever was imported since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.errors import NotFound
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.rows import rows

START = datetime(2013, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    """The moment that many days after the start."""
    return START + timedelta(days=number)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    yield made
    made.close()


def add(ws: Workspace, *days: float, mode: str = "append") -> DatasetVersion:
    """One row for each day on which it became known."""
    frame = pl.DataFrame({"id": [f"{mode}{n}" for n in days], "known": [day(n) for n in days]})
    return datasets.add(ws, "flights", frame, key="id", known_time="known", mode=mode)  # type: ignore[arg-type]


def test_a_later_import_of_later_rows_does_not_change_what_was_known(ws: Workspace) -> None:
    first = add(ws, 0, 1)
    then = ws.at(day(1.5))
    before = rows(then, datasets.get(then, "flights")).digest()
    second, third = add(ws, 2, 3), add(ws, 4)
    assert datasets.get(then, "flights") == first
    assert rows(then, datasets.get(then, "flights")).digest() == before
    assert datasets.get(ws.at(day(2)), "flights") == second
    assert datasets.get(ws, "flights") == datasets.get(ws.at(day(9)), "flights") == third


def test_a_later_import_of_earlier_rows_does(ws: Workspace) -> None:
    add(ws, 0, 1)
    add(ws, 4)
    late = add(ws, 0.5)
    assert datasets.get(ws.at(day(1.5)), "flights") == late
    assert datasets.scan(ws.at(day(1.5)), late).collect().height == 3


def test_a_row_known_at_that_very_moment_counts(ws: Workspace) -> None:
    add(ws, 0)
    second = add(ws, 1)
    assert datasets.get(ws.at(day(1)), "flights") == second


def test_before_anything_was_known_the_first_version_shows_no_rows(ws: Workspace) -> None:
    first = add(ws, 1)
    add(ws, 2)
    then = ws.at(day(0))
    assert datasets.get(then, "flights") == first
    assert datasets.scan(then, first).collect().height == 0


def test_a_replaced_dataset_is_the_new_one_at_every_time(ws: Workspace) -> None:
    add(ws, 0)
    replaced = add(ws, 5, mode="replace")
    assert datasets.get(ws.at(day(1)), "flights") == replaced


def test_rows_added_under_a_clock_follow_the_newest_version(ws: Workspace) -> None:
    add(ws, 0)
    add(ws, 5)
    third = add(ws.at(day(1)), 6)
    assert (third.version, third.rows) == (3, 3)


def test_a_version_that_is_asked_for_by_number_is_that_one(ws: Workspace) -> None:
    add(ws, 0)
    second = add(ws, 5)
    assert datasets.get(ws.at(day(1)), "flights", 2) == second
    with pytest.raises(NotFound, match="dataset 'flights' has no version 3; it has 1 to 2"):
        datasets.get(ws.at(day(1)), "flights", 3)
