"""The prediction log as a table: nothing twice, nothing lost, whoever is killed in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest
from logged import DAY, START, prediction_id

from tidemill.core.errors import Corrupt, NotFound
from tidemill.core.segments import SegmentWriter
from tidemill.core.types import Artifact, Query
from tidemill.core.workspace import Workspace
from tidemill.watch import log

Answer = Callable[..., list[str]]


def test_compaction_moves_each_record_once(ws: Workspace, answer: Answer) -> None:
    answer(["a", "b"], START)
    assert log.compact(ws, "d") == 2
    assert log.compact(ws, "d") == 0
    answer(["c"], START + DAY)
    assert log.compact(ws, "d") == 1
    assert sorted(log.predictions(ws, "d")["row_key"]) == ["a", "b", "c"]


def test_a_deployment_without_a_log_has_nothing_to_compact(ws: Workspace) -> None:
    assert log.compact(ws, "nobody") == 0
    assert log.predictions(ws, "nobody").height == 0


def test_a_repeated_request_counts_once_and_the_first_answer_stays(ws: Workspace, answer: Answer) -> None:
    answer(["a"], START, score=0.1)
    log.compact(ws, "d")
    answer(["a"], START, score=0.9, logged_at=START + DAY)
    assert log.compact(ws, "d") == 0
    answer(["a"], START, score=0.7, revision=2, logged_at=START + 2 * DAY)  # the champion has changed meanwhile
    assert log.compact(ws, "d") == 1
    assert log.predictions(ws, "d")["score"].to_list() == [0.1]


def test_a_shadow_stands_beside_the_answer_not_in_its_place(ws: Workspace, answer: Answer) -> None:
    answer(["a"], START, score=0.1)
    answer(["a"], START, score=0.8, role="shadow", revision=2)
    log.compact(ws, "d")
    assert log.predictions(ws, "d")["score"].to_list() == [0.1]
    assert log.predictions(ws, "d", roles=("shadow",))["score"].to_list() == [0.8]
    assert log.predictions(ws, "d", roles=("live", "shadow")).height == 2


def test_predictions_are_cut_by_their_time_and_show_what_is_not_compacted(ws: Workspace, answer: Answer) -> None:
    answer(["a"], START)
    log.compact(ws, "d")
    answer(["b"], START + DAY)
    assert sorted(log.predictions(ws, "d")["row_key"]) == ["a", "b"]
    assert log.predictions(ws, "d", pending=False)["row_key"].to_list() == ["a"]
    assert log.predictions(ws, "d", since=START + DAY)["row_key"].to_list() == ["b"]
    assert log.predictions(ws, "d", until=START + DAY)["row_key"].to_list() == ["a"]


def test_the_segment_artifact_leads_to_the_revision_and_the_model(
    ws: Workspace, answer: Answer, model: Artifact
) -> None:
    answer(["a"], START, revision=2)
    log.compact(ws, "d")
    made = log.newest(ws, "d")
    assert made is not None
    below = {found.label for found in made.trace().artifacts}
    assert {"deployment/d@2", "model/m@1"} <= below
    assert made.label in {found.label for found in model.impact().artifacts}
    assert ws.tables.frame(log.pinned_of(made)).height == 1


def test_find_reads_the_table_and_what_is_not_in_it_yet(ws: Workspace, answer: Answer) -> None:
    answer(["a"], START, score=0.3, features=[{"x": None, "t": "é"}])
    log.compact(ws, "d")
    answer(["b"], START, score=0.4, role="shadow", revision=2)
    answer(["b"], START, score=0.6)
    found = log.find(ws, prediction_id("a"))
    assert (found.row_key, found.score, found.features) == ("a", 0.3, {"x": None, "t": "é"})
    assert log.find(ws, prediction_id("b")).score == 0.6
    with pytest.raises(NotFound, match=r"no prediction 'nope' in any deployment's log"):
        log.find(ws, "nope")


def test_a_record_of_another_form_is_named(ws: Workspace, answer: Answer) -> None:
    answer(["a"], START)
    writer = SegmentWriter(ws.root / "predictions" / "d", fsync="never")
    writer.append([b'{"id": 7}'])
    writer.close()
    with pytest.raises(Corrupt, match=r"a prediction record has another form"):
        log.compact(ws, "d")


KILLED = """
    import os, signal, sys
    from tidemill.core import recording
    from tidemill.core.workspace import open_workspace
    from tidemill.watch import log

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    ws = open_workspace(sys.argv[1])
    setattr(recording.Recorder, sys.argv[2], die)
    log.compact(ws, "d")
"""


@pytest.mark.parametrize("moment", ["result", "emit"])
def test_a_compaction_killed_after_its_commit_is_finished_by_the_next(
    ws: Workspace, answer: Answer, moment: str
) -> None:
    answer(["a", "b"], START)
    log.compact(ws, "d")
    answer(["c"], START + DAY)
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(ws.root), moment], check=False)
    assert ended.returncode == -signal.SIGKILL
    log.compact(ws, "d")
    assert sorted(log.predictions(ws, "d", pending=False)["row_key"]) == ["a", "b", "c"]
    before = log.newest(ws, "d")
    assert before is not None
    assert ws.tables.frame(log.pinned_of(before)).height == 3
    states = [run.status for run in ws.graph.find(Query("run", kind="watch.compact"))]  # type: ignore[union-attr]
    assert states == ["done", "failed", "done"]
    answer(["d"], START + DAY)
    assert log.compact(ws, "d") == 1


CROWD = """
    import sys
    from tidemill.core.workspace import open_workspace
    from tidemill.watch import log

    ws = open_workspace(sys.argv[1])
    print(sum(log.compact(ws, "d") for _ in range(5)))
"""


def test_two_processes_that_compact_at_once_append_each_record_once(ws: Workspace, answer: Answer) -> None:
    answer([f"k{n}" for n in range(500)], START)
    command = [sys.executable, "-c", textwrap.dedent(CROWD), str(ws.root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    made = [int(each.communicate()[0]) for each in both]
    assert sum(made) == 500
    assert log.predictions(ws, "d", pending=False).height == 500
