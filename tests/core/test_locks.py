"""Locks: one at a time, between processes, and between machines that share a graph in PostgreSQL."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tidemill.core.errors import Busy
from tidemill.core.locks import exclusive
from tidemill.core.workspace import Workspace, open_workspace

HOLD = """
import sys, time
from tidemill.core.locks import exclusive
from tidemill.core.workspace import open_workspace
ws = open_workspace(sys.argv[1])
with exclusive(ws, "datasets/flights", what="dataset 'flights'"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "here"))
    if request.param == "sqlite":
        return open_workspace(tmp_path / "a.mill")
    make: Callable[[], str] = request.getfixturevalue("new_database")
    return open_workspace(make())


def elsewhere(ws: Workspace, root: Path) -> Workspace:
    """The same workspace on another machine, if its graph is on neither."""
    return replace(ws, root=root) if ws.url.startswith("postgresql") else ws


def test_only_one_holds_a_name_and_the_others_are_told(ws: Workspace, tmp_path: Path) -> None:
    other = elsewhere(ws, tmp_path / "there")
    where = "machine" if other is not ws else "process"
    with exclusive(ws, "datasets/flights", what="dataset 'flights'"):
        with (
            pytest.raises(Busy, match=rf"dataset 'flights' is locked by another {where} for 0.2 s; try again later"),
            exclusive(other, "datasets/flights", what="dataset 'flights'", wait_s=0.2),
        ):
            pass
        with exclusive(other, "datasets/weather", what="dataset 'weather'", wait_s=0.2):
            pass
    with exclusive(other, "datasets/flights", what="dataset 'flights'", wait_s=0.2):
        pass
    ws.close()


def test_a_failed_body_lets_go(ws: Workspace, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no"), exclusive(ws, "a", what="a", wait_s=0.2):
            raise RuntimeError("no")
    ws.close()


def test_a_killed_holder_lets_go(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if ws.url.startswith("postgresql"):
        monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "there"))
    holder = subprocess.Popen([sys.executable, "-c", HOLD, ws.url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(Busy, match="is locked by another"),
        exclusive(ws, "datasets/flights", what="dataset 'flights'", wait_s=0.2),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with exclusive(ws, "datasets/flights", what="dataset 'flights'", wait_s=30):
        pass
    ws.close()
