"""Segments: what was acknowledged survives kill -9; damage is told."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.errors import BadInput, Busy, Corrupt, NoRoom, WrongFormat
from tidemill.core.segments import MAGIC, Position, SegmentWriter, erase, read


def payloads(folder: Path, after: Position | None = None) -> list[bytes]:
    return [payload for _, payload in read(folder, after=after)]


@settings(max_examples=30, deadline=None)
@given(
    groups=st.lists(st.lists(st.binary(min_size=1, max_size=60), max_size=5), max_size=8), rotate=st.integers(20, 200)
)
def test_what_was_appended_is_read_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[bytes]], rotate: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = SegmentWriter(folder, fsync="never", rotate_bytes=rotate)
    positions = [position for group in groups for position in writer.append(group)]
    writer.close()
    sent = [payload for group in groups for payload in group]
    assert payloads(folder) == sent
    assert positions == sorted(positions)
    for place, position in enumerate(positions):
        assert payloads(folder, after=Position(*position)) == sent[place + 1 :]


def test_many_threads_share_the_log(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    seen: list[tuple[Position, bytes]] = []

    def work(name: int) -> None:
        for count in range(20):
            payload = f"{name}-{count}".encode()
            seen.append((writer.append([payload])[0], payload))

    crowd(work)
    writer.close()
    assert list(read(tmp_path)) == sorted(seen)
    assert len(seen) == 160


def test_segments_change_while_others_flush(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, rotate_bytes=40)
    failures: list[Exception] = []

    def work(name: int) -> None:
        try:
            for count in range(30):
                writer.append([f"{name}-{count}".encode()])
        except Exception as error:
            failures.append(error)

    crowd(work)
    writer.close()
    assert not failures
    assert len(payloads(tmp_path)) == 240
    assert len(list(tmp_path.glob("*.seg"))) > 50


def crowd(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CHILD = """
import sys
from pathlib import Path
from tidemill.core.segments import SegmentWriter
writer = SegmentWriter(Path(sys.argv[1]), rotate_bytes=5000)
count = 0
while True:
    writer.append([b"%d" % count, b"x" * 300])
    print(count, flush=True)
    count += 1
