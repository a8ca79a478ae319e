"""The engines of one machine pass the public suite; what is the pool's own is tested here too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.core import extend
from tidemill.core.engine import Engine, Resources
from tidemill.core.errors import BadInput, Cancelled, MissingExtra, ServerFailed
from tidemill.flow.engines import pool
from tidemill.testing.engines import EngineSuite, die, double, fail_on_three, gone, touch_and_sleep, wait_until


@pytest.fixture(scope="module", params=["here", "pool://2"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made: Engine = extend.load("engine", request.param.partition("://")[0])(request.param)
    yield made
    made.close()


class TestEngines(EngineSuite):
    pass


@pytest.fixture
def one() -> Iterator[Engine]:
    made = pool.open_engine("pool://1")
    yield made
    made.close()


def pid_of(_: int) -> int:
    return os.getpid()


def group_of(_: int) -> tuple[int, int]:
    return os.getpgid(0), os.getsid(0)


def seen_gpus(_: int) -> str | None:
    time.sleep(0.2)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def leave_at_once(code: int) -> None:
    os._exit(code)


def size_of(data: bytes) -> int:
    return len(data)


def test_workers_stay_warm_and_lead_groups_of_their_own(one: Engine) -> None:
    pids = {one.submit(pid_of, number).result(60) for number in range(5)}
    assert len(pids) == 1
    assert pids.isdisjoint({os.getpid()})
    assert one.submit(group_of, 0).result(60) == (min(pids), min(pids))


def test_no_process_is_started_before_the_first_task() -> None:
    engine = pool.open_engine("pool://2")
    assert engine._workers == {}
    engine.close()


def test_a_death_is_told_with_how_it_came(one: Engine) -> None:
    with pytest.raises(
        ServerFailed, match=r"a worker process ended \(exit code -9, SIGKILL\) in the middle of task 'die'"
    ):
        one.submit(die, 1).result(60)
    with pytest.raises(ServerFailed, match=r"ended \(exit code 7\) in the middle of task 'leave_at_once'"):
        one.submit(leave_at_once, 7).result(60)
    assert one.submit(double, 4).result(60) == 8


def test_the_workers_traceback_is_a_note_of_the_error(one: Engine) -> None:
    with pytest.raises(ValueError, match="three") as caught:
        one.submit(fail_on_three, 3).result(60)
    (note,) = caught.value.__notes__
    assert note.startswith("in worker process ")
    assert 'raise ValueError("three is not allowed")' in note


def test_a_function_that_does_not_pickle_is_refused_at_once(one: Engine) -> None:
    with pytest.raises(
        BadInput, match=r"task 'triple' cannot be sent to a worker process: .*at the top level of a module"
    ):
        one.submit(lambda number: 3 * number, 1, name="triple")


def test_arguments_and_results_larger_than_a_pipe_pass(one: Engine) -> None:
    assert one.submit(size_of, bytes(20_000_000)).result(60) == 20_000_000
    assert one.submit(bytes, 20_000_000).result(60) == bytes(20_000_000)


def test_tasks_with_parts_of_a_core_share_it(one: Engine) -> None:
    half = Resources(cpu=0.5)
    tasks = [one.submit(seen_gpus, number, needs=half) for number in range(2)]
    assert wait_until(lambda: len(one._workers) == 2)  # type: ignore[attr-defined]
    assert [task.result(60) for task in tasks] == [os.environ.get("CUDA_VISIBLE_DEVICES")] * 2


def test_each_gpu_is_one_tasks_at_a_time() -> None:
    engine = pool.PoolEngine(4, have=Resources(cpu=4, gpu=2, memory_bytes=10**9))
    one, two = Resources(cpu=1, gpu=1), Resources(cpu=1, gpu=2)
    assert sorted(str(task.result(60)) for task in [engine.submit(seen_gpus, n, needs=one) for n in range(2)]) == [
        "0",
        "1",
    ]
    # both workers are bound to one GPU each by now
    assert engine.submit(seen_gpus, 0, needs=two).result(60) == "0,1"
    engine.close()


def test_memory_is_shared_out_as_cores_are() -> None:
    engine = pool.PoolEngine(2, have=Resources(cpu=2, memory_bytes=1000))
    tasks = [engine.submit(pid_of, number, needs=Resources(cpu=1, memory_bytes=600)) for number in range(3)]
    assert len({task.result(60) for task in tasks}) == 1  # never two at once, so one process did
    engine.close()


def test_an_edited_source_file_is_run_as_it_is_now(
    one: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "edited_between_tasks.py"
    source.write_text("def answer(_: int) -> int:\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import edited_between_tasks  # type: ignore[import-not-found]

    assert one.submit(edited_between_tasks.answer, 0).result(60) == 1
    source.write_text("def answer(_: int) -> int:\n    return 1000\n")
    assert one.submit(edited_between_tasks.answer, 0).result(60) == 1000
    del sys.modules["edited_between_tasks"]


def variable(name: str) -> str | None:
    return os.environ.get(name)


def set_variable(name: str) -> None:
    os.environ[name] = "left behind"


def test_a_warm_worker_has_the_environment_of_now(one: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one.submit(variable, "TIDE").result(60) is None
    monkeypatch.setenv("TIDE", "high")
    assert one.submit(variable, "TIDE").result(60) == "high"
    monkeypatch.delenv("TIDE")
    assert one.submit(variable, "TIDE").result(60) is None
    one.submit(set_variable, "TIDE").result(60)
    assert one.submit(variable, "TIDE").result(60) is None


def test_closing_ends_what_runs_and_what_waits(tmp_path: Path) -> None:
    engine = pool.open_engine("pool://1")
    path = tmp_path / "pids"
    running = engine.submit(touch_and_sleep, str(path), name="first")
    waiting = engine.submit(double, 1, name="second")
    assert wait_until(path.exists)
    engine.close()
    with pytest.raises(Cancelled, match="task 'first' was running when its engine was closed"):
        running.result(10)
    with pytest.raises(Cancelled, match="task 'second' had not started when its engine was closed"):
        waiting.result(10)
    assert wait_until(lambda: all(gone(int(pid)) for pid in path.read_text().split()), 2)
    with pytest.raises(BadInput, match="task 'double': this engine is closed; open another one"):
        engine.submit(double, 1)


SHORT_OF_FILES = """
import gc, os, resource
from pathlib import Path
from tidemill.core.errors import ServerFailed
from tidemill.flow.engines import pool
from tidemill.testing.engines import double

