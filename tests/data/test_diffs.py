"""What differs between two versions: schema, counts, and rows with their old and new values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core.errors import BadInput
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.versioning.branches import branch
from tidemill.data.versioning.diffs import between, diff, difference, plain
from tidemill.data.versioning.layers import content

ROWS = 30


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "test.mill")
    yield workspace
    workspace.close()


def planes(*ids: int) -> pl.DataFrame:
    return pl.DataFrame({"id": list(ids), "seats": [10 * n for n in ids], "maker": [f"m{n}" for n in ids]})


def begin(ws: Workspace) -> DatasetVersion:
    return datasets.add(ws, "planes", planes(*range(ROWS)), key="id")


def test_a_diff_shows_schema_counts_and_values(ws: Workspace) -> None:
    first = begin(ws)
    datasets.update(ws, "planes", pl.DataFrame({"id": [7, 3], "seats": [0, None]}))
    datasets.update(ws, "planes", pl.DataFrame({"id": [7], "maker": ["mm"]}))
    datasets.delete(ws, "planes", [5])
    datasets.add_column(ws, "planes", pl.DataFrame({"id": [1], "wings": [2]}))
    last = datasets.add(ws, "planes", planes(100).with_columns(wings=pl.lit(3, pl.Int64)), key="id")
    found = diff(ws, first, last)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == {
        "name": "planes",
        "old": 1,
        "new": 6,
        "key": "id",
        "rows": {"old": 30, "new": 30},
        "schema": {"added": {"wings": "Int64"}, "removed": {}, "retyped": {}},
        "counts": {"added": 1, "removed": 1, "changed": 2},
        "changed_columns": {"seats": 2, "maker": 1},
        "order_changed": False,
        "at_most": 100,
        "added": [{"id": 100, "seats": 1000, "maker": "m100", "wings": 3}],
        "removed": [{"id": 5, "seats": 50, "maker": "m5"}],
        "changed": [
            {"key": 3, "columns": {"seats": {"old": 30, "new": None}}},
            {"key": 7, "columns": {"seats": {"old": 70, "new": 0}, "maker": {"old": "m7", "new": "mm"}}},
        ],
    }
    back = diff(ws, last, first)
    assert back["counts"] == {"added": 1, "removed": 1, "changed": 2}
    assert back["schema"]["removed"] == {"wings": "Int64"}
    assert back["changed"][0] == {"key": 3, "columns": {"seats": {"old": None, "new": 30}}}


def test_only_so_many_rows_are_shown_but_all_are_counted(ws: Workspace) -> None:
    first = begin(ws)
    last = datasets.update(ws, "planes", pl.DataFrame({"id": [1, 2, 3, 4], "seats": [0, 0, 0, 0]}))
    found = diff(ws, first, last, at_most=2)
    assert found["counts"]["changed"] == 4
    assert [each["key"] for each in found["changed"]] == [1, 2]


def test_rows_that_were_only_appended_are_the_difference(ws: Workspace) -> None:
    first = begin(ws)
    datasets.add(ws, "planes", planes(100), key="id")
    last = datasets.add(ws, "planes", planes(101), key="id")
    found = diff(ws, first, last)
    assert found["counts"] == {"added": 2, "removed": 0, "changed": 0}
    assert [row["id"] for row in found["added"]] == [100, 101]
    assert diff(ws, last, first)["counts"] == {"added": 0, "removed": 2, "changed": 0}


def test_rows_of_a_type_that_has_no_hash_are_compared_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise pl.exceptions.ComputeError("no hash for this type")

    monkeypatch.setattr(pl.DataFrame, "hash_rows", none)
    one, other = (pl.DataFrame({"id": [1, 2], "x": [1, last]}) for last in (2, 3))
    found = difference(one, other, key="id", columns=["id", "x"])
    assert found.changed_columns() == {"x": 1}


def test_a_version_differs_from_itself_in_nothing(ws: Workspace) -> None:
    first = begin(ws)
    found = diff(ws, first, first)
    assert found["counts"] == {"added": 0, "removed": 0, "changed": 0}
    assert found["changed_columns"] == {}


def test_two_branches_are_compared_in_the_rows_that_either_changed(ws: Workspace) -> None:
    begin(ws)
    branch(ws, "planes", "try")
    ours = datasets.update(ws, "planes", pl.DataFrame({"id": [1], "seats": [-1]}))
    theirs = datasets.update(ws, "planes", pl.DataFrame({"id": [2], "seats": [-2]}), branch="try")
    found = diff(ws, ours, theirs)
    assert found["changed"] == [
        {"key": 1, "columns": {"seats": {"old": -1, "new": 10}}},
        {"key": 2, "columns": {"seats": {"old": 20, "new": -2}}},
    ]


def test_an_order_that_changed_is_told(ws: Workspace) -> None:
    first = datasets.add(ws, "steps", planes(1, 2, 3), key="id", ordered=True)
    second = datasets.add(ws, "steps", planes(3, 2, 1), key="id", mode="replace")
    third = datasets.add(ws, "steps", planes(3, 2, 1, 4), key="id", mode="replace")
    assert diff(ws, first, second)["order_changed"]
    assert not diff(ws, second, third)["order_changed"]


def test_versions_with_other_keys_are_not_compared(ws: Workspace) -> None:
    first = begin(ws)
    second = datasets.add(ws, "planes", planes(1), key="maker", mode="replace")
    with pytest.raises(
        BadInput, match=r"has key 'id' \(Int64\) in version 1 and 'maker' \(String\) in version 2; only"
    ):
        diff(ws, first, second)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (datetime(2013, 4, 1, tzinfo=UTC), "2013-04-01T00:00:00.000000Z"),
        (datetime(2013, 4, 1), "2013-04-01T00:00:00"),
        (date(2013, 4, 1), "2013-04-01"),
        (b"\x01\xff", "01ff"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ({"a": [1, float("inf")]}, {"a": [1, "inf"]}),
        (True, True),
        (None, None),
    ],
)
def test_each_value_has_a_form_in_json(value: Any, want: Any) -> None:
    assert plain(value) == want


CELL = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.0, float("nan")]))
TABLES = st.dictionaries(st.integers(0, 8), st.tuples(CELL, st.sampled_from([None, "a", "b"])))


@given(TABLES, TABLES)
def test_a_difference_is_what_comparing_each_row_finds(old: dict[int, Any], new: dict[int, Any]) -> None:
    def frame(rows: dict[int, Any]) -> pl.DataFrame:
        kinds = {"id": pl.Int64, "x": pl.Float64, "y": pl.String}
        return pl.DataFrame([(key, *values) for key, values in rows.items()], schema=kinds, orient="row")

    def same(one: Any, other: Any) -> bool:
        return one == other or (one is not None and other is not None and one != one and other != other)

    found = difference(frame(old), frame(new), key="id", columns=["id", "x", "y"])
    assert found.added["id"].to_list() == sorted(set(new) - set(old))
    assert found.removed["id"].to_list() == sorted(set(old) - set(new))
    want = {
        key: [not same(one, other) for one, other in zip(old[key], new[key], strict=True)]
        for key in sorted(set(old) & set(new))
    }
    assert {row[0]: [*row[1:]] for row in found.flags.iter_rows()} == {
        key: each for key, each in want.items() if any(each)
    }


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 2)), max_size=6))
def test_values_of_nested_types_are_compared(changes: list[tuple[int, int]]) -> None:
    frame = pl.DataFrame(
        {"id": range(20), "tags": [[n % 3] for n in range(20)], "box": [{"x": n % 3} for n in range(20)]}
    )
    rows = {row["id"]: row for row in frame.to_dicts()}
    for key, value in changes:
        rows[key] = {"id": key, "tags": [value], "box": {"x": value}}
    after = pl.DataFrame(list(rows.values()), schema=frame.schema)
    found = difference(frame, after, key="id", columns=frame.columns)
    want = [key for key in rows if rows[key] != frame.row(key, named=True)]
    assert found.flags["id"].to_list() == want


def test_a_fast_comparison_finds_what_a_full_one_finds(ws: Workspace) -> None:
    begin(ws)
    versions = [datasets.update(ws, "planes", pl.DataFrame({"id": [n, n + 1], "seats": [0, 1]})) for n in range(3)]
    versions.append(datasets.delete(ws, "planes", [1, 9]))
    versions.append(datasets.add(ws, "planes", planes(9, 50), key="id"))
    for one in versions:
        for other in versions:
            fast = between(ws.tables, content(one), content(other))
            frames = [datasets.scan(ws, each).collect() for each in (one, other)]
            full = difference(*frames, key="id", columns=frames[0].columns)
            for name in ("added", "removed", "old", "new", "flags"):
                assert getattr(fast, name).equals(getattr(full, name)), name
