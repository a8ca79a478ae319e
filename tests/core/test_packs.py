"""Packs: each content once, few blobs, verified reads, and files that are gone when they are forgotten."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core import packindex, packs
from tidemill.core.errors import Corrupt, NotFound, WrongFormat
from tidemill.core.graphs import memory
from tidemill.core.ids import digest
from tidemill.core.packs import Packer, Reader
from tidemill.core.stores.folder import FolderStore
from tidemill.core.stores.memory import MemoryStore
from tidemill.core.stores.sweep import sweep
from tidemill.core.workspace import Workspace, open_workspace

MIB = 1 << 20


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "test.mill")
    yield workspace
    workspace.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """For a property test, which takes its graph and store anew from memory at each example."""
    workspace = open_workspace(tmp_path_factory.mktemp("base") / "base.mill")
    yield workspace
    workspace.close()


@pytest.fixture(params=["folder", "memory", "s3"])
def any_ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace over each store: two read parts of blobs, one gives whole blobs."""
    url = None
    if request.param == "memory":
        url = "memory://"
    elif request.param == "s3":
        url = f"s3://{request.getfixturevalue('bucket')}/blobs"
    workspace = open_workspace(tmp_path / "any.mill", store=url)
    yield workspace
    workspace.close()


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def put(ws: Workspace, *contents: bytes) -> list[str]:
    packer = Packer(ws)
    made = [packer.add(data) for data in contents]
    packer.finish()
    return made


def stream(ws: Workspace, data: bytes, *, by_content: bool = True) -> str:
    packer = Packer(ws)
    name, size = packer.add_stream(io.BytesIO(data), by_content=by_content)
    packer.finish()
    assert size == len(data)
    return name


def stored_bytes(ws: Workspace) -> int:
    return sum(blob.size_bytes for blob in ws.store.list())


def on_disk(ws: Workspace, part: bytes) -> bool:
    """Whether any file of the workspace holds these bytes."""
    return any(part in each.read_bytes() for each in ws.root.rglob("*") if each.is_file())


# -------------------------------------------------------------------------------------------------------------- reading


def test_what_was_put_is_read_back_from_any_store(any_ws: Workspace) -> None:
    contents = [b"", b"a", noise(20_000), bytes(32), noise(3 * MIB, 1)]
    names = put(any_ws, *contents)
    large = [noise(3 * MIB, 2), noise(9 * MIB, 3), b""]
    streamed = [stream(any_ws, data) for data in large] + [stream(any_ws, large[1], by_content=False)]
    assert names == [digest(data) for data in contents]
    assert streamed == [digest(data) for data in [*large, large[1]]]
    reader = Reader(any_ws)
    for name, data in zip([*names, *streamed], [*contents, *large, large[1]], strict=True):
        assert reader.read(name) == data


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=40), max_size=6), max_size=5))
def test_any_contents_in_any_number_of_goes_are_read_back_and_stored_once(
    base: Workspace, goes: list[list[bytes]]
) -> None:
    ws = replace(base, graph=memory.open_graph(), store=MemoryStore())
    for contents in goes:
        put(ws, *contents)
    distinct = {data for contents in goes for data in contents}
    reader = Reader(ws)
    assert {reader.read(digest(data)) for data in distinct} == distinct
    assert len(packindex.load(ws).pieces.rows) == len(distinct)


def test_a_digest_that_ends_in_zeros_is_found(ws: Workspace) -> None:
    # numpy's byte strings drop zeros at their end: 1/256 of all digests
    content = next(b"%d" % n for n in range(10_000) if digest(b"%d" % n).endswith("00"))
    others = [b"x%d" % n for n in range(50)]
    put(ws, content, *others)
    assert Reader(ws).read(digest(content)) == content
    assert packindex.load(ws).places(digest(content))[0].digest == digest(content)


def test_ten_thousand_small_files_are_a_handful_of_packs(ws: Workspace) -> None:
    contents = [noise(20_000, n) for n in range(200)]
    put(ws, *(data[:2000] + b"%d" % n for n in range(50) for data in contents))
    assert len(list(ws.store.list())) == 2  # 20 MB: a pack and an index


def test_a_full_pack_is_closed(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 100_000)
    names = put(ws, *(noise(30_000, n) for n in range(10)))
    index = packindex.load(ws)
    assert len(index.packs) == 4
    assert Reader(ws).read(names[7]) == noise(30_000, 7)


