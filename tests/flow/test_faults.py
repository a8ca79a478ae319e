"""Whatever goes wrong in an execution, it ends, with an error to read, and what is recorded can be resumed."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tidemill.core.engine import Engine
from tidemill.core.errors import TaskFailed, TidemillError
from tidemill.core.locks import lease
from tidemill.core.types import Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow import states, tasks
from tidemill.flow.executing import execution
from tidemill.flow.executing.dispatching import Dispatcher
from tidemill.flow.executing.execution import FlowRun

Notes = Callable[[], list[str]]


def until(what: Callable[[], object], for_s: float = 30.0) -> None:
    end = time.monotonic() + for_s
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def gone(pid: str) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "(zombie)" in status.read_text()
    except OSError:
        return True


def in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """The call in a thread, and what it gave or raised."""
    made: list[object] = []

    def run() -> None:
        try:
            made.append(call())
        except BaseException as error:
            made.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, made


def test_sys_exit_in_a_step_is_the_steps_error(ws: Workspace, engine: Engine, faults: ModuleType) -> None:
    run = execution.run(ws, faults.left, {}, engine=engine)
    assert isinstance(run.error, TaskFailed)
    assert str(run.error) == "the task called sys.exit('leaving 1'); return a value or raise an error instead"
    assert states.read(ws, run.id).status == "failed"


def test_sys_exit_in_the_build_function_fails_the_execution(ws: Workspace, here: Engine, faults: ModuleType) -> None:
    run = execution.run(ws, faults.left_itself, {}, engine=here)
    assert isinstance(run.error, TaskFailed)
    assert states.read(ws, run.id).status == "failed"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "Rude: (its text cannot be made: TypeError)"),
        ("letters", "ValueError: nul \\x00 and half \\ud800 of a pair"),
    ],
)
def test_an_error_that_no_database_takes_is_recorded_readably(
    ws: Workspace, engine: Engine, faults: ModuleType, kind: str, said: str
) -> None:
    run = execution.run(ws, faults.rudely, {"kind": kind}, engine=engine)
    record = ws.graph.get(run.id)
    assert isinstance(record, Run)
    assert (record.status, record.error) == ("failed", said)


def test_an_argument_that_nobody_can_show_is_named_by_its_type(ws: Workspace, here: Engine, faults: ModuleType) -> None:
    run = execution.run(ws, faults.given_rude, {}, engine=here)
    assert run.result() == "RudeValue"
    assert states.step_runs(ws, run.id)[0].params["arguments"] == {"x": "<RudeValue>"}


def test_a_progress_that_fails_is_not_asked_again(ws: Workspace, engine: Engine, pieces: ModuleType) -> None:
    said: list[str] = []

    def progress(done: int, known: int, text: str) -> None:
        said.append(text)
        raise BrokenPipeError

    assert execution.run(ws, pieces.fan, {"n": 3}, engine=engine, progress=progress).result() == 36 - 3
    assert len(said) == 1


def test_calls_that_cannot_be_sent_fail_and_the_rest_goes_on(ws: Workspace, faults: ModuleType) -> None:
    """More of them than are in flight at once: each made room for one that could not be sent either."""
    from tidemill.flow.engines.pool import PoolEngine

    engine = PoolEngine(2)
    thread, made = in_thread(lambda: execution.run(open_workspace(ws.root), faults.unsendable, {}, engine=engine))
    thread.join(60)
    assert made, "it hangs"
    run = made[0]
    assert isinstance(run, FlowRun)
    assert re.search("cannot be sent to a worker process: not me", str(run.error))
    assert states.read(ws, run.id).counts == {"done": 70, "failed": 80}
    engine.close()


def test_an_error_in_the_dispatchers_thread_is_told_and_the_thread_goes_on() -> None:
    told: list[BaseException] = []
    done = threading.Event()
    dispatcher = Dispatcher(lambda: 1 / 0, 0.01, told.append)
    dispatcher.later(0.05, done.set)
    assert done.wait(10)
    dispatcher.call(lambda: exit(3))
    until(lambda: any(isinstance(each, SystemExit) for each in told))
    assert isinstance(told[0], ZeroDivisionError)
    dispatcher.close()


def test_a_key_that_another_holds_is_waited_for(ws: Workspace, engine: Engine, faults: ModuleType) -> None:
    run = execution.run(ws, faults.forked, {}, engine=engine)
    nodes = states.read(ws, run.id).nodes
    keys = {each.node: each.key for each in nodes}
    assert all(keys.values()), [(each.node, each.why) for each in nodes]
    ws.graph.close()
    other = open_workspace(ws.root.with_name("b.mill"))
    held = lease(other, f"step/{keys['printing#2']}")
    assert held is not None
    thread, made = in_thread(lambda: execution.run(other, faults.forked, {}, engine=engine))
    until(lambda: states.listed(other) and "done" in states.read(other, states.listed(other)[0].run.id).counts)
    time.sleep(0.3)
    assert not made, [
        (each.node, each.key, each.why) for each in states.read(other, states.listed(other)[0].run.id).nodes
    ]
    held.release()
    thread.join(30)
    assert isinstance(made[0], FlowRun)
    assert made[0].result() == run.value
    assert not [key for key in keys.values() if lease(other, f"step/{key}") is None]


def test_a_builtin_that_a_library_replaced_is_the_builtin(
    ws: Workspace, faults: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray replaces print in the process that talks to it: workers have not."""
    import builtins

    from ray.experimental import tqdm_ray

    from tidemill.flow.caching.keys import reached

    plain = reached(faults.printing.function, env=()).digest
    monkeypatch.setattr(builtins, "print", tqdm_ray.safe_print)
    assert reached(faults.printing.function, env=()).digest == plain
    monkeypatch.setattr(builtins, "print", faults.loudly)  # the user's own is other code
    assert reached(faults.printing.function, env=()).digest != plain


