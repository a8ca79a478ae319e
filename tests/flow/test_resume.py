"""Executions killed with -9 in the middle, again and again, end with the same value and run no recorded step twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tidemill.core.engine import Engine
from tidemill.core.errors import BadInput, Busy
from tidemill.core.locks import lease
from tidemill.core.types import Run
from tidemill.core.workspace import Workspace
from tidemill.flow import states
from tidemill.flow.executing import execution, memory

Notes = Callable[[], list[str]]

# How often the execution is killed; 50 as a trial by hand: TIDEMILL_KILLS=50 pytest tests/flow/test_resume.py
KILLS = int(os.environ.get("TIDEMILL_KILLS", "5"))

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
import pieces
from tidemill.core import extend
from tidemill.core.types import Query
from tidemill.core.workspace import open_workspace
from tidemill.flow.executing import execution

ws = open_workspace(sys.argv[1])
engine = extend.load("engine", sys.argv[3].partition(":")[0])(sys.argv[3])
going = ws.graph.find(Query("run", kind="flow.pipeline", status="running"))
print("ready", flush=True)
if going:
    run = execution.resume(ws, going[0].id, pipeline=pieces.work, engine=engine)
else:
    run = execution.run(ws, pieces.work, {}, engine=engine)
print(run.id, run.result())
engine.close()
"""


def start(ws: Workspace, pieces: ModuleType, engine: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(ws.root), str(Path(str(pieces.__file__)).parent), engine]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("engine", ["here", "pool://2"])
def test_killed_again_and_again_it_ends_with_the_same(
    ws: Workspace, pieces: ModuleType, notes: Notes, engine: str
) -> None:
    chance = random.Random(engine)
    killed = 0
    recorded: dict[str, str] = {}  # what was durable at some kill: node to the run that made it
    said = ""
    while not said:
        with start(ws, pieces, engine) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            if killed < KILLS:
                time.sleep(chance.uniform(0.0, 0.5))
                os.kill(process.pid, signal.SIGKILL)
            said = process.stdout.read()
        if said:
            break
        assert killed < KILLS, "it failed by itself"
        killed += 1
        assert ws.graph.verify() == []
        for state in states.listed(ws):
            assert state.status == "lost"
            for (node, _), found in memory.of_execution(ws, state.run.id).by_node.items():
                assert recorded.setdefault(node, found.run) == found.run
    run_id, value = said.split()
    expected = 3 * 6 + 15
    assert int(value) == 12 + expected + expected
    last = states.read(ws, run_id)
    assert last.status == "done"
    for node, run in recorded.items():
        assert last.node(node).run == run, f"{node} was recorded, and run again"
    steps = [each for each in states.step_runs(ws, run_id) if each.status == "done"]
    assert max(Counter(each.params["node"] for each in steps).values()) == 1


def test_a_node_without_cache_is_not_run_again_by_resuming(
    ws: Workspace, here: Engine, pieces: ModuleType, notes: Notes
) -> None:
    with start(ws, pieces, "here") as process:
        while not any(line.startswith("long") for line in notes()):
            time.sleep(0.01)
        time.sleep(0.3)  # "always" is long since durable
        process.kill()
    run = states.listed(ws)[0].run
    execution.resume(ws, run.id, pipeline=pieces.work, engine=here).result()
    assert notes().count("always 0") == 1


def test_only_one_process_runs_an_execution(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    asked = execution.run(ws, pieces.asking, {}, engine=here)
    with lease(ws, f"flow/{asked.id}") or pytest.fail("held"), pytest.raises(Busy, match="is run by another process"):
        execution.resume(ws, asked.id, pipeline=pieces.asking, engine=here)


def test_an_ended_execution_is_not_resumed(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    done = execution.run(ws, pieces.chain, {}, engine=here)
    with pytest.raises(BadInput, match="ended as done; run the pipeline again: what was done is cached"):
        execution.resume(ws, done.id, pipeline=pieces.chain, engine=here)
    step = states.step_runs(ws, done.id)[0]
    assert isinstance(step, Run)
    with pytest.raises(BadInput, match="is no execution of a pipeline"):
        execution.resume(ws, step.id, pipeline=pieces.chain, engine=here)


def test_a_full_disk_ends_the_execution_with_a_readable_error_and_it_goes_on_afterwards(
    ws: Workspace, here: Engine, pieces: ModuleType, notes: Notes
) -> None:
    program = PROGRAM.replace(
        'print("ready", flush=True)',
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (450_000, 450_000))",
    ).replace("pieces.work, {}", "pieces.wide, {'n': 2000}")
    command = [sys.executable, "-c", program, str(ws.root), str(Path(str(pieces.__file__)).parent), "here"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode != 0
    assert "NoRoom" in ended.stderr
    assert ws.graph.verify() == []
    (state,) = states.listed(ws)
    assert state.status == "lost"
    run = execution.resume(ws, state.run.id, pipeline=pieces.wide, engine=here)
    assert run.result() == 2000 * 1999 // 2 + 2000