def test_a_shifted_file_shares_its_chunks(ws: Workspace) -> None:
    data = noise(8 * MIB)
    stream(ws, data)
    before = stored_bytes(ws)
    name = stream(ws, b"a few rows more\n" + data)
    assert stored_bytes(ws) - before < 0.1 * len(data)
    assert Reader(ws).read(name) == b"a few rows more\n" + data


def test_nothing_counts_before_it_is_finished(ws: Workspace) -> None:
    Packer(ws).add(b"never finished")
    assert packindex.load(ws).has([digest(b"never finished")]) == [False]
    assert not Packer(ws).has(digest(b"never finished"))


def test_an_unknown_file_is_named(ws: Workspace) -> None:
    with pytest.raises(NotFound, match=f"no file with digest {digest(b'x')} is stored"):
        Reader(ws).read(digest(b"x"))


def test_a_changed_byte_of_a_pack_is_found(ws: Workspace) -> None:
    name, other = put(ws, b"one file", b"another")
    assert isinstance(ws.store, FolderStore)
    pack = packindex.load(ws).packs[0]
    place = ws.store.root / pack[:2] / pack
    place.write_bytes(place.read_bytes().replace(b"one", b"One"))
    with pytest.raises(Corrupt, match="has other bytes at 16 than its index says"):
        Reader(ws).read(name)
    assert Reader(ws).read(other) == b"another"


def test_an_index_of_a_newer_format_is_refused(ws: Workspace) -> None:
    put(ws, b"one")
    blob = ws.store.put(b'{"format":2}\n')
    ws.graph.record("packs", "added", {"format": 1, "indexes": [blob], "replaces": [], "gone": []})
    with pytest.raises(WrongFormat, match="has format 2, this tidemill reads up to 1"):
        packindex.load(ws)


def test_many_goes_end_in_one_index(ws: Workspace) -> None:
    for n in range(packindex.MERGE_AT + 2):
        put(ws, b"file %d" % n)
    index = packindex.load(ws)
    assert len(index.blobs) == 2
    assert all(Reader(ws).read(digest(b"file %d" % n)) == b"file %d" % n for n in range(packindex.MERGE_AT + 2))


def test_the_sweep_spares_what_counts_and_takes_what_a_killed_writer_left(ws: Workspace) -> None:
    (name,) = put(ws, b"kept")
    orphan = ws.store.put(packs.HEAD + b"of a killed writer")
    gone = sweep(ws.store, keep=packindex.live(ws), older_than_s=-5)
    assert [blob.digest for blob in gone] == [orphan]
    assert Reader(ws).read(name) == b"kept"


def test_the_blobs_of_some_files_are_their_packs_and_the_index(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 50_000)
    names = put(ws, *(noise(30_000, n) for n in range(4)))
    index = packindex.load(ws)
    assert index.blobs_of(names[:1]) == {index.places(names[0])[0].pack, *index.blobs}
    assert index.blobs_of(names) == {*index.packs, *index.blobs}
    large = stream(ws, noise(2 * MIB, 9))
    index = packindex.load(ws)
    assert index.blobs_of([large]) - set(index.blobs) == {place.pack for place in index.places(large)}


# ----------------------------------------------------------------------------------------------------------- forgetting


def test_a_forgotten_file_is_on_no_disk_and_all_others_are(any_ws: Workspace) -> None:
    secret, *others = put(any_ws, b"a person's picture", b"one", b"two")
    (later,) = put(any_ws, b"three")
    assert packs.forget(any_ws, [secret]) == 1
    with pytest.raises(NotFound):
        Reader(any_ws).read(secret)
    assert [Reader(any_ws).read(name) for name in [*others, later]] == [b"one", b"two", b"three"]
    for blob in any_ws.store.list():
        assert b"a person's picture" not in any_ws.store.get(blob.digest)
        assert bytes.fromhex(secret) not in any_ws.store.get(blob.digest)


def test_chunks_that_another_file_shares_stay(ws: Workspace) -> None:
    data = noise(4 * MIB)
    marked = data + b"a person's line" * 5_000
    kept, doomed = stream(ws, data), stream(ws, marked)
    assert on_disk(ws, b"a person's line" * 10)
    assert packs.forget(ws, [doomed]) == 1
    assert Reader(ws).read(kept) == data
    assert not on_disk(ws, b"a person's line" * 10)
    assert not on_disk(ws, bytes.fromhex(doomed))