def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))

engine = pool.open_engine("pool://1")
gc.collect()
had = resource.getrlimit(resource.RLIMIT_NOFILE)
lowest = os.dup(0)
os.close(lowest)
before = open_files()
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 3, had[1]))  # a worker needs more than three
for task in [engine.submit(double, number) for number in range(3)]:
    try:
        print("answered", task.result(60))
    except ServerFailed as error:
        print(error)
resource.setrlimit(resource.RLIMIT_NOFILE, had)
print(open_files() - before, engine.submit(double, 4).result(60))
"""


def test_a_worker_that_cannot_be_started_is_told_and_leaves_nothing_open() -> None:
    # in a process of its own: what other tests leave to the garbage collector frees files in the middle
    done = subprocess.run([sys.executable, "-c", SHORT_OF_FILES], capture_output=True, text=True, timeout=60)
    told = "no worker process can be started for task 'double': Too many open files; free some"
    assert done.stdout.splitlines() == [told, told, told, "0 8"], done.stderr


PROGRAM = """
import sys, time
from tidemill.flow.engines import pool
from tidemill.testing.engines import touch_and_sleep

def own(number):
    return number + 1

if __name__ == "__main__":
    engine = pool.open_engine("pool://1")
    print(engine.submit(own, 41).result(60), flush=True)
    if sys.argv[1:]:
        engine.submit(touch_and_sleep, sys.argv[1])
        time.sleep(60)
"""


def test_functions_of_a_script_work_and_its_end_ends_the_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "42\n"
    assert done.stderr == ""


FORKING = """
import os, sys
from tidemill.flow.engines import pool

if __name__ == "__main__":
    engine = pool.open_engine("pool://1")
    before = engine.submit(os.getpgid, 0).result(60)
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    print(engine.submit(os.getpgid, 0).result(60) == before)
"""


def test_a_fork_that_exits_leaves_the_workers_alone(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FORKING)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script, path = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(PROGRAM)
    parent = subprocess.Popen([sys.executable, script, path], stdout=subprocess.DEVNULL)
    assert wait_until(path.exists)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    assert wait_until(lambda: all(gone(int(pid)) for pid in path.read_text().split()), 2)


def test_a_bad_number_of_workers_is_named() -> None:
    with pytest.raises(BadInput, match="'many' is no number of workers; write pool://4"):
        pool.open_engine("pool://many")
    with pytest.raises(BadInput, match="a pool of 0 workers runs nothing; write pool://1 or more"):
        pool.open_engine("pool://0")


def test_modules_are_found_where_the_parent_finds_them_now(
    one: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.submit(double, 1).result(60)  # a warm worker, started before the folder was known
    (tmp_path / "found_later.py").write_text("def answer(_: int) -> int:\n    return 5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import found_later  # type: ignore[import-not-found]

    assert one.submit(found_later.answer, 0).result(60) == 5
    del sys.modules["found_later"]


def test_ray_without_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # type: ignore[arg-type]  what import sees where it is not installed
    with pytest.raises(MissingExtra, match=r"engine 'ray' needs Ray: pip install 'tidemill\[ray\]'"):
        extend.load("engine", "ray")("ray")
