"""Data-parallel training: the same numbers as on all rows at once, on every engine, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import parallel_steps
import pytest
from parallel_steps import START, moments, newton, rows, settled, slopes, solve
from sklearn.linear_model import LogisticRegression

from tidemill.core.engine import Engine
from tidemill.core.errors import BadInput, Busy, ServerFailed
from tidemill.core.locks import lease
from tidemill.core.types import DatasetVersion, Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.partitions import partitions
from tidemill.flow.engines import here, pool
from tidemill.testing.engines import wait_until
from tidemill.train import states
from tidemill.train.distributed import Merged, over_partitions


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "parallel.mill")


@pytest.fixture
def version(ws: Workspace) -> DatasetVersion:
    return datasets.add(ws, "cells", rows(), key="id")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = pool.open_engine("pool://2")
    yield made
    made.close()


def logistic(ws: Workspace, version: DatasetVersion, engine: Engine, **more: Any) -> Merged:
    return over_partitions(
        ws,
        partitions(ws, version, 4),
        slopes,
        newton,
        engine=engine,
        inputs=[("rows", version)],
        start=START,
        rounds=20,
        stop=settled,
        **more,
    )


def test_one_round_of_sums_is_least_squares_on_all_rows(ws: Workspace, version: DatasetVersion, engine: Engine) -> None:
    made = over_partitions(ws, partitions(ws, version, 7), moments, solve, engine=engine, inputs=[("rows", version)])
    frame = rows()
    expected = np.linalg.lstsq(parallel_steps.design(frame), frame["y"].to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(made.state, expected, rtol=1e-10)
    assert (made.rounds, made.resumed_at, made.cached) == (1, 0, False)


def test_rounds_go_on_until_they_change_nothing(ws: Workspace, version: DatasetVersion, engine: Engine) -> None:
    made = logistic(ws, version, engine)
    frame = rows()
    peer = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(frame.select("a", "b").to_numpy(), frame["label"])
    np.testing.assert_allclose(made.state["w"], [peer.intercept_[0], *peer.coef_[0]], rtol=1e-6)
    assert 3 < made.rounds < 20
    assert made.run.kind == "train.parallel"
    assert made.run.status == "done"
    assert made.run.metrics == {"rounds": made.rounds, "partitions": 4, "lost_workers": 0}
    assert version.id in {node.id for node in ws.graph.trail(made.artifact.id, "down").artifacts}


def test_every_engine_gives_the_same_bits(tmp_path: Path, engine: Engine) -> None:
    found = []
    for name, each in (("one", here.open_engine()), ("two", engine)):
        ws = open_workspace(tmp_path / name)
        found.append(states.encode(logistic(ws, datasets.add(ws, "cells", rows(), key="id"), each).state))
    assert found[0] == found[1]


def test_what_was_done_before_is_not_done_again(
    ws: Workspace, version: DatasetVersion, engine: Engine, tmp_path: Path
) -> None:
    params = {"marks": str(tmp_path)}
    first = logistic(ws, version, engine, params=params)
    for mark in tmp_path.glob("*-*"):
        mark.unlink()
    again = logistic(ws, version, engine, params=params)
    assert again.cached
    assert again.run == first.run
    assert states.encode(again.state) == states.encode(first.state)
    assert list(tmp_path.glob("*-*")) == []


def test_a_killed_worker_costs_its_share_alone(
    ws: Workspace, version: DatasetVersion, engine: Engine, tmp_path: Path
) -> None:
    made = logistic(ws, version, engine, params={"marks": str(tmp_path), "act": "die once"})
    assert made.run.metrics["lost_workers"] == 1
    assert states.encode(made.state) == states.encode(logistic(ws, version, engine).state)


def test_a_share_that_kills_every_worker_is_given_up(
    ws: Workspace, version: DatasetVersion, engine: Engine, tmp_path: Path
) -> None:
    with pytest.raises(ServerFailed, match=r"a worker process ended .* in the middle of task 'slopes\[0\]'"):
        logistic(ws, version, engine, params={"marks": str(tmp_path), "act": "die always"}, retries=1)
    (run,) = ws.graph.find(Query("run", kind="train.parallel"))
    assert run.status == "failed"


def test_an_error_of_a_share_is_not_tried_again(
    ws: Workspace, version: DatasetVersion, engine: Engine, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no rows of that kind"):
        logistic(ws, version, engine, params={"marks": str(tmp_path), "act": "fail"})


def test_a_killed_training_goes_on_from_its_last_round(
    ws: Workspace, version: DatasetVersion, engine: Engine, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    program = subprocess.Popen(
        [sys.executable, parallel_steps.__file__, ws.url, str(marks)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert wait_until(lambda: (marks / "0-3").exists(), 60)
    program.send_signal(signal.SIGKILL)
    program.wait(10)
    for mark in marks.iterdir():
        if not mark.name.endswith("-3"):
            mark.unlink()
    made = logistic(ws, version, engine, params={"marks": str(marks), "act": "wait"})
    assert made.resumed_at == 3
    assert {mark.name for mark in marks.iterdir() if mark.name.endswith(("-0", "-1", "-2"))} == set()
    assert states.encode(made.state) == states.encode(logistic(ws, version, engine).state)


def test_the_same_training_twice_at_once_is_refused(ws: Workspace, version: DatasetVersion, engine: Engine) -> None:
    done = logistic(ws, version, engine)
    assert done.run.key is not None
    with lease(ws, done.run.key) or pytest.fail("free"), pytest.raises(Busy, match="training 'slopes' over these"):
        logistic(ws, version, engine)


def test_no_rounds_are_refused(ws: Workspace, version: DatasetVersion, engine: Engine) -> None:
    with pytest.raises(BadInput, match="0 rounds train nothing; allowed are 1 and more"):
        over_partitions(ws, partitions(ws, version, 2), moments, solve, engine=engine, rounds=0)
