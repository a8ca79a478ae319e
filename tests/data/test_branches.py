"""Branches: a line of versions of its own, merged by key; what both changed is told and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.core.types import DatasetVersion, Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.versioning import diffs
from tidemill.data.versioning.branches import MergeConflict, Side, branch, branches, merge, three_way
from tidemill.data.versioning.versions import ancestry, log


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "test.mill")
    yield workspace
    workspace.close()


def cells(*ids: int, label: str = "red", size: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame({"id": list(ids), "label": [label] * len(ids), "size": [size] * len(ids)})


def begin(ws: Workspace) -> DatasetVersion:
    """Twenty cells, and a branch "try"."""
    first = datasets.add(ws, "cells", cells(*range(20)), key="id")
    branch(ws, "cells", "try")
    return first


def say(ws: Workspace, branch: str, **columns: list[Any]) -> DatasetVersion:
    return datasets.update(ws, "cells", pl.DataFrame(columns), branch=branch)


def rows(ws: Workspace, version: DatasetVersion) -> dict[int, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in datasets.scan(ws, version).collect().iter_rows()}


# ------------------------------------------------------------------------------------------------------------- branches


def test_a_branch_begins_at_a_version_and_goes_its_own_way(ws: Workspace) -> None:
    first = begin(ws)
    runs = len(ws.graph.find(Query("run")))
    assert branches(ws, "cells") == {"main": first, "try": first}
    assert len(ws.graph.find(Query("run"))) == runs
    mine = say(ws, "main", id=[1], label=["main"])
    theirs = datasets.add(ws, "cells", cells(100), key="id", branch="try")
    assert branches(ws, "cells") == {"main": mine, "try": theirs}
    assert (mine.artifact.meta["parent"], theirs.artifact.meta["parent"]) == (first.id, first.id)
    assert (mine.version, theirs.version) == (2, 3)
    assert datasets.get(ws, "cells") == mine
    assert datasets.resolve(ws, "cells", "try") == theirs
    assert rows(ws, mine)[1][0] == "main"
    assert rows(ws, theirs)[1][0] == "red"
    assert 100 not in rows(ws, mine)
    assert log(ws, "cells", branch="try") == [theirs, first]


def test_a_branch_begins_where_it_is_told(ws: Workspace) -> None:
    first = begin(ws)
    say(ws, "main", id=[1], label=["main"])
    assert branch(ws, "cells", "old", at=1) == first
    assert branch(ws, "cells", "older", at="try") == first


def test_a_clock_looks_at_main_alone(ws: Workspace) -> None:
    at = datetime(2013, 4, 1, tzinfo=UTC)
    frame = pl.DataFrame({"id": [1, 2], "known": [at, at]})
    first = datasets.add(ws, "late", frame, key="id", known_time="known")
    branch(ws, "late", "try")
    datasets.add(ws, "late", frame.with_columns(pl.col("id") + 10), key="id", known_time="known", branch="try")
    assert datasets.get(ws.at(at), "late") == datasets.get(ws, "late") == first


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("try", "dataset 'cells' has a branch 'try' already; write to it, or choose another name"),
        ("main", "dataset 'cells' has a branch 'main' already; write to it, or choose another name"),
        ("gold", "'gold' is a tag of dataset 'cells'; choose another name for the branch"),
        ("12", "'12' is no branch; allowed are letters, digits, '.', '_', '-', '/', at most 100, not digits alone"),
    ],
)
def test_a_name_that_is_taken_or_none_begins_no_branch(ws: Workspace, label: str, told: str) -> None:
    begin(ws)
    datasets.tag(ws, "cells", 1, "gold")
    with pytest.raises(BadInput) as caught:
        branch(ws, "cells", label)
    assert str(caught.value) == told
    assert list(branches(ws, "cells")) == ["main", "try"]


def test_a_branch_that_is_not_there_is_named_with_the_nearest(ws: Workspace) -> None:
    begin(ws)
    with pytest.raises(NotFound) as caught:
        say(ws, "tri", id=[1], label=["x"])
    assert str(caught.value) == (
        "dataset 'cells' has no branch 'tri'; it has main, try. Did you mean 'try'? Make it with branch first"
    )
    with pytest.raises(NotFound, match="no dataset 'cels'"):
        branches(ws, "cels")


# ---------------------------------------------------------------------------------------------------------------- merge


def test_a_merge_takes_what_each_side_changed(ws: Workspace) -> None:
    first = begin(ws)
    say(ws, "try", id=[1, 2], label=["blue", "blue"])
    datasets.add(ws, "cells", cells(100), key="id", branch="try")
    theirs = datasets.delete(ws, "cells", [5], branch="try")
    say(ws, "main", id=[2], size=[9.0])
    ours = datasets.add(ws, "cells", cells(200), key="id")
    made = merge(ws, "cells", "try")
    found = rows(ws, made)
    assert found[1] == ("blue", 1.0)
    assert found[2] == ("blue", 9.0)
    assert {100, 200} <= set(found)
    assert 5 not in found
    assert made.rows == 21
    meta = made.artifact.meta
    assert (meta["parent"], meta["merged"], meta["base_version"], meta["step"]) == (ours.id, theirs.id, 1, "merge")
    assert {each.id for each in made.trace(depth=1).artifacts} == {made.id, ours.id, theirs.id, first.id}
    assert first in ancestry(made, datasets.log(ws, "cells"))
    assert branches(ws, "cells")["try"] == theirs


def test_a_branch_that_main_did_not_leave_behind_is_taken_as_it_is(ws: Workspace) -> None:
    begin(ws)
    theirs = say(ws, "try", id=[1], label=["blue"])
    made = merge(ws, "cells", "try", message="good")
    assert (made.digest, made.pinned, made.artifact.meta["layers"]) == (
        theirs.digest,
        theirs.pinned,
        theirs.artifact.meta["layers"],
    )
    assert made.artifact.meta["message"] == "good"
    assert merge(ws, "cells", "try") == made
    assert merge(ws, "cells", "main", into="try").digest == made.digest


@pytest.mark.parametrize("key", ["b", "o", "t", "side"])
def test_a_key_may_have_any_name(ws: Workspace, key: str) -> None:
    datasets.add(ws, "cells", pl.DataFrame({key: [1, 2, 3], "x": [1.0, 2.0, 3.0]}), key=key)
    branch(ws, "cells", "other")
    datasets.update(ws, "cells", pl.DataFrame({key: [1], "x": [9.0]}), branch="other")
    datasets.update(ws, "cells", pl.DataFrame({key: [2], "x": [8.0]}))
    merged = datasets.scan(ws, merge(ws, "cells", "other")).collect().sort(key)
    assert merged.to_dict(as_series=False) == {key: [1, 2, 3], "x": [9.0, 8.0, 3.0]}


def test_a_second_merge_begins_where_the_first_one_ended(ws: Workspace) -> None:
    begin(ws)
    say(ws, "try", id=[1], label=["blue"])
    merge(ws, "cells", "try")
    say(ws, "main", id=[1], label=["green"])
    say(ws, "try", id=[2], label=["blue"])
    made = merge(ws, "cells", "try")
    assert (rows(ws, made)[1][0], rows(ws, made)[2][0]) == ("green", "blue")


def test_new_columns_and_their_values_are_merged(ws: Workspace) -> None:
    begin(ws)
    datasets.add_column(ws, "cells", pl.DataFrame({"id": [1, 2], "by": ["ann", "bob"]}), branch="try")
    datasets.add_column(ws, "cells", pl.DataFrame({"id": [1], "note": ["?"]}))
    datasets.add(ws, "cells", cells(200).with_columns(note=pl.lit("!")), key="id")
    made = merge(ws, "cells", "try")
    found = rows(ws, made)
    assert datasets.scan(ws, made).collect_schema().names() == ["id", "label", "size", "note", "by"]
    assert (found[1], found[2], found[200]) == (
        ("red", 1.0, "?", "ann"),
        ("red", 1.0, None, "bob"),
        ("red", 1.0, "!", None),
    )


def test_conflicts_are_told_row_by_row_and_nothing_is_written(ws: Workspace) -> None:
    begin(ws)
    say(ws, "try", id=[1, 2, 3], label=["blue", "blue", "same"])
    datasets.delete(ws, "cells", [4], branch="try")
    say(ws, "try", id=[5], size=[7.0])
    datasets.add(ws, "cells", cells(100, size=1.0), key="id", branch="try")
    say(ws, "main", id=[1, 3, 4], label=["green", "same", "green"])
    datasets.delete(ws, "cells", [5])
    ours = datasets.add(ws, "cells", cells(100, size=2.0), key="id")
    before = len(datasets.log(ws, "cells")), len(ws.graph.find(Query("run")))
    with pytest.raises(MergeConflict) as caught:
        merge(ws, "cells", "try")
    assert [each.json() for each in caught.value.conflicts] == [
        {"key": 1, "column": "label", "base": "red", "ours": "green", "theirs": "blue"},
        {"key": 4, "column": None, "base": None, "ours": "changed", "theirs": "removed"},
        {"key": 5, "column": None, "base": None, "ours": "removed", "theirs": "changed"},
        {"key": 100, "column": "size", "base": None, "ours": 2.0, "theirs": 1.0},
    ]
    assert str(caught.value) == (
        "4 conflicts between version 8 and 5 of dataset 'cells': row 1 label ('red' is 'green' in ours, 'blue' in "
        "theirs); row 4 (changed in ours, removed in theirs); row 5 (removed in ours, changed in theirs); row 100 size "
        "(None is 2.0 in ours, 1.0 in theirs). Nothing was merged; say whose values each row takes: "
        "resolve={key: 'ours'} or 'theirs'"
    )
    assert isinstance(caught.value, Conflict)
    assert (len(datasets.log(ws, "cells")), len(ws.graph.find(Query("run")))) == before
    assert branches(ws, "cells")["main"] == ours


def test_a_person_says_whose_values_a_row_with_conflicts_takes(ws: Workspace) -> None:
    begin(ws)
    say(ws, "try", id=[1, 2], label=["blue", "blue"])
    datasets.delete(ws, "cells", [4, 14], branch="try")
    say(ws, "try", id=[5, 15], size=[7.0, 7.0])
    say(ws, "main", id=[1, 2, 4, 14], label=["green", "green", "green", "green"])
    datasets.delete(ws, "cells", [5, 15])
    settled: dict[Any, Any] = {1: "ours", "2": "theirs", 4: "ours", 14: "theirs", 5: "ours", 15: "theirs"}
    found = rows(ws, merge(ws, "cells", "try", resolve=settled))
    assert (found[1][0], found[2][0], found[4][0], found[15]) == ("green", "blue", "green", ("red", 7.0))
    assert not {14, 5} & set(found)


def test_a_merge_that_cannot_be_is_told(ws: Workspace) -> None:
    begin(ws)
    with pytest.raises(BadInput, match="resolve says 'mine'; allowed are 'ours'"):
        merge(ws, "cells", "try", resolve={1: "mine"})  # type: ignore[dict-item]
    with pytest.raises(NotFound, match="has no version, tag, branch or digest 'tyr'"):
        merge(ws, "cells", "tyr")
    say(ws, "main", id=[1], label=["green"])
    datasets.add(ws, "cells", cells(*range(20)).cast({"size": pl.Int64}), key="id", mode="replace", branch="try")
    with pytest.raises(
        BadInput, match="column 'size' of dataset 'cells' is Float64 in version 1, Float64 in version 2, I"
    ):
        merge(ws, "cells", "try")
    datasets.add(ws, "cells", cells(*range(20)).drop("size"), key="id", mode="replace", branch="try")
    with pytest.raises(BadInput, match="version 4 of dataset 'cells' has no column 'size' any more"):
        merge(ws, "cells", "try")
    branch(ws, "cells", "more", at=1)
    say(ws, "more", id=[3], size=[3.0])
    with pytest.raises(BadInput, match="column 'size' was taken out, and version 5 has it in rows that it changed"):
        merge(ws, "cells", "more", into="try")


# ------------------------------------------------------------------------------------------------ against a plain model

TABLES = st.dictionaries(st.integers(0, 5), st.tuples(st.sampled_from([None, 1, 2]), st.sampled_from([None, "a"])))


def frame(table: dict[int, tuple[int | None, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(key, *values) for key, values in table.items()],
        schema={"id": pl.Int64, "x": pl.Int64, "y": pl.String},
        orient="row",
    )


@given(TABLES, TABLES, TABLES)
def test_a_three_way_merge_does_value_by_value_what_a_person_would(base: Any, ours: Any, theirs: Any) -> None:
    want: dict[int, tuple[Any, ...]] = {}
    conflicts: list[tuple[int, str | None]] = []
    for key in sorted({*base, *ours, *theirs}):
        b, o, t = base.get(key), ours.get(key), theirs.get(key)
        if o == t or t == b:
            want[key] = o
        elif o == b:
            want[key] = t
        elif o is None or t is None:
            conflicts.append((key, None))
        else:
            values = []
            for place, name in enumerate(("x", "y")):
                was = b[place] if b else object()
                if o[place] != t[place] and was not in (o[place], t[place]):
                    conflicts.append((key, name))
                values.append(t[place] if o[place] == was else o[place])
            want[key] = tuple(values)
    target, found = three_way(frame(base), frame(ours), frame(theirs), key="id", settled={})
    assert [(each.key, each.column) for each in found] == conflicts
    at_odds = {key for key, _ in conflicts}
    got = {row[0]: row[1:] for row in target.iter_rows() if row[0] not in at_odds}
    assert got == {key: values for key, values in want.items() if values is not None and key not in at_odds}
    sides: list[tuple[Side, Any]] = [("ours", ours), ("theirs", theirs)]
    for side, other in sides:
        settled, none = three_way(
            frame(base), frame(ours), frame(theirs), key="id", settled={str(key): side for key in range(6)}
        )
        assert none == []
        removed = {key for key, name in conflicts if name is None}
        assert {row[0]: row[1:] for row in settled.iter_rows() if row[0] in removed} == {
            key: other[key] for key in removed if key in other
        }


@pytest.mark.slow
def test_branches_and_layers_live_in_postgresql_and_s3(
    bucket: str, new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path))
    address = new_database()
    ws = open_workspace(address, store=f"s3://{bucket}/mill")
    begin(ws)
    say(ws, "try", id=[1], label=["blue"])
    say(ws, "main", id=[2], label=["green"])
    datasets.delete(ws, "cells", [3])
    made = merge(ws, "cells", "try")
    ws.close()
    again = open_workspace(address, store=f"s3://{bucket}/mill")
    found = rows(again, made)
    assert (found[1][0], found[2][0], 3 in found, made.rows) == ("blue", "green", False, 19)
    found = diffs.diff(again, datasets.get(again, "cells", 1), datasets.resolve(again, "cells", "main"))
    assert [row["key"] for row in found["changed"]] == [1, 2]
    again.close()