"""


def test_acknowledged_records_survive_kill_9(tmp_path: Path) -> None:
    for round_ in range(5):
        folder = tmp_path / str(round_)
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.02 * round_)
        os.kill(child.pid, signal.SIGKILL)
        acknowledged = ["0", *child.communicate()[0].split()]
        found = [payload.decode() for payload in payloads(folder) if not payload.startswith(b"x")]
        assert found[: len(acknowledged)] == acknowledged
        writer = SegmentWriter(folder)
        writer.append([b"after"])
        writer.close()
        assert payloads(folder)[-1] == b"after"


@pytest.mark.parametrize("cut", [1, 5, 9, 10])
def test_a_torn_tail_is_passed_over_and_the_next_writer_goes_on(tmp_path: Path, cut: int) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([b"first", b"second"])
    writer.close()
    path = tmp_path / "00000001.seg"
    path.write_bytes(path.read_bytes()[:-cut])
    assert payloads(tmp_path) == [b"first"]
    again = SegmentWriter(tmp_path)
    again.append([b"third"])
    again.close()
    assert payloads(tmp_path) == [b"first", b"third"]


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([b"first", b"second"])
    writer.close()
    path = tmp_path / "00000001.seg"
    path.write_bytes(path.read_bytes().replace(b"first", b"fjrst"))
    with pytest.raises(Corrupt, match=r"damaged at byte 16: a bad record, good ones behind it"):
        payloads(tmp_path)


def test_a_damaged_length_is_no_torn_tail(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([b"first", b"second", b"third"])
    writer.close()
    path = tmp_path / "00000001.seg"
    whole = path.read_bytes()
    second = len(MAGIC) + 8 + len(b"first")
    for value in (b"\xff\xff\xff\x0f", b"\0\0\0\0", b"\1\0\0\0"):
        path.write_bytes(whole[:second] + value + whole[second + 4 :])
        with pytest.raises(Corrupt, match=f"damaged at byte {second}"):
            payloads(tmp_path)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_a_record_unseen(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int) -> None:
    folder = tmp_path_factory.mktemp("log")
    sent = [b'{"id": %d, "score": 0.25}' % number for number in range(10)]
    writer = SegmentWriter(folder, fsync="never")
    writer.append(sent)
    writer.close()
    path = folder / "00000001.seg"
    data = bytearray(path.read_bytes())
    place = len(MAGIC) + place % (len(data) - len(MAGIC))
    data[place] ^= 1 << bit
    path.write_bytes(data)
    last = len(data) - 8 - len(sent[-1])
    if place >= last:  # cannot be told from a torn tail
        assert payloads(folder) == sent[:-1]
    else:
        with pytest.raises(Corrupt, match="damaged at byte"):
            payloads(folder)


def test_zeros_at_the_end_are_a_torn_tail(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([b"first"])
    with pytest.raises(BadInput, match="records of 0 to 1 bytes; allowed: 1 to"):
        writer.append([b"", b"x"])
    writer.close()
    with (tmp_path / "00000001.seg").open("ab") as file:
        file.write(bytes(4096))
    assert payloads(tmp_path) == [b"first"]


def test_after_a_failed_flush_the_writer_takes_no_more(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([b"kept"])
    reading, writing = os.pipe()  # a pipe takes what is written and cannot be flushed: a disk that fails
    assert writer._file is not None
    os.dup2(writing, writer._file)
    with pytest.raises(NoRoom, match="cannot write to"):
        writer.append([b"lost"])
    with pytest.raises(NoRoom, match=r"a flush to .* has failed; see to the disk, then open the log again"):
        writer.append([b"more"])
    with pytest.raises(NoRoom, match="has failed"):
        writer.close()
    os.close(reading)
    os.close(writing)
    again = SegmentWriter(tmp_path)
    again.append([b"after"])
    again.close()
    assert payloads(tmp_path) == [b"kept", b"after"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoRoom, match=r"cannot write to .*file: File exists; free space or choose a folder"):
        SegmentWriter(tmp_path / "file")


def test_another_format_is_told(tmp_path: Path) -> None:
    (tmp_path / "00000001.seg").write_bytes(b"tidemill-seg-2\n\0")
    with pytest.raises(WrongFormat, match="begins with b'tidemill-seg-2"):
        payloads(tmp_path)
    assert MAGIC.startswith(b"tidemill-seg-1")


def test_a_second_writer_is_told_who_is_first(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    with pytest.raises(Busy, match="another process writes to"):
        SegmentWriter(tmp_path)
    writer.close()
    SegmentWriter(tmp_path).close()
    with pytest.raises(BadInput, match="is closed"):
        writer.append([b"late"])


def _with_little_room(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = SegmentWriter(folder)
    writer.append([b"kept"])
    try:
        writer.append([b"x" * 10_000])
    except NoRoom as error:
        print(error)
    writer.append([b"small again"])


def test_a_full_disk_is_told_and_nothing_half_written_stays(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += f"from pathlib import Path; import test_segments as t; t._with_little_room(Path({str(tmp_path)!r}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "free space or choose a folder that can be written" in ran.stdout
    assert payloads(tmp_path) == [b"kept", b"small again"]


@settings(max_examples=40, deadline=None)
@given(sent=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12), rotate=st.integers(20, 120))
def test_an_erased_record_is_gone_and_all_others_keep_their_positions(
    tmp_path_factory: pytest.TempPathFactory, sent: list[bytes], rotate: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = SegmentWriter(folder, fsync="never", rotate_bytes=rotate)
    for payload in sent:
        writer.append([payload])
    before = list(read(folder))
    doomed = {sent[0], sent[-1]}
    assert erase(folder, doomed.__contains__) == sum(payload in doomed for payload in sent)
    kept = [(place, payload) for place, payload in before if payload not in doomed]
    assert list(read(folder)) == kept
    last = writer.append([b"after"])[0]
    assert list(read(folder)) == [*kept, (last, b"after")]
    writer.close()
    assert erase(folder, doomed.__contains__) == 0


def test_no_byte_of_an_erased_record_is_left_of_a_torn_one_neither(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([b"ada lovelace", b"bob"])
    writer.close()
    (segment,) = tmp_path.glob("*.seg")
    with segment.open("ab") as file:
        file.write(b"\x40\0\0\0\1\2\3\4ada love")
    assert erase(tmp_path, lambda payload: b"ada" in payload) == 2
    assert b"ada" not in segment.read_bytes()
    assert payloads(tmp_path) == [b"bob"]
    SegmentWriter(tmp_path).close()
    assert payloads(tmp_path) == [b"bob"]


def test_an_erasure_that_a_power_cut_ended_is_done_again(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    (first, _) = writer.append([b"ada lovelace", b"bob"])
    writer.close()
    (segment,) = tmp_path.glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[len(MAGIC) : len(MAGIC) + 4] = b"\0\0\0\0"  # the record's head was half-written
    segment.write_bytes(data)
    (tmp_path / "erasing.json").write_text(f"[[1, {len(MAGIC) + 8}, {first.offset - len(MAGIC) - 8}]]")
    assert erase(tmp_path, lambda payload: b"ada" in payload) == 0
    assert payloads(tmp_path) == [b"bob"]
    assert b"ada" not in segment.read_bytes()
    assert not (tmp_path / "erasing.json").exists()
