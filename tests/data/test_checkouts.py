"""Checking files out: bit for bit, nothing outside the folder, nothing lost that is stored nowhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.core.errors import BadInput, Conflict, Corrupt, NotFound
from tidemill.core.ids import digest
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.filesets import files
from tidemill.data.filesets.checkouts import checkout


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "test.mill")
    yield workspace
    workspace.close()


def fill(folder: Path, contents: dict[str, bytes]) -> Path:
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def held(folder: Path) -> dict[str, bytes]:
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def version(ws: Workspace, source: Path, contents: dict[str, bytes]) -> DatasetVersion:
    for old in held(source) if source.exists() else ():
        (source / old).unlink()
    return files.add_folder(ws, "cells", fill(source, contents))


ONE = {"a.png": b"first", "train/b.png": b"second", "train/empty": b"", "two\nlines/ü.png": b"odd"}
TWO = {"a.png": b"FIRST", "c.png": b"third"}


def test_a_version_comes_back_bit_for_bit(ws: Workspace, tmp_path: Path) -> None:
    made = version(ws, tmp_path / "in", ONE)
    assert checkout(ws, made, tmp_path / "out") == {"written": 4, "removed": 0, "unchanged": 0}
    assert held(tmp_path / "out") == ONE
    assert checkout(ws, made, tmp_path / "out") == {"written": 0, "removed": 0, "unchanged": 4}


def test_another_version_in_the_same_folder_writes_and_removes_what_differs(ws: Workspace, tmp_path: Path) -> None:
    first, second = version(ws, tmp_path / "in", ONE), version(ws, tmp_path / "in", TWO)
    checkout(ws, first, tmp_path / "out")
    assert checkout(ws, second, tmp_path / "out") == {"written": 2, "removed": 3, "unchanged": 0}
    assert held(tmp_path / "out") == TWO
    assert not (tmp_path / "out" / "train").exists()
    checkout(ws, first, tmp_path / "out")
    assert held(tmp_path / "out") == ONE


def test_status_of_a_checked_out_folder_is_clean(ws: Workspace, tmp_path: Path) -> None:
    made = version(ws, tmp_path / "in", ONE)
    checkout(ws, made, tmp_path / "out")
    assert files.status(ws, "cells", tmp_path / "out") == {"added": [], "changed": [], "removed": [], "unchanged": 4}
    assert files.add_folder(ws, "cells", tmp_path / "out").id == made.id


def test_a_changed_file_that_is_stored_nowhere_stops_it_before_anything_is_touched(
    ws: Workspace, tmp_path: Path
) -> None:
    first, second = version(ws, tmp_path / "in", ONE), version(ws, tmp_path / "in", TWO)
    checkout(ws, first, tmp_path / "out")
    fill(tmp_path / "out", {"a.png": b"an hour's work"})
    with pytest.raises(Conflict, match=r"1 files in .* were changed and are stored nowhere, such as 'a.png'; add the"):
        checkout(ws, second, tmp_path / "out")
    assert held(tmp_path / "out") == {**ONE, "a.png": b"an hour's work"}
    checkout(ws, second, tmp_path / "out", force=True)
    assert held(tmp_path / "out") == TWO


def test_files_of_the_users_own_are_left(ws: Workspace, tmp_path: Path) -> None:
    first, second = version(ws, tmp_path / "in", ONE), version(ws, tmp_path / "in", TWO)
    checkout(ws, first, tmp_path / "out")
    fill(tmp_path / "out", {"notes.txt": b"mine", "train/b.png": b"changed, and not in the other version"})
    checkout(ws, second, tmp_path / "out", force=True)
    assert held(tmp_path / "out") == {
        **TWO,
        "notes.txt": b"mine",
        "train/b.png": b"changed, and not in the other version",
    }


def test_a_file_becomes_a_folder_and_back(ws: Workspace, tmp_path: Path) -> None:
    first = version(ws, tmp_path / "in", {"a": b"file"})
    second = files.add_folder(ws, "cells", fill(tmp_path / "in2", {"a/b": b"below", "a/c/d": b"deeper"}))
    for made, expected in ((first, {"a": b"file"}), (second, {"a/b": b"below", "a/c/d": b"deeper"})) * 2:
        checkout(ws, made, tmp_path / "out")
        assert held(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("mine", "said"),
    [({"a": b"mine"}, "a file is at 'a' in .*, where 'a/b' has"), ({"a/b/c": b"mine"}, "a folder is at 'a/b' in")],
)
def test_what_stands_in_the_way_and_is_the_users_is_named(
    ws: Workspace, tmp_path: Path, mine: dict[str, bytes], said: str
) -> None:
    made = version(ws, tmp_path / "in", {"a/b": b"below"})
    fill(tmp_path / "out", mine)
    with pytest.raises(Conflict, match=said):
        checkout(ws, made, tmp_path / "out")
    assert held(tmp_path / "out") == mine


@pytest.mark.parametrize(
    "path", ["../evil", "/etc/evil", "a/../../evil", "a//b", "./a", "", "a/", "nul\0l", ".tidemill-x/a"]
)
def test_a_path_that_leads_out_of_the_folder_is_refused(ws: Workspace, tmp_path: Path, path: str) -> None:
    made = version(ws, tmp_path / "in", ONE)
    rows = (
        datasets.scan(ws, made)
        .collect()
        .with_columns(path=pl.when(pl.col("path") == "a.png").then(pl.lit(path)).otherwise("path"))
    )
    crafted = datasets.add(ws, "cells", rows, key="path", mode="replace")
    with pytest.raises(BadInput, match="could lead out of the folder; a path is names joined by '/'"):
        checkout(ws, crafted, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("link", ["a.png", "train"])
def test_nothing_is_written_through_a_link(ws: Workspace, tmp_path: Path, link: str) -> None:
    made = version(ws, tmp_path / "in", ONE)
    outside = fill(tmp_path / "outside", {"b.png": b"keep"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / link).symlink_to(outside / "b.png" if link == "a.png" else outside)
    with pytest.raises(BadInput, match=f"'{link}' in .* is a link, and .* would be written through it; remove it"):
        checkout(ws, made, tmp_path / "out", force=True)
    assert held(outside) == {"b.png": b"keep"}


def test_names_that_differ_by_case_are_two_files_where_the_file_system_says_so(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "probe").touch()
    if (tmp_path / "PROBE").exists():
        pytest.skip("this file system does not tell capitals")
    both = {"A.png": b"large", "a.png": b"small"}
    made = version(ws, tmp_path / "in", both)
    checkout(ws, made, tmp_path / "out")
    assert held(tmp_path / "out") == both
    assert files.scanned(ws, "cells")["collisions"] == [["A.png", "a.png"]]


def test_broken_bytes_are_not_put_in_place(ws: Workspace, tmp_path: Path) -> None:
    made = version(ws, tmp_path / "in", ONE)
    for name in files.blobs_of(ws, made):
        place = ws.root / "objects" / name[:2] / name
        place.write_bytes(place.read_bytes().replace(b"second", b"SECOND"))
    with pytest.raises(Corrupt):
        checkout(ws, made, tmp_path / "out")
    assert not (tmp_path / "out" / "train/b.png").exists()
    assert not list((tmp_path / "out").glob(".tidemill-*"))


def test_an_erased_file_is_named_and_stops_it(ws: Workspace, tmp_path: Path) -> None:
    made = version(ws, tmp_path / "in", ONE)
    files.forget(ws, [digest(b"second")])
    with pytest.raises(NotFound, match=r"the bytes of 1 files, such as 'train/b.png', are stored nowhere: they were"):
        checkout(ws, made, tmp_path / "out")
    assert held(tmp_path / "out") == {}


def test_progress_counts_the_files_written(ws: Workspace, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    checkout(ws, version(ws, tmp_path / "in", TWO), tmp_path / "out", progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 2), (2, 2)]


contents = st.dictionaries(st.sampled_from(["a", "b/c", "b/d", "e/f/g", "ü"]), st.binary(max_size=4), min_size=1)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(contents, min_size=1, max_size=4))
def test_any_row_of_versions_can_be_walked_up_and_down(
    ws: Workspace, tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, bytes]]
) -> None:
    home = tmp_path_factory.mktemp("walk")
    versions = [version(ws, home / "in", state) for state in states]
    for made, state in [*zip(versions, states, strict=True), *zip(versions[::-1], states[::-1], strict=True)]:
        checkout(ws, made, home / "out")
        assert held(home / "out") == state


KILLED = """
import os, signal, sys
from pathlib import Path
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.data.filesets import files
from tidemill.data.filesets.checkouts import checkout
ws = open_workspace(sys.argv[1])

