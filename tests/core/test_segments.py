"""Segments: what was acknowledged survives kill -9; damage is told."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.errors import BadInput, Busy, Corrupt, NoRoom, WrongFormat
from tidemill.core.segments import MAGIC, Position, SegmentWriter, read


def payloads(folder: Path, after: Position | None = None) -> list[bytes]:
    return [payload for _, payload in read(folder, after=after)]


@settings(max_examples=30, deadline=None)
@given(groups=st.lists(st.lists(st.binary(max_size=60), max_size=5), max_size=8), rotate=st.integers(20, 200))
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

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert list(read(tmp_path)) == sorted(seen)
    assert len(seen) == 160


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
    with pytest.raises(Corrupt, match=r"damaged at byte 16: the checksum of a record does not match"):
        payloads(tmp_path)


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
    assert "free space, then try again" in ran.stdout
    assert payloads(tmp_path) == [b"kept", b"small again"]
