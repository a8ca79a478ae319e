"""Datasets of files: a folder is a version, what did not change is not read, what does not fit is named."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tidemill.core import packs
from tidemill.core.checks import one_of
from tidemill.core.errors import BadInput, Conflict, Corrupt, EmptyInput, NotFound, UnknownColumn
from tidemill.core.ids import digest
from tidemill.core.stores.folder import FolderStore
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.filesets import files, folders
from tidemill.data.quality import contracts
from tidemill.data.versioning import branches, diffs

OLD = datetime(2020, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "test.mill")
    yield workspace
    workspace.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "cells", {"one.png": b"first", "train/two.png": b"second", "train/three.txt": b""})


def fill(folder: Path, contents: dict[str, bytes]) -> Path:
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def contents(ws: Workspace, version: DatasetVersion) -> dict[str, bytes]:
    opened = files.open_files(ws, version)
    return {path: opened.read(path) for path in opened.digests}


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been written long before they are read."""
    real = folders.now_ns
    monkeypatch.setattr(folders, "now_ns", lambda: real() + 10_000_000_000)


# ------------------------------------------------------------------------------------------------------------ importing


def test_a_folder_is_a_version_whose_rows_are_its_files(ws: Workspace, folder: Path) -> None:
    version = files.add_folder(ws, "cells", folder, message="first")
    rows = datasets.scan(ws, version).sort("path").collect()
    assert rows["path"].to_list() == ["one.png", "train/three.txt", "train/two.png"]
    assert rows["digest"].to_list() == [digest(b"first"), digest(b""), digest(b"second")]
    assert rows["size_bytes"].to_list() == [5, 0, 6]
    assert rows["media_type"].to_list() == ["image/png", "text/plain", "image/png"]
    assert version.key == "path"
    assert contents(ws, version) == {"one.png": b"first", "train/three.txt": b"", "train/two.png": b"second"}


def test_adding_the_same_folder_again_returns_the_version_that_is_there(ws: Workspace, folder: Path) -> None:
    first = files.add_folder(ws, "cells", folder)
    assert files.add_folder(ws, "cells", folder).id == first.id


def test_the_old_version_reads_as_it_was_after_a_change(ws: Workspace, folder: Path) -> None:
    first = files.add_folder(ws, "cells", folder)
    fill(folder, {"one.png": b"First", "new.png": b"new"})
    (folder / "train/two.png").unlink()
    second = files.add_folder(ws, "cells", folder)
    assert contents(ws, second) == {"one.png": b"First", "new.png": b"new", "train/three.txt": b""}
    assert contents(ws, first)["one.png"] == b"first"
    compared = diffs.diff(ws, first, second)
    assert [[row["path"] for row in compared[what]] for what in ("added", "removed")] == [
        ["new.png"],
        ["train/two.png"],
    ]
    assert [row["key"] for row in compared["changed"]] == ["one.png"]


def test_the_same_files_give_the_same_digest_from_any_folder(ws: Workspace, folder: Path, tmp_path: Path) -> None:
    copied = fill(tmp_path / "elsewhere", {"train/three.txt": b"", "train/two.png": b"second", "one.png": b"first"})
    assert files.add_folder(ws, "copy", copied).digest == files.add_folder(ws, "cells", folder).digest


