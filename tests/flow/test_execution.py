"""Pipelines run on the engines of this machine: values, caches, failures, retries, deadlines, secrets, logs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa

from tidemill.core.engine import Engine
from tidemill.core.errors import BadInput, Cancelled, NotFound, TimedOut, WrongType
from tidemill.core.types import Artifact, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow import states
from tidemill.flow.executing import execution
from tidemill.flow.executing.execution import FlowRun

Notes = Callable[[], list[str]]


def until(what: Callable[[], object], for_s: float = 30.0) -> None:
    end = time.monotonic() + for_s
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def states_of(ws: Workspace, run: FlowRun) -> dict[str, str]:
    return {node.node: node.state for node in states.read(ws, run.id).nodes}


def test_a_chain_gives_what_plain_calls_give(ws: Workspace, engine: Engine, pieces: ModuleType) -> None:
    assert execution.run(ws, pieces.chain, {"n": 5}, engine=engine).result() == pieces.chain(5) == 5


@pytest.mark.parametrize(
    ("name", "params"),
    [("fan", {"n": 5}), ("branch", {"n": 9}), ("branch", {"n": 3}), ("outer", {"n": 4}), ("cascade", {"x": 42})],
)
def test_any_shape_gives_what_plain_calls_give(
    ws: Workspace, engine: Engine, pieces: ModuleType, name: str, params: dict[str, int]
) -> None:
    pipeline = getattr(pieces, name)
    assert execution.run(ws, pipeline, params, engine=engine).result() == pipeline(**params)


def test_nodes_are_named_as_they_are_called(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    run = execution.run(ws, pieces.outer, {"n": 2}, engine=here)
    found = states_of(ws, run)
    assert {"inner/split", "inner/plus[0]", "inner#2/total", "split", "inner#3[1]/plus[0]", "total"} <= found.keys()


def test_a_second_run_runs_nothing(ws: Workspace, engine: Engine, pieces: ModuleType, notes: Notes) -> None:
    execution.run(ws, pieces.fan, {}, engine=engine)
    before = notes()
    run = execution.run(ws, pieces.fan, {}, engine=engine)
    assert run.result() == 46
    assert notes() == before
    assert set(states_of(ws, run).values()) == {"cached"}


def test_a_key_of_another_pipeline_is_found(ws: Workspace, here: Engine, pieces: ModuleType, notes: Notes) -> None:
    execution.run(ws, pieces.chain, {"n": 1}, engine=here)
    before = notes()
    execution.run(ws, pieces.branch, {"n": 0}, engine=here)  # start(0) too
    assert notes()[: len(before)] == before
    assert notes()[len(before)] == "pair 0"


def test_an_equal_output_cuts_the_cascade(ws: Workspace, here: Engine, pieces: ModuleType, notes: Notes) -> None:
    execution.run(ws, pieces.cascade, {"x": 41}, engine=here)
    run = execution.run(ws, pieces.cascade, {"x": 42}, engine=here)
    assert notes() == ["tens 41", "plus 4 1", "tens 42"]
    assert states_of(ws, run) == {"tens": "done", "plus": "cached"}


def test_equal_calls_of_one_execution_run_once(ws: Workspace, engine: Engine, pieces: ModuleType, notes: Notes) -> None:
    run = execution.run(ws, pieces.outer, {"n": 2}, engine=engine)
    assert notes().count("split 2") == 1
    assert run.result() == pieces.outer(2)


def test_two_executions_of_one_key_compute_once(
    ws: Workspace, here: Engine, pieces: ModuleType, notes: Notes, tmp_path: Path
) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); import pieces\n"
        "from tidemill.core import extend; from tidemill.core.workspace import open_workspace\n"
        "from tidemill.flow.executing import execution\n"
        "ws, engine = open_workspace(sys.argv[1]), extend.load('engine', 'here')()\n"
        "print(execution.run(ws, pieces.shared, {}, engine=engine).result())"
    )
    command = [sys.executable, "-c", program, str(ws.root), str(Path(str(pieces.__file__)).parent)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [each.communicate(timeout=60)[0].strip() for each in both] == ["1", "1", "1"]
    assert notes() == ["long 1"]


def test_a_poison_step_fails_with_its_own_error_and_the_rest_goes_on(
    ws: Workspace, engine: Engine, pieces: ModuleType, notes: Notes
) -> None:
    run = execution.run(ws, pieces.poisoned, {}, engine=engine)
    assert run.status == "failed"
    with pytest.raises(ValueError, match="no good: 1"):
        run.result()
    assert states_of(ws, run) == {"start": "done", "poison": "failed", "plus": "skipped", "plus#2": "done"}
    record = ws.graph.get(run.id)
    assert isinstance(record, Run)
    assert record.error == "ValueError: no good: 1"
    node = states.read(ws, run.id).node("poison")
    assert "in poison" in node.trace
    assert "about to fail 1" in states.log_of(ws, run.id, "poison")
    assert states.read(ws, run.id).node("plus").why == "poison failed"


def test_an_error_that_the_program_catches_fails_nothing(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    run = execution.run(ws, pieces.caught, {}, engine=here)
    assert (run.status, run.value) == ("done", 2)


def test_a_step_is_tried_again(ws: Workspace, engine: Engine, pieces: ModuleType, notes: Notes) -> None:
    run = execution.run(ws, pieces.retried, {}, engine=engine)
    assert run.result() == 1
    assert notes() == ["moody"] * 3
    assert states.read(ws, run.id).node("moody").attempt == 3


def test_a_deadline_ends_the_whole_process_group(
    ws: Workspace, engine: Engine, pieces: ModuleType, notes: Notes
) -> None:
    run = execution.run(ws, pieces.late, {}, engine=engine)
    assert isinstance(run.error, TimedOut)
    child = int(notes()[0].split()[1])
    until(lambda: not Path(f"/proc/{child}").exists() or "(zombie)" in Path(f"/proc/{child}/status").read_text(), 2.0)


def test_a_step_without_cache_runs_each_time_and_says_so(
    ws: Workspace, here: Engine, pieces: ModuleType, notes: Notes
) -> None:
    for _ in range(2):
        run = execution.run(ws, pieces.repeated, {}, engine=here)
    assert notes().count("always 1") == 2
    assert notes().count("plus 1 1") == 1
    assert states.read(ws, run.id).node("always").why == "it says cache=False"


def test_what_cannot_be_stored_runs_again_and_says_so(
    ws: Workspace, here: Engine, pieces: ModuleType, notes: Notes
) -> None:
    for _ in range(2):
        run = execution.run(ws, pieces.unstored, {}, engine=here)
        assert run.result() == "lock"
    assert notes() == ["kind", "kind"]
    state = states.read(ws, run.id)
    assert state.node("lock").why == "its result cannot be stored: no format takes lock"
    assert "no stored form" in state.node("kind").why


def test_a_secret_reaches_the_step_and_no_file(
    ws: Workspace, engine: Engine, pieces: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIDEMILL_SECRET_WORD", "open-sesame-4711")
    assert execution.run(ws, pieces.secretive, {}, engine=engine).result() == 16
    ws.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"open-sesame" in path.read_bytes()]


def test_an_unknown_secret_is_named(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    run = execution.run(ws, pieces.secretive, {}, engine=here)
    assert isinstance(run.error, NotFound)
    assert str(run.error) == "no secret 'word'; set TIDEMILL_SECRET_WORD where steps run"


def test_parameters_are_checked_before_anything_runs(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    with pytest.raises(BadInput, match=r"pipeline 'chain' has no parameter 'm'; it has n\."):
        execution.run(ws, pieces.chain, {"m": 1}, engine=here)
    with pytest.raises(WrongType, match=r"chain\.n is 'many'; it must be int"):
        execution.run(ws, pieces.chain, {"n": "many"}, engine=here)
    with pytest.raises(BadInput, match=r"pipeline 'cascade' needs x \(int\); give x=\.\.\."):
        execution.run(ws, pieces.cascade, {}, engine=here)
    assert execution.run(ws, pieces.chain, {"n": "2"}, engine=here).result() == 2  # as a shell gives it
    assert len(states.listed(ws)) == 1


def test_cancelling_ends_what_runs(ws: Workspace, pieces: ModuleType, notes: Notes) -> None:
    from tidemill.flow.engines.pool import PoolEngine

    engine = PoolEngine(2)
    ended: list[FlowRun] = []
    other = open_workspace(ws.root)
    thread = threading.Thread(target=lambda: ended.append(execution.run(other, pieces.sleepy, {}, engine=engine)))
    thread.start()
    until(lambda: len(notes()) == 2)
    began = time.monotonic()
    states.cancel(ws, states.listed(ws)[0].run.id)
    thread.join(20)
    assert time.monotonic() - began < 10
    assert ended[0].status == "cancelled"
    assert isinstance(ended[0].error, Cancelled)
    assert states.read(ws, ended[0].id).counts == {"cancelled": 3}
    for line in notes():
        assert not Path(f"/proc/{line.split()[2]}").exists()
    engine.close()


def test_a_result_leads_to_all_that_made_it(ws: Workspace, engine: Engine, pieces: ModuleType) -> None:
    run = execution.run(ws, pieces.fan, {"n": 3}, engine=engine)
    result = next(edge for edge in ws.graph.edges([run.id]) if edge.role == "out")
    artifact = ws.graph.get(result.artifact_id)
    assert isinstance(artifact, Artifact)
    trail = artifact.trace()
    assert sorted(each.name for each in trail.runs if each.kind == "flow.step") == ["plus"] * 3 + ["split", "total"]
    assert ws.graph.verify() == []


def statements(ws: Workspace) -> list[str]:
    """What the database is asked from now on: by SQLAlchemy (many rows of one insert are one statement), and the
    look-up of a key, which goes to the driver, told by SQLite."""
    said: list[str] = []
    engine = ws.graph._engine  # type: ignore[attr-defined]
    engine.dispose()

    @sa.event.listens_for(engine, "connect")
    def _connected(raw: Any, _: object) -> None:
        raw.set_trace_callback(lambda text: said.append(text) if text.startswith("SELECT body FROM runs") else None)

    sa.event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    return said


def test_a_step_costs_few_statements(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    said = statements(ws)
    execution.run(ws, pieces.chain, {"n": 99}, engine=here).result()
    executed = len(said)
    said.clear()
    execution.run(ws, pieces.chain, {"n": 99}, engine=here).result()
    assert executed <= 3 * 100
    assert len(said) <= 100


def test_a_step_keeps_its_type(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import tidemill as tm\n\n@tm.step\ndef plus(x: int, y: int = 1) -> int:\n    return x + y\n\n"
        "@tm.pipeline(name='p')\ndef p(n: int) -> str:\n    return str(plus(n))\n\n"
        "reveal_type(plus(1))\nreveal_type(plus.map([1]))\nreveal_type(p(1))\nplus('a')\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    told = re.findall(r'Revealed type is "(.*?)"', said)
    assert [each.replace("builtins.", "") for each in told] == ["int", "list[int]", "str"]
    assert 'incompatible type "str"; expected "int"' in said


def test_a_plain_call_is_a_plain_call(pieces: ModuleType, notes: Notes) -> None:
    assert pieces.plus(1) == 2
    assert pieces.plus.map([1, 2], y=3) == [4, 5]
    with pytest.raises(BadInput, match="run the pipeline, do not call it"):
        pieces.asking(1)


def test_maps_of_lists_of_other_lengths_are_refused(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    with pytest.raises(BadInput, match=re.escape("plus.map() got lists of [1, 2] elements")):
        pieces.plus.map([1], [1, 2])


KILLS = int(os.environ.get("TIDEMILL_KILLS", "4"))


def test_an_interrupted_execution_is_cancelled(ws: Workspace, pieces: ModuleType, notes: Notes) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); import pieces\n"
        "from tidemill.core import extend; from tidemill.core.workspace import open_workspace\n"
        "from tidemill.flow.executing import execution\n"
        "ws, engine = open_workspace(sys.argv[1]), extend.load('engine', 'pool')()\n"
        "print(execution.run(ws, pieces.sleepy, {}, engine=engine).status)"
    )
    command = [sys.executable, "-c", program, str(ws.root), str(Path(str(pieces.__file__)).parent)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until(lambda: len(notes()) >= 1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0].strip() == "cancelled"
    assert states.listed(ws)[0].status == "cancelled"
