"""A full disk: a readable error, old versions as they were, and work goes on once there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.errors import NoRoom
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.transfer import exporting, importing

SIZE_MB = 24


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def noise(first: int, rows: int) -> pl.DataFrame:
    """Rows that do not compress: 16 bytes and more each."""
    return pl.DataFrame(
        {
            "id": pl.int_range(first, first + rows, eager=True),
            "x": pl.int_range(first, first + rows, eager=True).hash(1).cast(pl.Float64) / 7,
            "y": pl.int_range(first, first + rows, eager=True).hash(2).cast(pl.Float64) / 7,
        }
    )


def filled(place: Path, *, leave_bytes: int) -> Path:
    """A file that takes all room but so much."""
    file = place / "filler"
    room = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    file.write_bytes(b"\0" * max(0, room - leave_bytes))
    return file


def adding(ws: Workspace, place: Path) -> DatasetVersion:
    return datasets.add(ws, "flights", noise(1000, 200_000), key="id")


def importing_a_stream(ws: Workspace, place: Path) -> DatasetVersion:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "SMALL_ROWS", 0)
        patch.setattr("tidemill.core.delta.table_files.FILE_BYTES", 1)  # the first files are written, then it is full
        return importing.import_from(ws, "flights", str(place.parent / "big.parquet"), key="id")


def replacing(ws: Workspace, place: Path) -> DatasetVersion:
    return datasets.add(ws, "flights", noise(5000, 200_000), key="id", mode="replace")


@pytest.mark.parametrize("write", [adding, importing_a_stream, replacing])
@pytest.mark.parametrize("leave_bytes", [3_000_000, 700_000, 20_000])
def test_a_full_disk_is_said_and_old_versions_stay(
    small_disk: Path, write: Callable[[Workspace, Path], DatasetVersion], leave_bytes: int
) -> None:
    noise(1000, 200_000).write_parquet(small_disk.parent / "big.parquet")
    ws = open_workspace(small_disk / "a.mill")
    old = datasets.add(ws, "flights", noise(0, 1000), key="id")
    filler = filled(small_disk, leave_bytes=leave_bytes)
    with pytest.raises(NoRoom, match="free space") as caught:
        write(ws, small_disk)
    assert "No space left" in str(caught.value) or "full" in str(caught.value)
    ws.close()
    filler.unlink()
    again = open_workspace(small_disk / "a.mill")
    assert datasets.get(again, "flights") == old
    assert datasets.scan(again, old).collect().equals(noise(0, 1000))
    assert again.graph.verify() == []
    made = datasets.add(again, "flights", noise(1000, 1000), key="id")
    assert (made.version, made.rows) == (2, 2000)
    assert datasets.scan(again, made).sort("id").collect().equals(noise(0, 2000))
    again.close()


def test_an_export_to_a_full_disk_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "a.mill")
    version = datasets.add(ws, "flights", noise(0, 200_000), key="id")
    filler = filled(small_disk, leave_bytes=300_000)
    for name in ("out.csv", "out.parquet", "out.arrow", "out.jsonl", "table"):
        with pytest.raises(NoRoom, match=r"cannot write to .*No space left.*; free space"):
            exporting.export(ws, version, small_disk / name)
        assert [each.name for each in small_disk.iterdir()] == ["filler"]
    filler.unlink()
    assert exporting.export(ws, version, small_disk / "out.parquet")["rows"] == 200_000
    ws.close()


LIMITED = """
import resource, sys
import polars as pl
from tidemill.core.errors import NoRoom
from tidemill.core.workspace import open_workspace
from tidemill.data.transfer import importing

importing.SMALL_ROWS = 0
ws = open_workspace(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    importing.import_from(ws, "flights", sys.argv[2], key="id")
except NoRoom as error:
    print(error)
"""


def test_a_file_that_may_not_grow_is_said_as_a_full_disk_is(tmp_path: Path) -> None:
    noise(0, 200_000).write_parquet(tmp_path / "big.parquet")
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "a.mill"), str(tmp_path / "big.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot write to" in told.stdout
    assert "File too large" in told.stdout
    assert not list((tmp_path / "a.mill" / "tables").rglob("*.parquet"))
    ws = open_workspace(tmp_path / "a.mill")
    assert datasets.find(ws, "flights") is None
    assert importing.import_from(ws, "flights", str(tmp_path / "big.parquet"), key="id").rows == 200_000
    ws.close()
