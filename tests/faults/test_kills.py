"""kill -9 in the middle of commits: nothing acknowledged is lost, nothing partial is seen, the next append works.

`python tests/faults/test_kills.py 100` kills a hundred times.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from fault_programs import APPEND, STREAM, acknowledged, data_files, started

from tidemill.core.types import DatasetVersion, Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.versioning import layers

pytestmark = pytest.mark.slow

KILLS = 10
LONGEST_S = 0.25  # several appends long
NAME = "flights"


def killed(tmp_path: Path, url: str, code: str, first: int, wait_s: float) -> list[tuple[int, list[int]]]:
    """Append until killed, so many seconds after the first acknowledgement; what was acknowledged."""
    writer = started(code, url, "", first, 1_000_000, 10, tmp_path)
    assert writer.stdout is not None
    said = writer.stdout.readline()
    time.sleep(wait_s)
    writer.send_signal(signal.SIGKILL)
    rest, complaint = writer.communicate(timeout=60)
    assert writer.returncode == -signal.SIGKILL, complaint
    return acknowledged(said + rest)


def whole(ws: Workspace, known: dict[int, list[int]]) -> DatasetVersion:
    """Look at all of the dataset: versions without a gap, each with its parent's rows and three of its own."""
    versions = {version.version: version for version in datasets.log(ws, NAME)}
    assert sorted(versions) == list(range(1, len(versions) + 1))
    head = versions[len(versions)]
    rows = datasets.scan(ws, head).collect()  # verified: rows and digest are those of the record
    assert rows.height == head.rows == 3 * head.version
    keys = set(rows["id"])
    for version, ids in known.items():
        assert versions[version].rows == 3 * version
        assert keys.issuperset(ids), f"version {version} was acknowledged, its rows {ids} are not there"
    for key in keys:
        assert {key - key % 10 + n for n in range(3)} <= keys, f"a part of the part of row {key}"
    assert rows["x"].to_list() == [key / 2 for key in rows["id"]]
    return head


def kill_often(tmp_path: Path, url: str, kills: int, *, seed: int = 0) -> dict[str, int]:
    """Kill writers so often; look each time; append in between. Returns counts."""
    chance = random.Random(seed)
    known: dict[int, list[int]] = {}
    begun = 0
    for number in range(kills):
        code = (APPEND, STREAM)[number % 2]
        for version, ids in killed(tmp_path, url, code, 10_000_000 * (number + 1), chance.uniform(0, LONGEST_S)):
            known[version] = ids
        ws = open_workspace(url)
        before = whole(ws, known)
        own = [10 * number + n for n in range(3)]
        made = datasets.add(ws, NAME, pl.DataFrame({"id": own, "x": [n / 2 for n in own]}), key="id")
        assert made.version == before.version + 1
        known[made.version] = own
        whole(ws, known)
        begun = len(ws.graph.find(Query("run", kind="data.import", status="running")))
        ws.close()
    ws = open_workspace(url)
    assert ws.graph.verify() == []
    for version in datasets.log(ws, NAME)[:: max(1, len(known) // 20)]:
        assert datasets.scan(ws, version).collect().height == version.rows
    counts = {"kills": kills, "acknowledged": len(known), "interrupted": begun}
    ws.close()
    return counts


def orphans(ws: Workspace) -> set[Path]:
    """Files of rows that no version of any table names."""
    from deltalake import DeltaTable

    found: set[Path] = set()
    for log in Path(ws.tables.root).rglob("_delta_log"):
        named: set[str] = set()
        for number in range(DeltaTable(str(log.parent)).version() + 1):
            named.update(DeltaTable(str(log.parent), version=number).file_uris())
        found |= {path for path in data_files(log.parent) if str(path) not in named}
    return found


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    url = str(tmp_path / "a.mill")
    counts = kill_often(tmp_path, url, KILLS)
    assert counts["acknowledged"] >= 2 * KILLS
    ws = open_workspace(url)
    left = orphans(ws)
    sweeping = pytest.importorskip("tidemill.improve.sweeping", reason="the sweep is not there yet")
    sweeping.sweep(ws, older_than_s=0)
    assert orphans(ws) == set(), f"{len(left)} before the sweep"
    for version in datasets.log(ws, NAME):
        for pinned in layers.parts(version):
            assert ws.tables.frame(pinned).height == pinned.rows
    ws.close()


def test_postgresql_loses_nothing_to_kill_9_and_lets_go_of_its_locks(
    tmp_path: Path, new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "here"))
    monkeypatch.setenv("TIDEMILL_STORE", str(tmp_path / "objects"))
    monkeypatch.setenv("TIDEMILL_TABLES", str(tmp_path / "tables"))
    assert kill_often(tmp_path, new_database(), 4)["kills"] == 4


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(kill_often(Path(folder), f"{folder}/a.mill", int(sys.argv[1]), seed=int(time.time())))
        there = open_workspace(f"{folder}/a.mill")
        print(f"{len(orphans(there))} files of rows that no version names")
