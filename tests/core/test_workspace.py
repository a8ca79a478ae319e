"""Opening a workspace: a new folder, an old one, a newer one, none at all, at once, and locked."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidemill.core.errors import BadInput, Busy, NoRoom, NotFound, WrongFormat
from tidemill.core.graphs import sqlite
from tidemill.core.ids import utc_now
from tidemill.core.locks import locked
from tidemill.core.recording import recorded
from tidemill.core.settings import Settings
from tidemill.core.stores.folder import FolderStore
from tidemill.core.stores.memory import MemoryStore
from tidemill.core.workspace import FORMAT, MARKER, open_workspace


def marker(root: Path, text: str) -> Path:
    root.mkdir(exist_ok=True)
    (root / MARKER).write_text(text)
    return root


def test_each_workspace_of_a_process_has_the_environment_that_its_runs_name(tmp_path: Path) -> None:
    for number in range(40):  # a store that is gone leaves its id() to a later one
        ws = open_workspace(tmp_path / f"{number}.mill")
        with recorded(ws, "test.run", "a") as run:
            pass
        assert ws.store.has(run.run.environment or "")
        ws.close()


def test_a_new_folder_becomes_a_workspace_whose_format_comes_first(tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "deep" / "new.mill")
    text = (ws.root / MARKER).read_text()
    assert text.startswith('{"format": 1, "id": "')
    assert sorted(json.loads(text)) == ["format", "id"]
    assert isinstance(ws.store, FolderStore)
    assert [each.name for each in ws.root.iterdir() if each.name.startswith(".")] == []
    ws.close()


def test_what_was_recorded_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "new.mill")
    name = (ws.root / MARKER).read_text()
    with recorded(ws, "data.import", "weather") as run:
        made = run.emit_bytes("report", "note", b"tide")
    ws.close()
    again = open_workspace(str(tmp_path / "new.mill"), create=False)
    assert (again.root / MARKER).read_text() == name
    assert again.graph.get(made.id) == made
    assert again.store.get(made.digest) == b"tide"
    again.close()


def test_an_empty_folder_becomes_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    open_workspace(tmp_path / "empty").close()
    assert (tmp_path / "empty" / MARKER).exists()


def test_a_workspace_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    root = marker(tmp_path / "new.mill", json.dumps({"format": FORMAT + 1}))
    with pytest.raises(WrongFormat) as caught:
        open_workspace(root)
    assert str(caught.value) == (f"{root} has workspace format 2, this tidemill reads up to 1: pip install -U tidemill")
    assert caught.value.exit_code == 1
    assert [each.name for each in root.iterdir()] == [MARKER]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "new"}', "null"])
def test_a_marker_that_says_nothing_is_a_wrong_format(tmp_path: Path, text: str) -> None:
    root = marker(tmp_path / "new.mill", text)
    with pytest.raises(WrongFormat, match="does not say which format it has; restore it from a backup"):
        open_workspace(root)


def test_a_folder_of_other_things_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(BadInput) as caught:
        open_workspace(tmp_path)
    assert str(caught.value) == (
        f"folder {tmp_path} is not empty and holds no tidemill.json; name a new folder, or one that tidemill made"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a\n1\n")
    with pytest.raises(BadInput) as caught:
        open_workspace(tmp_path / "data.csv")
    assert str(caught.value) == f"{tmp_path / 'data.csv'} is a file; a workspace is a folder, for example data.mill"
    with pytest.raises(BadInput, match=r"is below a file; a workspace is a folder within folders"):
        open_workspace(tmp_path / "data.csv" / "new.mill")
    assert (tmp_path / "data.csv").read_text() == "a\n1\n"


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no workspace at .*new\.mill; make one with tm\.open\("):
        open_workspace(tmp_path / "new.mill", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where nobody may make a folder")
def test_a_place_that_cannot_be_written_is_said() -> None:
    with pytest.raises(NoRoom, match=r"cannot make a workspace at /proc/new\.mill: .*; choose a folder that can be"):
        open_workspace("/proc/new.mill")


@pytest.mark.parametrize("url", ["mysql://host/name", "sqlite:///x.db", "http://host"])
def test_an_unknown_kind_of_url_says_what_is_allowed(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_workspace(url)
    assert str(caught.value) == f"cannot open {url!r}; allowed: a folder, or postgresql://user@host/name"


def test_an_unknown_store_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no store 'ftp'; known are file, memory, s3"):
        open_workspace(tmp_path / "new.mill", store="ftp://host")


def test_bytes_may_live_elsewhere(tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "new.mill", store="memory://")
    assert isinstance(ws.store, MemoryStore)
    ws.close()
    ws = open_workspace(tmp_path / "new.mill", store=str(tmp_path / "bytes"), settings=Settings(tables="/else/where"))
    assert ws.store.root == tmp_path / "bytes"  # type: ignore[attr-defined]
    assert ws.tables.root == "/else/where"
    ws.close()


def test_the_clock_of_a_view_is_its_now(tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "new.mill")
    then = datetime(2013, 4, 1, tzinfo=UTC)
    assert (ws.at(then).now, ws.at(then).graph, ws.clock) == (then, ws.graph, None)
    assert utc_now() <= ws.now
    with pytest.raises(BadInput, match="time 2013-04-01 00:00:00 has no zone; give one"):
        ws.at(datetime(2013, 4, 1))
    ws.close()


OPENS = """
import sys
from tidemill.core.workspace import open_workspace
print("ready", flush=True)
sys.stdin.readline()
ws = open_workspace(sys.argv[1])
print((ws.root / "tidemill.json").read_text())
ws.close()
"""


def test_processes_that_make_it_at_once_make_one(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", OPENS, str(tmp_path / "new.mill")]
    pipe = subprocess.PIPE
    all_of_them = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(8)]
    for process in all_of_them:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in all_of_them:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120) for process in all_of_them]
    assert [errors for _, errors in said] == [""] * 8
    assert len({out for out, _ in said}) == 1
    assert json.loads(said[0][0])["format"] == FORMAT


def test_a_process_that_was_killed_while_making_it_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / f".{MARKER}.0123").write_text('{"form')
    open_workspace(tmp_path).close()
    assert json.loads((tmp_path / MARKER).read_text())["format"] == FORMAT


def test_a_workspace_locked_for_too_long_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = open_workspace(tmp_path / "new.mill")
    monkeypatch.setattr(sqlite, "WAIT_S", 0.2)  # seconds, instead of 30
    hasty = open_workspace(ws.root)
    other = sqlite3.connect(ws.root / "graph.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Busy, match=r"was locked by another process for 0\.2 s; see who holds it, then try again"):
        hasty.graph.record("note/a", "said", {"text": "tide"})
    other.execute("ROLLBACK")
    other.close()
    assert hasty.graph.record("note/a", "said", {"text": "tide"}).seq == 1
    hasty.close()
    ws.close()


def test_a_lock_excludes_threads_and_processes_and_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    with (
        locked(path, what="dataset 'a'"),
        pytest.raises(Busy, match=r"dataset 'a' is locked by another process for 0\.1 s; try again later"),
        locked(path, what="dataset 'a'", wait_s=0.1),
    ):
        pass
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from tidemill.core.locks import locked\n"
            "with locked(Path(sys.argv[1]), what='a'): print('held', flush=True); time.sleep(600)",
            str(path),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(Busy), locked(path, what="dataset 'a'", wait_s=0.1):
        pass
    holder.kill()
    holder.communicate()
    with locked(path, what="dataset 'a'", wait_s=5):
        assert os.path.exists(path)  # noqa: PTH110  the lock's file stays
