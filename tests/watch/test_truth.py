"""Ground truth: late, repeated, corrected, by id or by row key; joined as far as it is known."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logged import DAY, START, prediction_id

from tidemill.core.errors import BadInput, UnknownColumn, WrongType
from tidemill.core.ids import new_id
from tidemill.core.types import Artifact
from tidemill.core.workspace import Workspace
from tidemill.watch import log, truth

Answer = Callable[..., list[str]]
HOUR = timedelta(hours=1)


def rows(*lines: tuple[str, float, datetime], by: str = "row_key") -> pl.DataFrame:
    refs, values, times = zip(*lines, strict=True)
    return pl.DataFrame({by: refs, "value": values, "known_time": times})


def test_a_truth_is_joined_by_id_or_by_row_key(ws: Workspace, answer: Answer) -> None:
    answer(["a", "b", "c"], START, score=[0.1, 0.2, 0.3])
    log.compact(ws, "d")
    assert truth.add_truth(ws, "d", rows((prediction_id("a"), 1.0, START + HOUR), by="id")) == 1
    assert truth.add_truth(ws, "d", rows(("b", 0.0, START + HOUR))) == 1
    found = truth.joined(ws, "d").sort("row_key")
    assert found.select("row_key", "score", "value").rows() == [("a", 0.1, 1.0), ("b", 0.2, 0.0)]
    every = truth.joined(ws, "d", unknown=True)
    assert every.filter(pl.col("row_key") == "c")["value"].to_list() == [None]


def test_a_truth_is_not_seen_before_it_is_known(ws: Workspace, answer: Answer) -> None:
    answer(["a"], START)
    log.compact(ws, "d")
    truth.add_truth(ws, "d", rows(("a", 1.0, START + 3 * HOUR)))
    assert truth.joined(ws.at(START + 2 * HOUR), "d").height == 0
    assert truth.joined(ws.at(START + 3 * HOUR), "d").height == 1


def test_the_same_truth_twice_is_kept_once_and_a_corrected_one_counts_from_when_it_is_known(
    ws: Workspace, answer: Answer
) -> None:
    answer(["a"], START)
    log.compact(ws, "d")
    assert truth.add_truth(ws, "d", rows(("a", 1.0, START + HOUR))) == 1
    assert truth.add_truth(ws, "d", rows(("a", 1.0, START + HOUR))) == 0
    assert truth.add_truth(ws, "d", rows(("a", 0.0, START + 5 * HOUR))) == 1
    assert truth.joined(ws.at(START + 2 * HOUR), "d")["value"].to_list() == [1.0]
    assert truth.joined(ws.at(START + 5 * HOUR), "d")["value"].to_list() == [0.0]
    assert truth.joined(ws, "d", known_after=START + 2 * HOUR)["value"].to_list() == [0.0]


def test_a_failed_answer_has_no_score_to_judge(ws: Workspace, answer: Answer) -> None:
    answer(["a"], START, score=-1.0, error="ValueError: no")
    log.compact(ws, "d")
    truth.add_truth(ws, "d", rows(("a", 1.0, START)))
    assert truth.joined(ws, "d").height == 0


@pytest.mark.parametrize(
    ("frame", "error", "text"),
    [
        (pl.DataFrame({"key": ["a"], "value": [1.0], "known_time": [START]}), UnknownColumn, "no column 'row_key'"),
        (pl.DataFrame({"id": ["a"], "known_time": [START]}), UnknownColumn, "no column 'value' in the truth for d"),
        (pl.DataFrame({"id": ["a"], "value": ["yes"], "known_time": [START]}), WrongType, "must be numbers"),
        (pl.DataFrame({"id": ["a"], "value": [1], "known_time": ["2026-01-01"]}), WrongType, "it must be a time"),
        (
            pl.DataFrame({"id": ["a", "b"], "value": [1.0, None], "known_time": [START, START]}),
            BadInput,
            "1 of 2 rows of the truth for d have no value",
        ),
    ],
)
def test_a_truth_that_cannot_be_one_says_why_and_leaves_nothing(
    ws: Workspace, frame: pl.DataFrame, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        truth.add_truth(ws, "d", frame)
    assert truth.newest(ws, "d") is None


def test_a_whole_number_a_bool_and_a_time_without_a_zone_will_do(ws: Workspace, answer: Answer) -> None:
    answer(["a", "b"], START)
    log.compact(ws, "d")
    naive = START.replace(tzinfo=None)
    truth.add_truth(ws, "d", pl.DataFrame({"row_key": ["a"], "value": [1], "known_time": [naive]}))
    truth.add_truth(ws, "d", pl.DataFrame({"row_key": ["b"], "value": [False], "known_time": [START]}))
    found = truth.joined(ws, "d").sort("row_key")
    assert found["value"].to_list() == [1.0, 0.0]
    assert found["known_time"].to_list() == [START, START]


KILLED = """
    import os, signal, sys
    from datetime import UTC, datetime
    import polars as pl
    from tidemill.core import recording
    from tidemill.core.workspace import open_workspace
    from tidemill.watch import truth

    ws = open_workspace(sys.argv[1])
    recording.Recorder.emit = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    truth.add_truth(ws, "d", pl.DataFrame({"row_key": ["b"], "value": [1.0], "known_time": [at]}))
"""


def test_an_addition_killed_after_its_commit_is_finished_by_the_next(ws: Workspace, answer: Answer) -> None:
    answer(["a", "b"], START)
    log.compact(ws, "d")
    truth.add_truth(ws, "d", rows(("a", 1.0, START)))
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(ws.root)], check=False)
    assert ended.returncode == -signal.SIGKILL
    truth.add_truth(ws, "d", rows(("b", 1.0, START + DAY)))
    assert truth.truths(ws, "d")["ref"].to_list() == ["a", "b"]
    made = truth.newest(ws, "d")
    assert isinstance(made, Artifact)
    assert ws.tables.frame(log.pinned_of(made)).height == 2


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0]), st.integers(0, 30)), min_size=1, max_size=12
    ),
    asked=st.integers(0, 30),
)
def test_the_value_joined_is_the_one_known_last(
    ws: Workspace, answer: Answer, lines: list[tuple[str, float, int]], asked: int
) -> None:
    name = new_id()  # a deployment of its own for each example
    one_a_time = {(key, hours): value for key, value, hours in lines}
    for (key, hours), value in one_a_time.items():
        truth.add_truth(ws, name, rows((key, value, START + hours * HOUR)))
    expected: dict[str, float] = {}
    for (key, hours), value in sorted(one_a_time.items(), key=lambda item: item[0][1]):
        if hours <= asked:
            expected[key] = value
    found = truth.truths(ws, name, known_by=START + asked * HOUR)
    assert dict(found.select("ref", "value").iter_rows()) == expected
