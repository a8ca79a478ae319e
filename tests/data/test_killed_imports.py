"""An import that is killed at any of its steps leaves a dataset that opens, and can be run again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.types import DatasetVersion, Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.versioning import diffs

pytestmark = pytest.mark.slow

# The process kills itself as it enters or leaves the named function: what it did until then is real.
IMPORT = """
import os, signal, sys
import polars as pl
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.tables import Tables
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets

root, owner, name, when, first = sys.argv[1:]
kind = {"graph": SqlGraph, "tables": Tables}[owner]
real = getattr(kind, name)

def deadly(*args, **options):
    if name == "write" and not args[1].artifacts:  # the start of the run
        return real(*args, **options)
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    made = real(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)

ws = open_workspace(root)
setattr(kind, name, deadly)
frame = pl.DataFrame({"id": [int(first), int(first) + 1], "x": [0.5, None]})
datasets.add(ws, "flights", frame, key="id")
"""

IMPORT_FIVE = """
import sys
import polars as pl
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets

ws, start = open_workspace(sys.argv[1]), int(sys.argv[2])
for first in range(start, start + 10, 2):
    datasets.add(ws, "flights", pl.DataFrame({"id": [first, first + 1]}), key="id")
"""


def part(first: int) -> pl.DataFrame:
    """The two rows that IMPORT adds."""
    return pl.DataFrame({"id": [first, first + 1], "x": [0.5, None]})


def killed(ws: Workspace, owner: str, name: str, when: str, first: int) -> None:
    """Import in a process of its own that dies there."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORT, str(ws.root), owner, name, when, str(first)], capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def content(ws: Workspace, version: DatasetVersion) -> list[int]:
    """The row ids, sorted."""
    return sorted(datasets.scan(ws, version).collect()["id"].to_list())


CASES = [
    pytest.param(False, "tables", "_write", "after", id="a new dataset, its rows not recorded"),
    pytest.param(False, "graph", "write", "after", id="a new dataset, recorded"),
    pytest.param(True, "tables", "_write", "before", id="one more part, nothing written"),
    pytest.param(True, "tables", "_write", "after", id="one more part, its rows not recorded"),
    pytest.param(True, "graph", "write", "before", id="one more part, about to be recorded"),
    pytest.param(True, "graph", "write", "after", id="one more part, recorded"),
]


@pytest.mark.parametrize(("there", "owner", "name", "when"), CASES)
def test_a_killed_import_can_be_run_again(tmp_path: Path, there: bool, owner: str, name: str, when: str) -> None:
    ws = open_workspace(tmp_path / "a.mill")
    before = [0, 1] if there else []
    if there:
        datasets.add(ws, "flights", part(0), key="id")
    killed(ws, owner, name, when, 2)
    found = datasets.find(ws, "flights")
    recorded = (name, when) == ("write", "after")
    assert (content(ws, found) if found else []) == ([*before, 2, 3] if recorded else before)
    again = datasets.add(ws, "flights", part(2), key="id")
    assert content(ws, again) == [*before, 2, 3]
    assert again.version == (2 if there else 1)
    assert again.rows == len(before) + 2
    assert [each.version for each in datasets.log(ws, "flights")] == list(range(again.version, 0, -1))
    assert ws.graph.verify() == []
    ws.close()


def test_another_part_after_a_kill_does_not_take_up_rows_that_nobody_recorded(tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "a.mill")
    first = datasets.add(ws, "flights", part(0), key="id")
    killed(ws, "tables", "_write", "after", 2)
    killed(ws, "tables", "restore", "after", 4)
    later = datasets.add(ws, "flights", part(6), key="id")
    assert content(ws, later) == [0, 1, 6, 7]
    assert content(ws, first) == [0, 1]
    assert len(ws.graph.find(Query("run", kind="data.import", status="running"))) == 2
    ws.close()


def test_two_processes_import_into_one_dataset_without_losing_a_part(tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "a.mill")
    both = [subprocess.Popen([sys.executable, "-c", IMPORT_FIVE, str(ws.root), str(first)]) for first in (0, 100)]
    assert [each.wait() for each in both] == [0, 0]
    versions = datasets.log(ws, "flights")
    assert [each.version for each in versions] == list(range(10, 0, -1))
    assert [each.rows for each in versions] == list(range(20, 0, -2))
    assert content(ws, versions[0]) == [*range(10), *range(100, 110)]
    ws.close()


UPDATE = """
import os, signal, sys
import polars as pl
from tidemill.core.tables import Tables
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets

ws, real, left = open_workspace(sys.argv[1]), Tables._write, [int(sys.argv[2])]

def deadly(*args, **options):
    made = real(*args, **options)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return made

Tables._write = deadly
before = datasets.scan(ws, datasets.get(ws, "flights")).collect()
rows = before.filter(pl.col("id") > 0).with_columns(x=pl.when(id=1).then(9.0).otherwise("x"))
more = pl.DataFrame({"id": [900], "x": [1.0]})
datasets.add(ws, "flights", pl.concat([rows, more]), key="id", mode="replace")
"""


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_a_change_that_is_killed_between_its_tables_leaves_the_version_as_it_was(tmp_path: Path, commits: int) -> None:
    """It writes a new row to the base, a value to one layer, a key to another: none of them is there until all are."""
    ws = open_workspace(tmp_path / "a.mill")
    first = datasets.add(ws, "flights", pl.DataFrame({"id": list(range(50)), "x": [0.5] * 50}), key="id")
    command = [sys.executable, "-c", UPDATE, str(ws.root), str(commits)]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert datasets.log(ws, "flights") == [first]
    assert content(ws, first) == list(range(50))
    second = datasets.update(ws, "flights", pl.DataFrame({"id": [7], "x": [7.0]}))
    third = datasets.delete(ws, "flights", [8])
    found = diffs.diff(ws, datasets.get(ws, "flights", 1), datasets.get(ws, "flights", 3))
    assert [row["key"] for row in found["changed"]] == [7]
    assert (second.rows, content(ws, third)) == (50, [n for n in range(50) if n != 8])
    again = subprocess.run([*command[:-1], "99"], capture_output=True, check=False)
    assert again.returncode == 0, again.stderr.decode()
    last = datasets.get(ws, "flights")
    assert content(ws, last) == [*(n for n in range(1, 50) if n != 8), 900]
    assert datasets.scan(ws, last).filter(pl.col("id").is_in([1, 7])).collect().sort("id")["x"].to_list() == [9.0, 7.0]
    ws.close()
