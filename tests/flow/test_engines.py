"""Our engines pass the public suite; a killed worker is told and replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tidemill.core.engine import Engine, Resources
from tidemill.core.errors import BadInput, ServerFailed
from tidemill.flow.engines import here, pool
from tidemill.testing.engines import EngineSuite, double


@pytest.fixture(scope="module", params=["here", "pool"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made: Engine = here.open_engine() if request.param == "here" else pool.open_engine("pool://2")
    yield made
    made.close()


class TestEngines(EngineSuite):
    pass


def die(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_a_killed_worker_is_told_and_the_next_task_works() -> None:
    engine = pool.open_engine("pool://1")
    with pytest.raises(ServerFailed, match="a worker process ended"):
        engine.submit(die, 1).result(60)
    assert engine.submit(double, 4).result(60) == 8
    engine.close()


def test_more_than_there_is_cannot_be_asked_for() -> None:
    engine = pool.open_engine("pool://1")
    with pytest.raises(BadInput, match="asks for 1 cores and 1 GPUs"):
        engine.submit(double, 4, needs=Resources(cpu=1, gpu=1))


def test_a_bad_number_of_workers_is_named() -> None:
    with pytest.raises(BadInput, match="'many' is no number of workers; write pool://4"):
        pool.open_engine("pool://many")
