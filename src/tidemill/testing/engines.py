"""What every engine must do. Subclass EngineSuite and define a fixture `engine`."""

from __future__ import annotations

import time

import pytest

from tidemill.core.engine import Engine


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


class EngineSuite:
    """The contract of tidemill.core.engine as tests."""

    def test_a_submitted_call_gives_its_result(self, engine: Engine) -> None:
        task = engine.submit(double, 21)
        assert task.result(60) == 42
        assert task.done()

    def test_map_keeps_the_order_of_its_arguments(self, engine: Engine) -> None:
        assert list(engine.map(slow_when_small, range(6))) == list(range(6))

    def test_map_draws_arguments_lazily(self, engine: Engine) -> None:
        drawn: list[int] = []

        def arguments() -> object:
            for number in range(1000):
                drawn.append(number)
                yield number

        results = engine.map(double, arguments())  # type: ignore[arg-type]
        assert next(results) == 0
        assert len(drawn) < 1000

    def test_an_error_of_the_function_comes_back_as_it_is(self, engine: Engine) -> None:
        with pytest.raises(ValueError, match="three is not allowed"):
            engine.submit(fail_on_three, 3).result(60)

    def test_one_failed_task_leaves_the_others_alone(self, engine: Engine) -> None:
        tasks = [engine.submit(fail_on_three, number) for number in (2, 3, 4)]
        assert tasks[0].result(60) == 2
        assert tasks[2].result(60) == 4

    def test_an_ended_task_cannot_be_cancelled(self, engine: Engine) -> None:
        task = engine.submit(double, 1)
        task.result(60)
        assert engine.cancel(task) is False

    def test_it_says_what_it_has_and_that_it_lives(self, engine: Engine) -> None:
        assert engine.resources().cpu >= 1
        assert engine.heartbeat() >= 0