def die(done, total):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

checkout(ws, datasets.get(ws, "cells"), Path(sys.argv[2]), progress=die)
"""


def test_a_killed_checkout_leaves_whole_files_and_is_finished_by_the_next(ws: Workspace, tmp_path: Path) -> None:
    made = version(ws, tmp_path / "in", ONE)
    out = tmp_path / "out"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(ws.root), str(out)], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    left = held(out)
    assert len(left) == 2
    assert left.items() <= ONE.items()
    (litter,) = out.glob(".tidemill-*")
    os.utime(litter, (time.time() - 7200, time.time() - 7200))
    checkout(ws, made, out)
    assert held(out) == ONE
    assert not litter.exists()


FULL = """
import resource, sys
from pathlib import Path
from tidemill.core.errors import NoRoom
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.data.filesets import files
from tidemill.data.filesets.checkouts import checkout
ws = open_workspace(sys.argv[1])
version = datasets.get(ws, "cells")
files.open_files(ws, version)
resource.setrlimit(resource.RLIMIT_FSIZE, (5, resource.RLIM_INFINITY))
try:
    checkout(ws, version, Path(sys.argv[2]))
except NoRoom as error:
    print(error)
"""


def test_a_full_disk_is_named_and_no_part_of_a_file_is_left(ws: Workspace, tmp_path: Path) -> None:
    version(ws, tmp_path / "in", ONE)
    out = tmp_path / "out"
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(ws.root), str(out)], capture_output=True, text=True, check=False
    )
    assert ended.stdout == f"cannot write to {out} (File too large); free space, then run it again\n", ended.stderr
    assert held(out).items() <= ONE.items()
    assert "train/b.png" not in held(out)  # 6 bytes
