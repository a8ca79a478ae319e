"""Cleaning steps and their reports."""

import json
import math

import polars as pl
import pytest

from tidemill.core.errors import BadInput, EmptyInput, UnknownColumn, WrongType
from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion, Query
from tidemill.core.workspace import open_workspace
from tidemill.prepare.cleaning import (
    clean,
    clean_dataset,
    drop_duplicates,
    drop_where_null,
    fill_from,
    null_outside,
)


@pytest.fixture
def rows():
    return pl.DataFrame(
        {
            "id": ["a", "b", "b", "c", "d", "e"],
            "temp": [20.0, 500.0, 500.0, None, math.nan, -40.0],
            "backup": [1.0, 2.0, 2.0, 3.0, None, 5.0],
            "year": [1999, 2001, 2001, None, 2004, 2001],
            "make": ["X", "Y", "Y", None, "X", "Y"],
        }
    )


def test_duplicates_go_and_the_first_stays(rows):
    cleaned, report = clean(rows, drop_duplicates("id"), key="id")
    assert cleaned["id"].to_list() == ["a", "b", "c", "d", "e"]
    step = report.steps[0]
    assert (step.step, step.found, step.changed, step.left, step.keys) == ("drop_duplicates('id')", 1, 1, 0, ("b",))
    assert (report.rows_before, report.rows_after) == (6, 5)


def test_impossible_values_become_missing_and_missing_ones_are_no_fault(rows):
    cleaned, report = clean(rows, null_outside("temp", -40, 120), key="id")
    assert cleaned["temp"].to_list() == [20.0, None, None, None, None, -40.0]
    assert report.steps[0].found == 3  # 500 twice and the NaN; the null says already that it is not known


def test_missing_values_are_filled_from_another_column_and_the_rest_is_reported_left(rows):
    cleaned, report = clean(rows, fill_from("temp", "backup"), key="id")
    assert cleaned["temp"].to_list()[:4] == [20.0, 500.0, 500.0, 3.0]
    assert (report.steps[0].found, report.steps[0].changed, report.steps[0].left) == (2, 1, 1)
    assert report.steps[0].keys == ("c", "d")


def test_missing_values_are_filled_by_a_statistic_of_the_columns_type(rows):
    cleaned, _ = clean(rows, fill_from("year", how="median"), fill_from("make", how="most_common"))
    assert cleaned["year"].to_list()[3] == 2001
    assert cleaned["year"].dtype == pl.Int64
    assert cleaned["make"].to_list()[3] == "Y"


def test_rows_without_a_value_are_left_out(rows):
    cleaned, report = clean(rows, drop_where_null("temp"))
    assert cleaned.height == 4
    assert report.steps[0].keys == ("3", "4")  # row numbers without a key


def test_steps_run_in_order_and_do_not_change_the_frame_given(rows):
    before = rows.clone()
    _, report = clean(rows, drop_duplicates("id"), null_outside("temp", -30, 120), drop_where_null("temp"), key="id")
    assert [step.found for step in report.steps] == [1, 3, 4]
    assert rows.equals(before)
    assert report.text().splitlines()[0] == "6 rows in, 1 out"


def test_cleaning_twice_finds_nothing_the_second_time(rows):
    steps = (drop_duplicates("id"), null_outside("temp", -30, 120), fill_from("year", how="median"))
    once, _ = clean(rows, *steps)
    twice, report = clean(once, *steps)
    assert twice.equals(once)
    assert [step.changed for step in report.steps] == [0, 0, 0]


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (
            null_outside("temq", 0, 1),
            UnknownColumn,
            "no column 'temq' in the rows; it has id, temp,",
        ),
        (null_outside("id", 0, 1), WrongType, "null_outside('id', 0, 1): column 'id' is String; it must hold numbers"),
        (
            fill_from("temp", "year"),
            WrongType,
            "fill_from('temp', 'year'): column 'temp' is Float64 and 'year' is Int64; cast one of them first",
        ),
        (
            fill_from("id", how="median"),
            WrongType,
            "fill_from('id', how='median'): column 'id' is String; use how='most_common'",
        ),
        ("tidy", BadInput, "'tidy' is no cleaning step; use drop_duplicates, null_outside, fill_from or"),
    ],
)
def test_steps_that_do_not_suit_are_refused(rows, step, error, message):
    with pytest.raises(error) as caught:
        clean(rows, step)
    assert str(caught.value).startswith(message)


def test_badly_made_steps_are_refused():
    with pytest.raises(BadInput, match="drop_duplicates\\(\\) needs the columns"):
        drop_duplicates()
    with pytest.raises(BadInput, match="low must not be above high"):
        null_outside("a", 2, 1)
    with pytest.raises(BadInput, match="needs one of another column's name or how="):
        fill_from("a")
    with pytest.raises(BadInput, match="allowed: 'median', 'mean', 'most_common'"):
        fill_from("a", how="mode")


def test_no_rows_are_an_error(rows):
    with pytest.raises(EmptyInput, match="no rows to clean"):
        clean(rows.head(0), drop_duplicates("id"))


@pytest.fixture
def ws(tmp_path):
    opened = open_workspace(tmp_path / "w.mill")
    yield opened
    opened.close()


def version_of(ws, rows):
    meta = {"table": "rows", "table_version": 0, "rows": rows.height, "columns": {}, "key": "id"}
    with recorded(ws, "data.import", "rows") as run:
        return DatasetVersion(run.emit("dataset", "rows", digest="0" * 32, meta=meta))


def test_a_cleaning_is_a_run_from_the_dataset_to_a_report(ws, rows):
    version = version_of(ws, rows)
    cleaned, report = clean_dataset(ws, version, rows, drop_duplicates("id"), name="rows", key="id")
    assert cleaned.height == 5
    assert json.loads(ws.store.get(report.digest))["steps"][0]["keys"] == ["b"]
    assert version.id in {artifact.id for artifact in report.trace().artifacts}


def test_a_failed_cleaning_is_recorded_and_leaves_no_report(ws, rows):
    version = version_of(ws, rows)
    with pytest.raises(UnknownColumn):
        clean_dataset(ws, version, rows, drop_where_null("nope"), name="rows", key="id")
    (run,) = ws.graph.find(Query("run", kind="prepare.clean"))
    assert run.status == "failed"
    assert ws.graph.find(Query("artifact", kind="report")) == []
