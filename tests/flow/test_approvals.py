"""Questions to a person: parked in the database, holding no process."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType

import pytest

from tidemill.core.engine import Engine
from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.core.locks import is_held
from tidemill.core.workspace import Workspace
from tidemill.flow import approvals, states
from tidemill.flow.executing import execution

Notes = Callable[[], list[str]]


@pytest.mark.parametrize(("answer", "value"), [(True, 12), (False, 2)])
def test_an_execution_waits_for_the_answer_and_goes_on(
    ws: Workspace, engine: Engine, pieces: ModuleType, notes: Notes, answer: bool, value: int
) -> None:
    run = execution.run(ws, pieces.asking, {}, engine=engine)
    assert (run.status, notes()) == ("parked", ["plus 1 1"])
    state = states.read(ws, run.id)
    assert state.status == "parked"
    assert [each.text for each in state.approvals] == ["promote?"]
    assert not is_held(ws, f"flow/{run.id}")
    assert execution.resume(ws, run.id, pipeline=pieces.asking, engine=engine).status == "parked"  # still
    decided = approvals.decide(ws, run.id, answer, note="looked at it")
    assert (decided.answer, decided.note) == ("yes" if answer else "no", "looked at it")
    assert states.read(ws, run.id).status == "queued"
    again = execution.resume(ws, run.id, pipeline=pieces.asking, engine=engine)
    assert (again.status, again.value) == ("done", value)
    assert notes().count("plus 1 1") == 1


def test_an_answer_stays(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    run = execution.run(ws, pieces.asking, {}, engine=here)
    approvals.decide(ws, run.id, True)
    with pytest.raises(Conflict, match=r"answered yes to 'promote\?' at .*; an answer stays"):
        approvals.decide(ws, run.id, False, approval="promote?")
    with pytest.raises(NotFound, match="asks nothing; name the question that you answer"):
        approvals.decide(ws, run.id, False)
    with pytest.raises(NotFound, match=r"does not ask 'why\?'; it asks promote\?"):
        approvals.decide(ws, run.id, False, approval="why?")


def test_nobody_in_time_means_no(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    run = execution.run(ws, pieces.hurried, {}, engine=here)
    assert run.status == "parked"
    time.sleep(0.01)
    with pytest.raises(BadInput, match=r"the time to answer 'now\?' ended at"):
        approvals.decide(ws, run.id, True)
    assert execution.resume(ws, run.id, pipeline=pieces.hurried, engine=here).value is False
    assert approvals.of_run(ws, run.id)["now?"].by == "timeout"


def test_a_question_is_not_asked_of_what_is_no_execution(ws: Workspace, here: Engine, pieces: ModuleType) -> None:
    execution.run(ws, pieces.chain, {}, engine=here)
    with pytest.raises(NotFound, match="no run or artifact"):
        approvals.decide(ws, "0" * 26, True)
