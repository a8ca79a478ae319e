"""Every store against the public suite; the folder killed in the middle and on a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.errors import BadInput, NoRoom, NotFound
from tidemill.core.extend import load, names
from tidemill.core.ids import digest, utc_now
from tidemill.core.store import Blob
from tidemill.core.stores import folder, memory, s3
from tidemill.core.stores.sweep import sweep
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.testing.stores import Damage, StoreSuite


class TestFolder(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> folder.FolderStore:
        return folder.open_store(str(tmp_path / "objects"))

    @pytest.fixture
    def damage(self, store: folder.FolderStore) -> Damage:
        def change(name: str, data: bytes) -> None:
            (store.root / name[:2] / name).write_bytes(data)

        return change


class TestMemory(StoreSuite):
    @pytest.fixture
    def store(self) -> memory.MemoryStore:
        return memory.open_store()

    @pytest.fixture
    def damage(self, store: memory.MemoryStore) -> Damage:
        def change(name: str, data: bytes) -> None:
            store._blobs[name] = (data, Blob(name, len(data), utc_now()))

        return change


class TestS3(StoreSuite):
    @pytest.fixture
    def store(self, bucket: str) -> s3.S3Store:
        return s3.open_store(f"s3://{bucket}/some/prefix")

    @pytest.fixture
    def damage(self, store: s3.S3Store) -> Damage:
        def change(name: str, data: bytes) -> None:
            store._store.put(f"{name[:2]}/{name}", data)

        return change

    def test_a_prefix_sees_its_own_blobs_only(self, store: s3.S3Store, bucket: str) -> None:
        other = s3.open_store(f"s3://{bucket}")
        name = other.put(b"tide")
        assert not store.has(name)
        assert list(store.list()) == []
        store.put(b"mill")
        assert not other.has(digest(b"mill"))

    def test_an_object_of_another_program_is_no_blob(self, store: s3.S3Store) -> None:
        store._store.put("readme.txt", b"not ours")
        assert list(store.list()) == []
        assert sweep(store, keep=(), older_than_s=-5) == []

    def test_a_url_without_a_bucket_is_refused(self) -> None:
        with pytest.raises(BadInput, match=r"'s3://' names no bucket; write s3://bucket/prefix"):
            s3.open_store("s3://")


def test_a_workspace_keeps_bytes_and_tables_in_s3(bucket: str, tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "new.mill", store=f"s3://{bucket}/mill")
    datasets.add(ws, "weather", pl.DataFrame({"id": [1, 2]}), key="id")
    second = datasets.add(ws, "weather", pl.DataFrame({"id": [3]}), key="id")
    ws.close()
    again = open_workspace(tmp_path / "new.mill", store=f"s3://{bucket}/mill")
    assert sorted(datasets.scan(again, second).collect()["id"]) == [1, 2, 3]
    assert again.tables.root == f"s3://{bucket}/mill-tables"
    assert len(list(again.store.list())) == 1  # the environment of the imports; rows are in tables
    assert not (again.root / "tables").exists()
    again.close()


def test_every_store_is_found_by_its_name(tmp_path: Path) -> None:
    assert names("store") == ["file", "memory", "s3"]
    assert isinstance(load("store", "file")(f"file://{tmp_path}/objects"), folder.FolderStore)
    with pytest.raises(BadInput, match=r"no store 'fiel'; known are file, memory, s3. Did you mean 'file'?"):
        load("store", "fiel")


# ------------------------------------------------------------------------------------------------ the folder, hurt

KILLED = """
import os, signal, sys
from pathlib import Path
from tidemill.core.stores.folder import open_store
store = open_store(sys.argv[1])
if sys.argv[2] == "put":  # killed while the draft is flushed to disk: the last moment before it is published
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    store.put(b"tide" * 100_000)
for number in range(1_000_000):
    data = b"%d" % number * 20_000
    print(store.put(data), flush=True)
"""


def _start(root: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", KILLED, str(root), how], stdout=subprocess.PIPE, text=True)


def test_a_put_that_is_killed_leaves_a_draft_and_no_blob(tmp_path: Path) -> None:
    process = _start(tmp_path / "objects", "put")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    store = folder.open_store(str(tmp_path / "objects"))
    assert list(store.list()) == []
    assert not store.has(digest(b"tide" * 100_000))
    assert len(list((store.root / folder.DRAFTS).iterdir())) == 1

    assert store.sweep_drafts() == 0  # it could still be written by somebody
    sweep(store, keep=(), older_than_s=-1)
    assert list((store.root / folder.DRAFTS).iterdir()) == []
    assert store.get(store.put(b"tide" * 100_000)) == b"tide" * 100_000


def test_what_put_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    process = _start(tmp_path / "objects", "on")
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(30)]
    process.kill()
    acknowledged += [line.strip() for line in process.stdout if len(line) == 65]
    process.stdout.close()
    process.wait(10)
    store = folder.open_store(str(tmp_path / "objects"))
    assert len(acknowledged) >= 30
    assert all(digest(store.get(name)) == name for name in acknowledged)
    assert all(digest(store.get(blob.digest)) == blob.digest for blob in store.list())


FULL = """
import resource, sys
from pathlib import Path
from tidemill.core.errors import NoRoom
from tidemill.core.stores.folder import open_store
store = open_store(sys.argv[1])
store.put(b"small")
big = Path(sys.argv[1]).parent / "big.bin"
big.write_bytes(b"x" * 3_000_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
for put, what in ((store.put, b"y" * 3_000_000), (store.put_file, big)):
    try:
        put(what)
    except NoRoom as error:
        print(error)
"""


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    done = subprocess.run([sys.executable, "-c", FULL, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"cannot write to {root} (File too large); free space, then retry"] * 2
    store = folder.open_store(str(root))
    assert [blob.digest for blob in store.list()] == [digest(b"small")]
    assert list((root / folder.DRAFTS).iterdir()) == []


def test_a_folder_that_is_a_file_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("a file")
    store = folder.open_store(str(tmp_path / "objects"))
    with pytest.raises(OSError, match="Not a directory"):
        store.put(b"tide")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_on_a_disk_that_is_really_full_reading_goes_on(small_disk: Path) -> None:
    store = folder.open_store(str(small_disk / "objects"))
    store.put(b"small")
    with pytest.raises(NoRoom, match="No space left on device"):
        store.put(os.urandom(3_000_000))
    assert store.get(digest(b"small")) == b"small"
    assert [blob.digest for blob in store.list()] == [digest(b"small")]
    assert store.put(b"another") == digest(b"another")


def test_bytes_that_are_put_again_are_young_again(tmp_path: Path) -> None:
    store = folder.open_store(str(tmp_path))
    name = store.put(b"of a failed run")
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(tmp_path / name[:2] / name, (long_ago, long_ago))
    store.put(b"of a failed run")
    assert sweep(store, keep=()) == []
    os.utime(tmp_path / name[:2] / name, (long_ago, long_ago))
    assert [blob.digest for blob in sweep(store, keep=())] == [name]
    with pytest.raises(NotFound):
        store.get(name)
