"""What every engine must do. Subclass EngineSuite and define a fixture `engine` with two cores or more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tidemill.core.engine import Engine, Resources
from tidemill.core.errors import BadInput, Cancelled, ServerFailed, TaskFailed, TimedOut


def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


def fail_on_three(number: int) -> int:
    """The number, but an error for 3."""
    if number == 3:
        raise ValueError("three is not allowed")
    return number


def slow_when_small(number: int) -> int:
    """The number; smaller ones take longer, so that later ones end first."""
    time.sleep(max(0.0, 0.05 - 0.01 * number))
    return number


class Stubborn(Exception):
    """An error that pickles and cannot be loaded again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def raise_stubborn(_: int) -> int:
    """Raise it."""
    raise Stubborn("this", "that")


def leave(code: int) -> int:
    """Call sys.exit."""
    sys.exit(code)


def make_a_function(_: int) -> Callable[[], int]:
    """A result that does not pickle."""
    return lambda: 1


def die(number: int) -> int:
    """Kill the process that runs it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def touch_and_sleep(path: str) -> int:
    """Start a process, and one in a session of its own; write their ids and ours to `path`; sleep a minute."""
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    one = subprocess.Popen(sleep)
    other = subprocess.Popen(sleep, start_new_session=True)
    Path(f"{path}.new").write_text(f"{one.pid} {other.pid} {os.getpid()}")
    Path(f"{path}.new").rename(path)
    time.sleep(60)
    return 0


def moments(_: int) -> tuple[float, float]:
    """When it began and ended, by the clock that all processes of a machine share."""
    began = time.monotonic()
    time.sleep(0.2)
    return began, time.monotonic()


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it came to hold within so many seconds."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    """Whether no such process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return Path("/proc/self").exists()