def test_a_file_that_was_not_written_is_not_read_again(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    files.add_folder(ws, "cells", folder)
    real, read = files.look, []

    def noted(where: Path, entry: folders.Entry, packer: packs.Packer | None = None) -> folders.Seen:
        read.append(entry.path)
        return real(where, entry, packer)

    monkeypatch.setattr(files, "look", noted)
    fill(folder, {"one.png": b"FIRST"})
    assert files.status(ws, "cells", folder)["changed"] == ["one.png"]
    files.add_folder(ws, "cells", folder)
    files.add_folder(ws, "other", folder)
    assert read == ["one.png", "one.png"]  # by status, and by the first add, which has to store it


def test_a_file_of_the_same_size_whose_old_time_was_put_back_is_found(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(folder / "one.png", (OLD, OLD))
    settle(monkeypatch)
    files.add_folder(ws, "cells", folder)
    (folder / "one.png").write_bytes(b"FIRST")
    os.utime(folder / "one.png", (OLD, OLD))
    assert files.status(ws, "cells", folder)["changed"] == ["one.png"]


@pytest.mark.parametrize(
    ("mtime_ns", "later_ns", "trusted"),
    [
        (5_000_000_123, 49_000_000, False),
        (5_000_000_123, 51_000_000, True),
        (5_000_000_000, 1_900_000_000, False),  # whole seconds: a file system with times of 1 or 2 s
        (5_000_000_000, 2_100_000_000, True),
    ],
)
def test_a_file_read_in_the_moment_of_its_writing_is_not_trusted(mtime_ns: int, later_ns: int, trusted: bool) -> None:
    entry = folders.Entry("a", 1, mtime_ns, mtime_ns, 7)
    assert folders.trusted(entry, mtime_ns + later_ns) is trusted
    assert folders.trusted(entry._replace(mtime_ns=1, ctime_ns=mtime_ns), mtime_ns + later_ns) is trusted


def test_a_broken_cache_is_no_cache(ws: Workspace, folder: Path) -> None:
    first = files.add_folder(ws, "cells", folder)
    (cache,) = (ws.root / folders.CACHES).iterdir()
    cache.write_bytes(b"ARROW1 nonsense")
    assert files.status(ws, "cells", folder)["unchanged"] == 3
    assert files.add_folder(ws, "cells", folder).id == first.id


def test_a_pattern_takes_some_files_and_status_remembers_it(ws: Workspace, folder: Path) -> None:
    version = files.add_folder(ws, "cells", folder, pattern="**/*.png")
    assert sorted(contents(ws, version)) == ["one.png", "train/two.png"]
    assert files.status(ws, "cells", folder) == {"added": [], "changed": [], "removed": [], "unchanged": 2}
    assert folders.walk(folder, pattern="*.png")["path"].to_list() == ["one.png"]
    assert folders.walk(folder, pattern="train/t?o*")["path"].to_list() == ["train/two.png"]


def test_a_workspace_and_litter_inside_the_folder_are_left_out(tmp_path: Path) -> None:
    folder = fill(tmp_path / "all", {"a.txt": b"a", ".git/HEAD": b"x", ".DS_Store": b"x", ".hidden": b"kept"})
    ws = open_workspace(folder / "my.mill")
    assert sorted(contents(ws, files.add_folder(ws, "all", folder))) == [".hidden", "a.txt"]
    ws.close()


def test_odd_names_are_kept_as_they_are(ws: Workspace, tmp_path: Path) -> None:
    odd = {
        "größe.txt": b"1",
        "gro\u0308ße.txt": b"2",
        "two\nlines": b"3",
        " ": b"4",
        "a'b\"c\\d": b"5",
        "日本/語": b"6",
    }
    version = files.add_folder(ws, "odd", fill(tmp_path / "odd", odd))
    assert contents(ws, version) == odd
    assert files.scanned(ws, "odd")["collisions"] == [sorted(["größe.txt", "gro\u0308ße.txt"])]


def test_a_name_that_is_no_text_is_named(ws: Workspace, folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(BadInput, match=r"the name '\\xff.png' is not UTF-8, and a path is the text key of a row"):
        files.add_folder(ws, "cells", folder)


def test_links_within_the_folder_are_files_and_others_are_named(ws: Workspace, folder: Path, tmp_path: Path) -> None:
    (folder / "again.png").symlink_to("one.png")
    assert contents(ws, files.add_folder(ws, "cells", folder))["again.png"] == b"first"
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    (folder / "out.png").symlink_to(outside)
    with pytest.raises(BadInput, match=r"link 'out.png' leads out of the folder, to .*; give links='follow' or"):
        files.add_folder(ws, "cells", folder)
    assert contents(ws, files.add_folder(ws, "cells", folder, links="follow"))["out.png"] == b"secret"
    assert "out.png" not in contents(ws, files.add_folder(ws, "cells", folder, links="skip"))


@pytest.mark.parametrize(("target", "said"), [("nowhere", "leads nowhere"), (".", "leads to folder")])
def test_a_link_that_is_no_file_is_named(ws: Workspace, folder: Path, target: str, said: str) -> None:
    (folder / "odd").symlink_to(target)
    with pytest.raises(BadInput, match=f"link 'odd' {said}"):
        files.add_folder(ws, "cells", folder)


def test_a_socket_is_no_file(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "s", {"a": b"a"})
    monkeypatch.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("door")
        with pytest.raises(BadInput, match=r"'door' in .* is no file but a device, pipe or socket"):
            files.add_folder(ws, "cells", folder)


def test_no_folder_and_no_files_are_named(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no folder .*nowhere; give a folder of files"):
        files.add_folder(ws, "cells", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmptyInput, match=r"no file in .*empty matches '\*\*/\*'; give another folder or pattern"):
        files.add_folder(ws, "cells", tmp_path / "empty")


def test_progress_counts_files(ws: Workspace, folder: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    files.add_folder(ws, "cells", folder, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_large_files_come_back_and_share_what_did_not_change(ws: Workspace, tmp_path: Path) -> None:
    rows = [b"%d,%d\n" % (n, random.Random(n).randrange(10**9)) for n in range(300_000)]
    folder = fill(tmp_path / "large", {"rows.csv": b"".join(rows), "film.mp4": random.Random(1).randbytes(9 << 20)})
    first = files.add_folder(ws, "large", folder)
    before = sum(blob.size_bytes for blob in ws.store.list())
    fill(folder, {"rows.csv": b"0,0\n" + b"".join(rows)})
    second = files.add_folder(ws, "large", folder)
    assert sum(blob.size_bytes for blob in ws.store.list()) - before < 300_000
    assert contents(ws, second)["rows.csv"] == b"0,0\n" + b"".join(rows)
    assert contents(ws, first) == {"rows.csv": b"".join(rows), "film.mp4": (folder / "film.mp4").read_bytes()}


def test_a_file_that_changes_while_it_is_read_is_read_again_and_then_refused(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = packs.Packer.add, [1]

    def write_meanwhile(packer: packs.Packer, data: bytes) -> str:
        if data.startswith(b"first") and left[0]:
            left[0] -= 1
            with (folder / "one.png").open("ab") as file:
                file.write(b"!")
        return real(packer, data)

    monkeypatch.setattr(packs.Packer, "add", write_meanwhile)
    assert contents(ws, files.add_folder(ws, "cells", folder))["one.png"] == b"first!"
    left[0] = 99
    fill(folder, {"one.png": b"first"})
    with pytest.raises(Conflict, match=r"one.png is being written all the time; add it when its writer is done"):
        files.add_folder(ws, "cells", folder)


# ------------------------------------------------------------------------------------------------------------ manifests


def test_a_manifest_gives_columns_and_says_what_found_no_partner(ws: Workspace, folder: Path) -> None:
    (folder / "labels.csv").write_text("path,label\n./one.png,cell\ntrain/two.png,platelet\nlost.png,cell\n")
    version = files.add_folder(ws, "cells", folder, manifest=folder / "labels.csv")
    rows = datasets.scan(ws, version).sort("path").collect()
    assert rows["label"].to_list() == ["cell", None, "platelet"]
    found = files.scanned(ws, "cells")
    assert found["rows_without_file"] == {"count": 1, "first": ["lost.png"]}
    assert found["files_without_row"] == {"count": 1, "first": ["train/three.txt"]}
    # the manifest lies in the folder and is no file of the dataset
    assert files.status(ws, "cells", folder) == {"added": [], "changed": [], "removed": [], "unchanged": 3}


def test_a_changed_label_is_a_changed_row(ws: Workspace, folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "labels.jsonl"
    manifest.write_text('{"path":"one.png","label":"cell"}\n')
    files.add_folder(ws, "cells", folder, manifest=manifest)
    manifest.write_text('{"path":"one.png","label":"platelet"}\n')
    files.add_folder(ws, "cells", folder, manifest=manifest)
    compared = diffs.diff(ws, datasets.get(ws, "cells", 1), datasets.get(ws, "cells", 2))
    assert [(row["key"], row["columns"]["label"]["new"]) for row in compared["changed"]] == [("one.png", "platelet")]


def test_a_manifest_that_does_not_fit_can_be_refused(ws: Workspace, folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "labels.parquet"
    pl.DataFrame({"path": ["one.png", "lost.png"], "label": [1, 2]}).write_parquet(manifest)
    with pytest.raises(BadInput, match=r"1 rows of manifest .* have no file, such as \['lost.png'\], and 2 files have"):
        files.add_folder(ws, "cells", folder, manifest=manifest, unmatched="refuse")
    assert datasets.find(ws, "cells") is None


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("file,label\none.png,1\n", UnknownColumn, "no column 'path' in manifest"),
        ("path,digest\none.png,1\n", BadInput, "has column 'digest', which every file has already; rename it"),
        ("path,label\none.png,1\n./one.png,2\n", BadInput, "has 1 paths more than once, such as 'one.png'; keep one"),
        ("path,label\none.png,1\n,2\n", BadInput, "has 1 rows without a path; fill them"),
        ("path,label\ncells/one.png,1\n", BadInput, "no path of manifest .* is a file, such as 'cells/one.png'; paths"),
    ],
)
def test_a_manifest_that_cannot_be_joined_is_named(
    ws: Workspace, folder: Path, tmp_path: Path, text: str, error: type[Exception], said: str
) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(error, match=said):
        files.add_folder(ws, "cells", folder, manifest=tmp_path / "m.csv")


def test_files_that_break_the_contract_wait_in_quarantine(ws: Workspace, folder: Path) -> None:
    contracts.set_contract(ws, "cells", contracts.Contract(checks=(one_of("media_type", "image/png"),)))
    kept_out: list[contracts.Quarantined] = []
    version = files.add_folder(ws, "cells", folder, told=kept_out.append)
    assert sorted(contents(ws, version)) == ["one.png", "train/two.png"]
    assert contracts.quarantined(ws, "cells")["path"].to_list() == ["train/three.txt"]
    assert len(kept_out) == 1
    assert files.add_folder(ws, "cells", folder).id == version.id


def test_a_folder_can_be_added_to_a_branch(ws: Workspace, folder: Path) -> None:
    first = files.add_folder(ws, "cells", folder)
    branches.branch(ws, "cells", "spring")
    fill(folder, {"one.png": b"spring"})
    spring = files.add_folder(ws, "cells", folder, branch="spring")
    assert files.read(ws, spring, "one.png") == b"spring"
    assert datasets.get(ws, "cells").id == first.id


# --------------------------------------------------------------------------------------------------------------- status


def test_status_names_what_differs(ws: Workspace, folder: Path) -> None:
    files.add_folder(ws, "cells", folder)
    fill(folder, {"one.png": b"FIRST", "train/new.png": b"n"})
    (folder / "train/three.txt").unlink()
    assert files.status(ws, "cells", folder) == {
        "added": ["train/new.png"],
        "changed": ["one.png"],
        "removed": ["train/three.txt"],
        "unchanged": 1,
    }


def test_status_can_compare_with_an_older_version(ws: Workspace, folder: Path) -> None:
    first = files.add_folder(ws, "cells", folder)
    fill(folder, {"one.png": b"longer than first"})
    files.add_folder(ws, "cells", folder)
    assert files.status(ws, "cells", folder)["changed"] == []
    assert files.status(ws, "cells", folder, version=first)["changed"] == ["one.png"]


def test_a_dataset_of_rows_is_no_folder(ws: Workspace, folder: Path) -> None:
    version = datasets.add(ws, "rows", pl.DataFrame({"id": [1]}), key="id")
    assert files.blobs_of(ws, version) == set()
    with pytest.raises(BadInput, match=r"dataset 'rows' holds rows, not files; files come with files.add_folder"):
        files.status(ws, "rows", folder)
    with pytest.raises(BadInput, match="dataset 'rows' holds rows"):
        files.read(ws, version, "one.png")


# -------------------------------------------------------------------------------------------------------------- reading


def test_an_unknown_path_names_the_nearest(ws: Workspace, folder: Path) -> None:
    version = files.add_folder(ws, "cells", folder)
    with pytest.raises(NotFound, match=r"no file 'one.pgn' in cells@1, which has 3. Did you mean 'one.png'\?"):
        files.read(ws, version, "one.pgn")


def test_many_files_are_read_with_each_path_once(ws: Workspace, folder: Path) -> None:
    fill(folder, {"copy.png": b"first"})
    version = files.add_folder(ws, "cells", folder)
    read = list(files.open_files(ws, version).read_many(["copy.png", "train/two.png", "one.png"]))
    assert sorted(read) == [("copy.png", b"first"), ("one.png", b"first"), ("train/two.png", b"second")]


def test_changed_bytes_in_the_store_are_found(ws: Workspace, folder: Path) -> None:
    version = files.add_folder(ws, "cells", folder)
    assert isinstance(ws.store, FolderStore)
    for name in files.blobs_of(ws, version):
        place = ws.store.root / name[:2] / name
        place.write_bytes(place.read_bytes().replace(b"first", b"FIRST"))
    with pytest.raises(Corrupt, match="restore it from a backup"):
        files.read(ws, version, "one.png")


# ----------------------------------------------------------------------------------------------------------- forgetting


def test_a_forgotten_file_is_gone_and_the_others_read(ws: Workspace, folder: Path) -> None:
    fill(folder, {"anna.png": b"picture of Anna"})
    version = files.add_folder(ws, "cells", folder)
    assert files.read(ws, version, "anna.png") == b"picture of Anna"
    assert files.forget(ws, [digest(b"picture of Anna")]) == 1
    assert files.read(ws, version, "one.png") == b"first"
    with pytest.raises(NotFound, match="it was forgotten"):
        files.read(ws, version, "anna.png")
    assert not any(b"picture of Anna" in each.read_bytes() for each in ws.root.rglob("*") if each.is_file())
    assert list((ws.root / folders.CACHES).iterdir()) == []


def test_a_forgotten_file_that_is_added_again_is_there_again(ws: Workspace, folder: Path) -> None:
    version = files.add_folder(ws, "cells", folder)
    files.forget(ws, [digest(b"first")])
    assert files.add_folder(ws, "cells", folder).id == version.id
    assert files.read(ws, version, "one.png") == b"first"


# --------------------------------------------------------------------------------------------------------------- killed

ADD = """
import os, signal, sys
from pathlib import Path
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.stores.folder import FolderStore
from tidemill.core.tables import Tables
from tidemill.core.workspace import open_workspace
from tidemill.data.filesets import files

root, folder, owner, name, count = sys.argv[1:]
kind = {"graph": SqlGraph, "store": FolderStore, "tables": Tables}[owner]
real, left = getattr(kind, name), int(count)

def deadly(*args, **options):
    global left
    left -= 1
    made = real(*args, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return made

ws = open_workspace(root)
setattr(kind, name, deadly)
files.add_folder(ws, "cells", Path(folder))
"""


@pytest.mark.parametrize(
    ("owner", "name", "count"),
    [
        ("store", "put", "1"),
        ("store", "put", "2"),
        ("graph", "record", "1"),
        ("tables", "_write", "1"),
        ("graph", "write", "1"),
        ("graph", "write", "2"),
    ],
)
def test_an_import_that_is_killed_leaves_the_old_version_and_can_be_run_again(
    ws: Workspace, folder: Path, owner: str, name: str, count: str
) -> None:
    first = files.add_folder(ws, "cells", folder)
    fill(folder, {"new.png": b"new"})
    command = [sys.executable, "-c", ADD, str(ws.root), str(folder), owner, name, count]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    assert contents(ws, first) == {"one.png": b"first", "train/two.png": b"second", "train/three.txt": b""}
    second = files.add_folder(ws, "cells", folder)
    assert second.version == 2
    assert contents(ws, second)["new.png"] == b"new"
