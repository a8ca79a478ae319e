"""Leases: thousands of names at once, each with one holder; a kill frees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tidemill.core import locks
from tidemill.core.graphs.pgleases import Leases
from tidemill.core.locks import lease
from tidemill.core.workspace import Workspace, open_workspace

HOLD = """
import sys, time
from tidemill.core.locks import lease
from tidemill.core.workspace import open_workspace
ws = open_workspace(sys.argv[1])
held = [lease(ws, name) for name in sys.argv[2:]]
print(*[each is not None for each in held], flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "here"))
    if request.param == "sqlite":
        made = open_workspace(tmp_path / "a.mill")
    else:
        make: Callable[[], str] = request.getfixturevalue("new_database")
        made = open_workspace(make())
    yield made
    made.close()


def other_process(ws: Workspace, *names: str, elsewhere: Path) -> subprocess.Popen[str]:
    """A process, on another machine where the graph is on neither, that holds the names until it is killed."""
    place = os.environ | {"TIDEMILL_STATE_FOLDER": str(elsewhere)}
    command = [sys.executable, "-c", HOLD, ws.url, *names]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=place)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_name_has_one_holder_until_it_is_given_back(ws: Workspace) -> None:
    first = lease(ws, "key/a")
    assert first is not None
    assert lease(ws, "key/a") is None
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lease, ws, "key/a").result() is None
    second = lease(ws, "key/b")
    assert second is not None
    assert (locks.is_held(ws, "key/a"), locks.is_held(ws, "key/b"), locks.is_held(ws, "key/c")) == (True, True, False)
    first.release()
    first.release()
    assert not locks.is_held(ws, "key/a")
    with lease(ws, "key/a") or pytest.fail("it was given back"):
        assert locks.is_held(ws, "key/a")
    assert not locks.is_held(ws, "key/a")
    assert locks.is_held(ws, "key/b")
    second.release()


def test_a_lease_waits_for_the_holder(ws: Workspace) -> None:
    first = lease(ws, "key/a")
    assert first is not None
    threading.Timer(0.1, first.release).start()
    second = lease(ws, "key/a", wait_s=30)
    assert second is not None
    assert lease(ws, "key/a", wait_s=0.05) is None
    second.release()


def test_another_process_holds_a_name_until_it_is_killed(ws: Workspace, tmp_path: Path) -> None:
    mine = lease(ws, "key/mine")
    assert mine is not None
    holder = other_process(ws, "key/a", "key/b", "key/mine", elsewhere=tmp_path / "there")
    assert said(holder) == "True True False"
    assert lease(ws, "key/a") is None
    assert locks.is_held(ws, "key/b")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    freed = lease(ws, "key/a", wait_s=30)
    assert freed is not None
    freed.release()
    mine.release()


def test_of_many_threads_one_gets_each_name(ws: Workspace) -> None:
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda number: lease(ws, f"key/{number % 50}"), range(400)))
    held = [each for each in got if each is not None]
    assert sorted(each.name for each in held) == sorted(f"key/{number}" for number in range(50))
    for each in held:
        each.release()


def test_a_forked_child_neither_keeps_nor_frees_its_parents_names(tmp_path: Path) -> None:
    program = """
import os, sys, time
from tidemill.core.locks import lease
from tidemill.core.workspace import open_workspace
ws = open_workspace(sys.argv[1])
held = lease(ws, "key/a")
child = os.fork()
if child == 0:
    held.release()
    os.write(1, b"forked\\n")
    time.sleep(600)
    os._exit(0)
os.write(1, b"%d\\n" % child)
time.sleep(600)
"""
    ws = open_workspace(tmp_path / "a.mill")
    command = [sys.executable, "-c", program, ws.url]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = {said(parent), said(parent)}
    child = int((lines - {"forked"}).pop())
    try:
        assert lease(ws, "key/a") is None
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # it lives
        freed = lease(ws, "key/a", wait_s=30)
        assert freed is not None
        freed.release()
    finally:
        os.kill(child, signal.SIGKILL)
        parent.communicate()
    ws.close()


def test_a_thousand_names_cost_one_open_file(tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "a.mill")
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("this system does not list a process's open files")
    before = len(list(folder.iterdir()))
    held = [lease(ws, f"key/{number}") for number in range(1000)]
    assert None not in held
    assert len(list(folder.iterdir())) <= before + 1
    for each in held:
        assert each is not None
        each.release()
    assert len(list(folder.iterdir())) <= before
    ws.close()


def test_names_are_taken_again_when_the_server_ended_the_session(
    new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "here"))
    monkeypatch.setattr("tidemill.core.graphs.pgleases.PING_S", 0.05)
    ws = open_workspace(new_database())
    held = lease(ws, "flow/1")
    assert held is not None
    engine = sa.create_engine(sa.make_url(ws.url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    other = Leases(engine)
    assert not other.hold("flow/1")
    with engine.connect() as link:
        link.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        )
    until = time.monotonic() + 30
    while not other.is_held("flow/1") and time.monotonic() < until:
        time.sleep(0.02)
    assert not other.hold("flow/1")
    held.release()
    assert other.hold("flow/1")
    other.close()
    engine.dispose()
    ws.close()


def test_another_workspace_has_its_own_names(tmp_path: Path) -> None:
    one, other = open_workspace(tmp_path / "a.mill"), open_workspace(tmp_path / "b.mill")
    first, second = lease(one, "key/a"), lease(other, "key/a")
    assert first is not None
    assert second is not None
    assert lease(replace(one, url="the same folder"), "key/a") is None
    first.release()
    second.release()
    one.close()
    other.close()


def test_a_forked_child_has_a_session_of_its_own(
    new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "here"))
    ws = open_workspace(new_database())
    mine = lease(ws, "key/mine")
    assert mine is not None
    child = os.fork()
    if child == 0:
        code = 1
        try:
            own = lease(ws, "key/child")
            code = 0 if own is not None and lease(ws, "key/mine") is None else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    after = lease(ws, "key/child", wait_s=30)  # it went with the child
    assert after is not None
    other = open_workspace(ws.url)
    assert lease(other, "key/mine") is None
    after.release()
    mine.release()
    other.close()
    ws.close()
