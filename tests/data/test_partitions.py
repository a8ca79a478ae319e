"""The rows of a version in parts: together they are the rows, and a part travels to another process."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.errors import BadInput, UnknownColumn
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.partitions import partitions


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "parts.mill")


def made(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": range(103), "x": [0.5 * n for n in range(103)], "name": [f"n{n}" for n in range(103)]})
    datasets.add(ws, "cells", frame, key="id")
    datasets.update(ws, "cells", pl.DataFrame({"id": [3, 70], "name": ["three", "seventy"]}))
    datasets.delete(ws, "cells", [0, 50])


@pytest.mark.parametrize("count", [1, 2, 7, 101])
def test_the_parts_together_are_the_rows(ws: Workspace, count: int) -> None:
    made(ws)
    version = datasets.resolve(ws, "cells")
    parts = partitions(ws, version, count, columns=["id", "name"])
    read = [parts.read(number) for number in range(count)]
    assert pl.concat(read).equals(datasets.scan(ws, version, columns=["id", "name"]).collect())
    assert {frame.height for frame in read} <= {101 // count, 101 // count + 1}


def test_a_part_is_read_by_another_process(ws: Workspace) -> None:
    made(ws)
    parts = partitions(ws, datasets.resolve(ws, "cells"), 4, columns=["x"])
    program = "import pickle, sys\nprint(pickle.load(sys.stdin.buffer).read(2)['x'].sum())"
    run = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(parts), capture_output=True, check=True)
    assert float(run.stdout) == parts.read(2)["x"].sum()


def test_other_parts_have_another_digest(ws: Workspace) -> None:
    made(ws)
    first, newest = datasets.resolve(ws, "cells", 1), datasets.resolve(ws, "cells")
    assert partitions(ws, newest, 4).digest == partitions(ws, newest, 4).digest
    others = {
        partitions(ws, newest, 4).digest,
        partitions(ws, newest, 5).digest,
        partitions(ws, newest, 4, columns=["x"]).digest,
        partitions(ws, first, 4).digest,
    }
    assert len(others) == 4


def test_parts_that_cannot_be_are_refused(ws: Workspace) -> None:
    made(ws)
    version = datasets.resolve(ws, "cells")
    with pytest.raises(BadInput, match="'cells' has 101 rows; allowed are 1 to 101 parts, not 102"):
        partitions(ws, version, 102)
    with pytest.raises(UnknownColumn, match=r"no column 'nmae' in dataset 'cells'.*Did you mean 'name'"):
        partitions(ws, version, 2, columns=["nmae"])
    with pytest.raises(BadInput, match="no part 2; there are 2, counted from 0"):
        partitions(ws, version, 2).read(2)


def test_a_version_just_written_and_the_same_read_again_have_the_same_parts(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": [1, 2], "zebra": [1, 2], "ant": [3, 4]})
    written = datasets.add(ws, "cells", frame, key="id")
    read = datasets.resolve(open_workspace(ws.url), "cells")
    assert partitions(ws, written, 2).digest == partitions(ws, read, 2).digest
    assert partitions(ws, read, 2).read(0).columns == ["id", "zebra", "ant"]
