"""Four processes append to one dataset at once, on two machines where the workspace allows it: nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_programs import APPEND, STREAM, acknowledged, started

from tidemill.core.settings import Settings
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets

pytestmark = pytest.mark.slow

PROCESSES = 4
APPENDS = int(os.environ.get("FAULT_APPENDS", "50"))
APPENDS_IN_S3 = int(os.environ.get("FAULT_APPENDS", "12"))  # a commit there is 0.4 s


def crowd(tmp_path: Path, url: str, store: str, code: str, count: int) -> None:
    """Run it, and look at what is there afterwards. Two of the processes have a state folder of another machine."""
    homes = [tmp_path / "here", tmp_path / "there"]
    running = [
        started(
            code,
            url,
            store,
            1_000_000 * number,
            count,
            10,
            tmp_path,
            environment={"TIDEMILL_STATE_FOLDER": str(homes[number % 2])},
        )
        for number in range(PROCESSES)
    ]
    ended = [one.communicate(timeout=540) for one in running]
    assert [one.returncode for one in running] == [0] * PROCESSES, [complaint for _, complaint in ended]
    parts = [part for said, _ in ended for part in acknowledged(said)]
    assert len(parts) == PROCESSES * count
    assert sorted(version for version, _ in parts) == list(range(1, PROCESSES * count + 1))
    ws = open_workspace(url, store=store or None, settings=Settings.load())
    head = datasets.get(ws, "flights")
    assert head.rows == 3 * len(parts)
    rows = datasets.scan(ws, head).sort("id").collect()
    assert rows["id"].to_list() == sorted(key for _, keys in parts for key in keys)
    assert rows["x"].to_list() == [key / 2 for key in rows["id"]]
    for version, keys in parts:  # each version has what was acknowledged with it, and its parent's rows
        there = datasets.get(ws, "flights", version)
        assert there.rows == 3 * version
        assert there.artifact.meta["added"] == 3
        assert set(keys) <= set(rows["id"])
    some = datasets.get(ws, "flights", len(parts) // 2)
    assert datasets.scan(ws, some).collect().height == some.rows
    assert ws.graph.verify() == []
    ws.close()


@pytest.mark.parametrize("code", [APPEND, STREAM], ids=["frames", "streams"])
def test_a_folder_and_sqlite_lose_no_append(tmp_path: Path, code: str) -> None:
    crowd(tmp_path, str(tmp_path / "a.mill"), "", code, APPENDS if code == APPEND else 10)


def test_postgresql_and_s3_lose_no_append_of_two_machines(
    tmp_path: Path, new_database: Callable[[], str], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "here"))
    crowd(tmp_path, new_database(), f"s3://{bucket}/mill", APPEND, APPENDS_IN_S3)