def test_a_database_that_goes_away_ends_the_execution_and_what_it_runs(
    ws: Workspace, faults: ModuleType, notes: Notes
) -> None:
    """While the build function waits for a step that takes long."""
    from tidemill.flow.engines.pool import PoolEngine

    engine = PoolEngine(2)
    other = open_workspace(ws.root)
    thread, made = in_thread(lambda: execution.run(other, faults.waits_while_others_write, {"n": 300}, engine=engine))
    until(lambda: len(notes()) == 1)
    link = sqlite3.connect(ws.root / "graph.db", isolation_level=None)
    link.execute("CREATE TRIGGER away BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END")
    thread.join(30)
    assert made, "it hangs"
    assert isinstance(made[0], TidemillError), made
    until(lambda: gone(notes()[0].split()[1]), 5)
    link.execute("DROP TRIGGER away")
    link.close()
    (state,) = states.listed(ws)
    assert state.status == "lost"
    assert ws.graph.verify() == []
    assert execution.resume(ws, state.run.id, pipeline=faults.printed, engine=engine).result() == 300
    engine.close()


@pytest.mark.parametrize("at", ["in the build function", "at its end"])
def test_an_interrupt_ends_what_runs(ws: Workspace, faults: ModuleType, notes: Notes, at: str) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); import faults, pieces\n"
        "from tidemill.core import extend; from tidemill.core.workspace import open_workspace\n"
        "from tidemill.flow.executing import execution\n"
        "ws, engine = open_workspace(sys.argv[1]), extend.load('engine', 'pool')('pool://2')\n"
        f"print(execution.run(ws, {'faults.waited' if at == 'at its end' else 'pieces.sleepy'}, {{}}, engine=engine))\n"
    )
    command = [sys.executable, "-c", program, str(ws.root), str(Path(str(faults.__file__)).parent)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until(lambda: len(notes()) == 2)
    process.send_signal(signal.SIGINT)
    assert "status='cancelled'" in process.communicate(timeout=30)[0]
    assert states.listed(ws)[0].status == "cancelled"
    assert all(gone(line.split()[-1]) for line in notes())


def test_cancelling_at_any_moment_ends_with_every_node_ended(ws: Workspace, pieces: ModuleType) -> None:
    from tidemill.flow.engines.pool import PoolEngine

    engine = PoolEngine(2)
    for number in range(6):
        other = open_workspace(ws.root)
        params = {"n": 40 + number}
        thread, made = in_thread(
            lambda other=other, params=params: execution.run(  # type: ignore[misc]
                other, pieces.wide, params, engine=engine
            )
        )
        until(lambda number=number: len(states.listed(ws)) == number + 1)  # type: ignore[misc]
        time.sleep(0.02 * number)
        run_id = states.listed(ws)[0].run.id
        try:
            states.cancel(ws, run_id)
        except TidemillError:
            assert states.listed(ws)[0].status == "done"
        thread.join(30)
        assert isinstance(made[0], FlowRun), made
        assert made[0].status in ("cancelled", "done")
        assert not {"running", "waiting"} & states.read(ws, run_id).counts.keys()
        other.close()
    assert ws.graph.verify() == []
    engine.close()


def test_a_result_kept_after_the_end_is_refused_not_waited_for(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    import tidemill as tm

    kept = []

    @tm.pipeline
    def keeping() -> int:
        kept.append(pieces.plus(1))
        kept.append(pieces.plus(pieces.poison(2)))
        return 1

    execution.run(ws, keeping, {}, engine=here)
    assert int(kept[0]) == 2
    with pytest.raises(ValueError, match="no good: 2"):
        int(kept[1])

    @tm.pipeline
    def using() -> int:
        return int(pieces.plus(kept[0]))

    assert execution.run(ws, using, {}, engine=here).result() == 3


def test_two_nodes_have_two_logs(ws: Workspace) -> None:
    names = ["a/b", "a_b", "x" * 200 + "[1]", "x" * 200 + "[2]", "A", "a[1]"]
    assert len({tasks.log_path(ws, "run", name) for name in names}) == len(names)


def test_a_cached_blob_that_is_gone_is_made_again(
    ws: Workspace, engine: Engine, faults: ModuleType, notes: Notes
) -> None:
    first = execution.run(ws, faults.heavy, {"mb": 1}, engine=engine)
    blob = states.read(ws, first.id).node("large").output
    assert blob is not None
    ws.store.delete(blob["blob"])
    again = execution.run(ws, faults.heavy, {"mb": 1}, engine=engine)
    assert again.result() == 125_000
    assert states.read(ws, again.id).node("large").state == "done"
    assert ws.store.has(blob["blob"])


def test_sweeping_keeps_what_runs_of_steps_speak_of(ws: Workspace, here: Engine, faults: ModuleType) -> None:
    from tidemill.improve.sweeping import sweep

    run = execution.run(ws, faults.forked, {}, engine=here)
    execution.run(ws, faults.heavy, {"mb": 1}, engine=here)
    assert sweep(ws, older_than_s=0.0).blobs == ()
    for each in states.step_runs(ws, run.id):
        assert "code" in "".join(states.parts_of(ws, each))
    assert states.log_of(ws, run.id, "printing") == "x" * 10 + "\n"
    again = execution.run(ws, faults.heavy, {"mb": 1}, engine=here)
    assert set(states.read(ws, again.id).counts) == {"cached"}


def test_a_resumed_execution_keeps_what_was_told_of_a_node(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    asked = execution.run(ws, pieces.asking, {}, engine=here)
    before = states.read(ws, asked.id).node("plus")
    execution.resume(ws, asked.id, pipeline=pieces.asking, engine=here)
    assert states.read(ws, asked.id).node("plus") == before
    assert before.started_at is not None


def test_a_build_function_reads_only_what_it_looks_at(ws: Workspace, engine: Engine, pieces: ModuleType) -> None:
    run = execution.run(ws, pieces.fan, {"n": 3}, engine=engine)
    edges = [(edge.role, edge.slot) for edge in ws.graph.edges([run.id])]
    assert sorted(edges) == [("in", "split"), ("out", "result")]