class EngineSuite:
    """The contract of tidemill.core.engine as tests."""

    def whole(self, engine: Engine) -> Resources:
        """What a task asks for beside which no other can run; less than all where an engine has several machines."""
        return Resources(cpu=engine.resources().cpu)

    def test_a_submitted_call_gives_its_result(self, engine: Engine) -> None:
        task = engine.submit(double, 21)
        assert task.result(60) == 42
        assert task.result(60) == 42
        assert task.done()

    def test_map_keeps_the_order_of_its_arguments(self, engine: Engine) -> None:
        assert list(engine.map(slow_when_small, range(6))) == list(range(6))

    def test_map_draws_arguments_lazily(self, engine: Engine) -> None:
        drawn: list[int] = []

        def arguments() -> Any:
            for number in range(1000):
                drawn.append(number)
                yield number

        results = engine.map(double, arguments())
        assert next(results) == 0
        assert len(drawn) < 1000

    def test_map_raises_the_error_of_a_call_at_its_place(self, engine: Engine) -> None:
        results = engine.map(fail_on_three, range(6))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="three is not allowed"):
            next(results)

    def test_an_error_of_the_function_comes_back_as_it_is(self, engine: Engine) -> None:
        with pytest.raises(ValueError, match="three is not allowed") as caught:
            engine.submit(fail_on_three, 3).result(60)
        assert type(caught.value) is ValueError
        assert caught.value.args == ("three is not allowed",)

    def test_an_error_that_cannot_travel_is_told_by_its_text(self, engine: Engine) -> None:
        with pytest.raises((Stubborn, TaskFailed), match="this and that"):
            engine.submit(raise_stubborn, 1).result(60)

    def test_sys_exit_fails_the_task_alone(self, engine: Engine) -> None:
        with pytest.raises(TaskFailed, match=r"the task called sys\.exit\(3\)"):
            engine.submit(leave, 3).result(60)
        assert engine.submit(double, 1).result(60) == 2

    def test_a_result_that_cannot_travel_fails_the_task(self, engine: Engine) -> None:
        with pytest.raises(TaskFailed, match="a result of type function cannot leave its process"):
            engine.submit(make_a_function, 1, timeout_s=60).result(60)

    def test_one_failed_task_leaves_the_others_alone(self, engine: Engine) -> None:
        tasks = [engine.submit(fail_on_three, number) for number in (2, 3, 4)]
        assert tasks[0].result(60) == 2
        assert tasks[2].result(60) == 4

    def test_a_worker_that_dies_fails_its_own_task_and_no_other(self, engine: Engine) -> None:
        # with timeout_s every engine uses a process that may die
        tasks = [
            engine.submit(die if number == 2 else double, number, timeout_s=60, name=f"t{number}")
            for number in range(6)
        ]
        with pytest.raises(ServerFailed, match=r"in the middle of task 't2'"):
            tasks[2].result(60)
        assert [tasks[number].result(60) for number in (0, 1, 3, 4, 5)] == [0, 2, 6, 8, 10]

    def test_a_task_over_its_time_ends_with_all_that_it_started(self, engine: Engine, tmp_path: Path) -> None:
        path = tmp_path / "pids"
        task = engine.submit(touch_and_sleep, str(path), timeout_s=3, name="sleeper")
        with pytest.raises(TimedOut, match=r"task 'sleeper' ran longer than its 3 s"):
            task.result(60)
        pids = [int(text) for text in path.read_text().split()]
        assert wait_until(lambda: all(gone(pid) for pid in pids), 2)
        assert engine.submit(double, 4, timeout_s=60).result(60) == 8

    def test_a_running_task_can_be_cancelled_with_all_that_it_started(self, engine: Engine, tmp_path: Path) -> None:
        path = tmp_path / "pids"
        task = engine.submit(touch_and_sleep, str(path), timeout_s=60, name="sleeper")
        assert wait_until(path.exists)
        assert engine.cancel(task) is True
        with pytest.raises(Cancelled, match="task 'sleeper' was cancelled"):
            task.result(10)
        assert wait_until(lambda: all(gone(int(pid)) for pid in path.read_text().split()), 2)
        assert engine.cancel(task) is False
        assert engine.submit(double, 4, timeout_s=60).result(60) == 8

    def test_a_waiting_task_can_be_cancelled(self, engine: Engine, tmp_path: Path) -> None:
        everything = self.whole(engine)
        path = tmp_path / "pids"
        first = engine.submit(touch_and_sleep, str(path), needs=everything, timeout_s=60)
        second = engine.submit(double, 1, needs=everything, timeout_s=60, name="second")
        assert wait_until(path.exists)
        assert not second.done()
        assert engine.cancel(second) is True
        with pytest.raises(Cancelled, match="task 'second'"):
            second.result(10)
        assert not first.done()
        engine.cancel(first)

    def test_an_ended_task_cannot_be_cancelled(self, engine: Engine) -> None:
        task = engine.submit(double, 1)
        task.result(60)
        assert engine.cancel(task) is False

    def test_the_time_a_task_waits_does_not_count(self, engine: Engine) -> None:
        everything = self.whole(engine)
        tasks = [engine.submit(moments, number, needs=everything, timeout_s=5) for number in range(4)]
        spans = sorted(task.result(60) for task in tasks)
        # each needs all there is: none begins before another has ended
        assert all(before[1] <= after[0] for before, after in pairwise(spans))

    def test_waiting_for_a_result_can_end_before_it_is_there(self, engine: Engine, tmp_path: Path) -> None:
        task = engine.submit(touch_and_sleep, str(tmp_path / "pids"), timeout_s=60, name="sleeper")
        with pytest.raises(TimeoutError, match=r"no result of task 'sleeper' after 0\.1 s; it goes on"):
            task.result(0.1)
        assert not task.done()
        engine.cancel(task)

    def test_a_callback_is_called_once_and_may_submit(self, engine: Engine) -> None:
        told: list[Any] = []
        again: list[int] = []
        both = threading.Event()

        def last_one(task: Any) -> None:
            again.append(task.result())
            both.set()

        def next_one(task: Any) -> None:
            told.append(task)
            engine.submit(double, task.result()).add_done_callback(last_one)

        task = engine.submit(double, 2)
        task.add_done_callback(next_one)
        assert both.wait(60)
        assert told == [task]
        assert again == [8]
        task.add_done_callback(told.append)
        assert told == [task, task]

    def test_more_than_there_is_cannot_be_asked_for(self, engine: Engine) -> None:
        with pytest.raises(BadInput, match=r"task 'double' asks for 1e\+06 cores and 0 GPUs; this engine has"):
            engine.submit(double, 1, needs=Resources(cpu=1e6))
        with pytest.raises(BadInput, match=r"task 'double' asks for 1e\+09 GB of memory; this engine has"):
            engine.submit(double, 1, needs=Resources(cpu=1, memory_bytes=10**18))

    def test_it_says_what_it_has_and_that_it_lives(self, engine: Engine) -> None:
        assert engine.resources().cpu >= 1
        assert engine.heartbeat() >= 0