def test_a_file_that_is_a_chunk_of_another_keeps_its_bytes_for_that(ws: Workspace) -> None:
    data = noise(3 * MIB)
    large = stream(ws, data)
    first = packindex.load(ws).places(large)[0]
    put(ws, data[: first.size_bytes])
    packs.forget(ws, [first.digest])
    assert Reader(ws).read(large) == data


def test_a_piece_that_two_writers_stored_at_once_goes_from_both_packs(ws: Workspace) -> None:
    one, two = Packer(ws), Packer(ws)
    for packer, own in ((one, b"of one"), (two, b"of two")):
        packer.add(b"a person's picture")
        packer.add(own)
    one.finish()
    two.finish()
    for n in range(packindex.MERGE_AT):  # also when the indexes were merged in between
        put(ws, b"%d" % n)
    assert len(packindex.load(ws).blobs) < 3
    packs.forget(ws, [digest(b"a person's picture")])
    assert not on_disk(ws, b"a person's picture")
    assert Reader(ws).read(digest(b"of two")) == b"of two"


def test_all_files_can_be_forgotten_and_come_back(ws: Workspace) -> None:
    names = put(ws, b"one", b"two")
    assert packs.forget(ws, names) == 2
    assert packindex.load(ws).blobs == ()
    assert put(ws, b"one", b"two") == names  # the same pack as before
    assert packs.forget(ws, [digest(b"unknown")]) == 0
    assert Reader(ws).read(names[0]) == b"one"


def test_an_open_reader_finds_a_file_whose_pack_was_written_anew(ws: Workspace) -> None:
    kept, doomed = put(ws, b"kept", b"doomed")
    large = stream(ws, noise(2 * MIB))
    reader = Reader(ws)
    assert reader.read(kept) == b"kept"
    packs.forget(ws, [doomed])
    assert reader.read(kept) == b"kept"
    assert reader.read(large) == noise(2 * MIB)


FORGET = """
import os, signal, sys
from tidemill.core import packs
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.stores.folder import FolderStore
from tidemill.core.workspace import open_workspace

root, doomed, owner, name, when, count = sys.argv[1:]
kind = {"graph": SqlGraph, "store": FolderStore}[owner]
real, left = getattr(kind, name), int(count)

def deadly(*args, **options):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    made = real(*args, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return made

ws = open_workspace(root)
setattr(kind, name, deadly)
packs.forget(ws, [doomed])
"""


@pytest.mark.parametrize(
    ("owner", "name", "when", "count"),
    [
        ("store", "put", "after", "1"),
        ("graph", "record", "before", "1"),
        ("graph", "record", "after", "1"),
        ("store", "delete", "after", "1"),
        ("store", "delete", "after", "2"),
    ],
)
def test_forgetting_that_is_killed_is_finished_by_the_next(
    ws: Workspace, owner: str, name: str, when: str, count: str
) -> None:
    doomed, kept = put(ws, b"a person's picture", b"kept")
    command = [sys.executable, "-c", FORGET, str(ws.root), doomed, owner, name, when, count]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert Reader(ws).read(kept) == b"kept"
    packs.forget(ws, [doomed])
    # what the killed call wrote and nothing names is the sweep's
    sweep(ws.store, keep=packindex.live(ws), older_than_s=-5)
    assert not on_disk(ws, b"a person's picture")
    assert Reader(ws).read(kept) == b"kept"


def test_the_chain_of_events_is_whole_after_it(ws: Workspace) -> None:
    doomed, _ = put(ws, b"a person's picture", b"kept")
    packs.forget(ws, [doomed])
    assert ws.graph.verify() == []
    assert [event.kind for event in ws.graph.events("packs")] == ["added", "rewritten"]


def test_four_processes_add_at_once(ws: Workspace) -> None:
    program = (
        "import sys\nfrom tidemill.core.packs import Packer\nfrom tidemill.core.workspace import open_workspace\n"
        "ws = open_workspace(sys.argv[1])\n"
        "for n in range(10):\n    packer = Packer(ws)\n    packer.add(b'%s %d' % (sys.argv[2].encode(), n))\n"
        "    packer.add(b'shared %d' % n)\n    packer.finish()\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(ws.root), str(n)]) for n in range(4)]
    assert [each.wait(60) for each in started] == [0] * 4
    reader = Reader(ws)
    wanted = [b"%d %d" % (process, n) for process in range(4) for n in range(10)] + [
        b"shared %d" % n for n in range(10)
    ]
    assert [reader.read(digest(data)) for data in wanted] == wanted
