"""Versions are found by number, tag, branch and digest; going back makes a new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion, Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.versioning import diffs
from tidemill.data.versioning.branches import branch, branches


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "test.mill")
    yield workspace
    workspace.close()


def three(ws: Workspace) -> list[DatasetVersion]:
    parts = [pl.DataFrame({"id": [3 * n, 3 * n + 1, 3 * n + 2]}) for n in range(3)]
    return [datasets.add(ws, "log", part, key="id") for part in parts]


def folder_bytes(ws: Workspace) -> int:
    return sum(each.stat().st_size for each in (ws.root / "tables").rglob("*") if each.is_file())


def test_a_version_is_found_by_number_tag_branch_and_digest(ws: Workspace) -> None:
    first, second, third = three(ws)
    branch(ws, "log", "try", at=1)
    datasets.tag(ws, "log", 2, "gold/v1")
    for ref, want in (
        (None, third),
        (1, first),
        ("2", second),
        ("gold/v1", second),
        ("try", first),
        ("main", third),
        (second.digest, second),
        (first.digest[:8], first),
        (third, third),
    ):
        assert datasets.resolve(ws, "log", ref) == want


def test_a_name_of_no_version_is_answered_with_what_there_is(ws: Workspace) -> None:
    three(ws)
    branch(ws, "log", "try")
    datasets.tag(ws, "log", 2, "gold")
    for ref, told in (
        ("glod", "it has versions 1 to 3, gold, main, try. Did you mean 'gold'?"),
        ("ffffffff", "it has versions 1 to 3, gold, main, try."),
    ):
        with pytest.raises(NotFound) as caught:
            datasets.resolve(ws, "log", ref)
        assert str(caught.value) == f"dataset 'log' has no version, tag, branch or digest {ref!r}; {told}"
    with pytest.raises(NotFound, match="dataset 'log' has no version 9; it has 1 to 3"):
        datasets.resolve(ws, "log", "9")
    with pytest.raises(NotFound, match=r"no dataset 'lag'; there are log. Did you mean 'log'?"):
        datasets.resolve(ws, "lag", "gold")


def test_a_tag_moves_and_is_taken_away_and_each_is_in_the_log(ws: Workspace) -> None:
    three(ws)
    datasets.tag(ws, "log", 1, "gold")
    datasets.tag(ws, "log", 3, "best")
    assert datasets.tag(ws, "log", "best", "gold").version == 3
    assert datasets.tags(ws, "log") == {"best": 3, "gold": 3}
    datasets.untag(ws, "log", "best")
    assert datasets.tags(ws, "log") == {"gold": 3}
    told = [(each.kind, each.body["tag"], each.actor) for each in ws.graph.events("tags/log")]
    who = ws.settings.who
    assert told == [("set", "gold", who), ("set", "best", who), ("set", "gold", who), ("removed", "best", who)]
    with pytest.raises(NotFound, match="dataset 'log' has no tag 'best'; it has gold"):
        datasets.untag(ws, "log", "best")


@pytest.mark.parametrize("label", ["", "12", "a b", "-x", "main", "try", "x" * 101])
def test_a_tag_that_could_mean_something_else_is_refused(ws: Workspace, label: str) -> None:
    three(ws)
    branch(ws, "log", "try")
    with pytest.raises(BadInput):
        datasets.tag(ws, "log", 1, label)
    assert datasets.tags(ws, "log") == {}


def test_going_back_makes_a_version_and_stores_no_rows(ws: Workspace) -> None:
    first, _, third = three(ws)
    before = folder_bytes(ws)
    back = datasets.revert(ws, "log", 1)
    assert (back.version, back.digest, back.rows, back.pinned) == (4, first.digest, 3, first.pinned)
    assert (back.artifact.meta["parent"], back.artifact.meta["message"]) == (third.id, "back to version 1")
    assert folder_bytes(ws) == before
    assert datasets.revert(ws, "log", 1) == datasets.get(ws, "log") == back
    after = datasets.add(ws, "log", pl.DataFrame({"id": [5]}), key="id")
    assert datasets.scan(ws, after).collect()["id"].sort().to_list() == [0, 1, 2, 5]
    assert datasets.scan(ws, third).collect().height == 9
    (run,) = ws.graph.find(Query("run", kind="data.revert"))
    assert {each.id for each in back.trace(depth=1).artifacts} == {back.id, third.id, first.id}
    assert run.id == back.artifact.run_id


def test_a_version_recorded_before_there_were_layers_is_read_and_written_on(ws: Workspace) -> None:
    """Its record has none of the keys that came later."""
    pinned = ws.tables.create("datasets/old", pl.DataFrame({"id": list(range(50)), "x": [0.5] * 50}))
    with recorded(ws, "data.import", "old") as run:
        meta = {
            "table": pinned.table,
            "table_version": pinned.version,
            "rows": 50,
            "columns": {"id": "Int64", "x": "Float64"},
            "key": "id",
            "event_time": None,
            "known_time": None,
            "parent": None,
            "message": "",
            "added": 50,
            "first_known": None,
        }
        old = DatasetVersion(run.emit("dataset", "old", digest=pinned.digest, meta=meta))
    assert datasets.scan(ws, old).collect().height == 50
    assert branches(ws, "old") == {"main": old}
    assert datasets.add(ws, "old", pl.DataFrame({"id": [1], "x": [0.5]}), key="id") == old
    second = datasets.add(ws, "old", pl.DataFrame({"id": [50], "x": [1.0]}), key="id")
    third = datasets.update(ws, "old", pl.DataFrame({"id": [3], "x": [2.0]}))
    found = diffs.diff(ws, datasets.get(ws, "old", 1), datasets.get(ws, "old", 3))
    changed = [row["key"] for row in found["changed"]]
    assert (second.version, third.version, [row["id"] for row in found["added"]], changed) == (2, 3, [50], [3])
