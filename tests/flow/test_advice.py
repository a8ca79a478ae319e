"""Advice: critical paths and placements against closed forms, and what executions recorded."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core.engine import Engine
from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.workspace import Workspace
from tidemill.flow.advice import Job, advise, critical_path, makespan
from tidemill.flow.executing import execution


def test_a_chain_takes_its_sum_on_any_number_of_workers() -> None:
    jobs = [Job("a", 1.0), Job("b", 2.0, ("a",)), Job("c", 3.0, ("b",))]
    assert [makespan(jobs, count) for count in (1, 2, 8)] == [6.0, 6.0, 6.0]
    assert critical_path(jobs) == (("a", 1.0), ("b", 2.0), ("c", 3.0))


def test_independent_jobs_share_the_workers() -> None:
    jobs = [Job(str(place), 1.0) for place in range(8)]
    assert [makespan(jobs, count) for count in (1, 2, 4, 8, 16)] == [8.0, 4.0, 2.0, 1.0, 1.0]


def test_the_longest_remaining_path_goes_first() -> None:
    jobs = [Job("x", 2.0), Job("y", 2.0), Job("a", 1.0), Job("b", 3.0, ("a",))]
    assert makespan(jobs, 2) == 4.0  # a at once, then b beside the two others: any other first job makes it 5 or 6
    assert critical_path(jobs) == (("a", 1.0), ("b", 3.0))


def test_a_job_of_two_cores_keeps_two_workers() -> None:
    jobs = [Job("a", 1.0, (), 2.0), Job("b", 1.0), Job("c", 1.0)]
    assert makespan(jobs, 2) == 2.0
    assert makespan(jobs, 1) == 3.0
    assert makespan(jobs, 4) == 1.0


@st.composite
def graphs(draw: st.DrawFn) -> list[Job]:
    count = draw(st.integers(1, 12))
    return [
        Job(str(place), float(draw(st.integers(1, 9))), tuple(str(dep) for dep in range(place) if draw(st.booleans())))
        for place in range(count)
    ]


def longest(jobs: list[Job]) -> float:
    """By trying every chain."""
    by_name = {job.name: job for job in jobs}

    def to(job: Job) -> float:
        return job.wall_s + max((to(by_name[dep]) for dep in job.deps), default=0.0)

    return max(map(to, jobs))


@given(graphs(), st.integers(1, 5))
def test_placements_keep_graham_s_bounds(jobs: list[Job], workers: int) -> None:
    found, path_s, all_s = makespan(jobs, workers), longest(jobs), sum(job.wall_s for job in jobs)
    assert sum(wall_s for _, wall_s in critical_path(jobs)) == path_s
    assert max(path_s, all_s / workers) <= found + 1e-9
    assert found <= all_s / workers + (1 - 1 / workers) * path_s + 1e-9
    assert makespan(jobs, 1) == all_s
    assert makespan(jobs, len(jobs)) == path_s


@given(graphs())
def test_a_path_is_a_chain(jobs: list[Job]) -> None:
    by_name = {job.name: job for job in jobs}
    for (first, _), (then, _) in itertools.pairwise(critical_path(jobs)):
        assert first in by_name[then].deps


PROGRAM = """
import time
import tidemill as tm


@tm.step
def parts(n: int) -> list[int]:
    return list(range(n))


@tm.step(cpu=4, memory="64GB")
def slow(x: int) -> int:
    time.sleep(0.55 if x == 1 else 0.02)
    return x


@tm.step
def total(xs: list[int]) -> int:
    return sum(xs)


@tm.pipeline
def advised(n: int = 3) -> int:
    return total(slow.map(parts(n)))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "advprog.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    import advprog

    yield advprog
    sys.modules.pop("advprog", None)


def test_advice_names_the_path_the_shares_and_what_was_asked_for(ws: Workspace, here: Engine, program) -> None:
    for n in (3, 3):
        execution.run(ws, program.advised, {"n": n}, engine=here).result()
    found = advise(ws, "advised", prices={2: 1.0, 8: 10.0})
    assert [name for name, _ in found.path] == ["parts", "slow[1]", "total"]
    slow = found.steps[0]
    assert (slow.step, slow.calls, slow.cores_asked, slow.memory_asked) == ("slow", 6, 4.0, 64 * 10**9)
    assert slow.cached_share == pytest.approx(3 / 6)
    assert slow.share > 0.5
    assert slow.misses == (("no earlier run of it has a key", 1),)
    assert {each.workers for each in found.workers} >= {1, 2, 8}
    two = next(each for each in found.workers if each.workers == 2)
    assert two.price == pytest.approx(two.takes_s / 3600)
    text = "\n".join(found.lines)
    assert "slow asks for cpu=4 and uses" in text
    assert "cpu=1 would do" in text
    assert "slow asks for 64.0 GB and its process had" in text
    assert "Cheapest: 2 workers" in text
    assert found.to_json()["pipeline"] == "advised"


def test_no_execution_gives_no_advice(ws: Workspace) -> None:
    with pytest.raises(NotEnoughRows, match="no execution of 'advised' has finished"):
        advise(ws, "advised")
    with pytest.raises(BadInput, match="prices are"):
        advise(ws, "advised", prices={0: 1.0})
