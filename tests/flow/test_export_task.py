"""What the tasks of an exported pipeline record: failures, what goes on after them, and what is cancelled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill.core.errors import BadInput, Cancelled
from tidemill.core.types import Batch, NewEvent, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.flow import states
from tidemill.flow.export.task import answer

PROGRAM = """
import tidemill as tm
from pathlib import Path

@tm.step(retries=1, cache=False)
def careful(n: int) -> int:
    if not Path("{mended}").exists():
        raise ValueError("broken")
    return n + 1

@tm.step
def thing() -> object:
    return object()

@tm.step
def many(n: int) -> list[int]:
    return list(range(n))

@tm.step
def plus(n: int) -> int:
    return n + 1

@tm.pipeline(name="careful")
def flow(n: int = 1) -> int:
    return careful(n)
"""
Ask = Callable[..., Any]


@pytest.fixture
def mended(tmp_path: Path) -> Path:
    return tmp_path / "mended"


@pytest.fixture
def ask(ws: Workspace, tmp_path: Path, mended: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Do a task, as an orchestrator would."""
    monkeypatch.setenv("TIDEMILL_WORKSPACE", str(ws.root))
    name = f"careful_{abs(hash(str(tmp_path)))}.py"
    (tmp_path / name).write_text(PROGRAM.format(mended=mended))
    flow = {"pipeline": "careful", "entry": f"{name}:flow", "folder": str(tmp_path), "by": "airflow"}

    def make(do: str, of: str = "", arguments: Any = None, **given: Any) -> Any:
        request = {"do": do, "of": of, "flow": flow, "loops": [], "arguments": arguments or {}}
        if do == "begin":
            return answer({**request, "params": {}, "run_id": "manual__1"})
        if do == "step":
            request |= {"step": f"{name}:{of}", "name": of}
        sources = {name.replace("_", " "): each for name, each in given.items()}
        return answer({**request, "given": sources, "chains": dict.fromkeys(sources, ())})

    return make


N = {"n": {"param": "n", "path": []}}
RESULT = {"result": {"source": "node careful", "path": []}}


def pipelines(ws: Workspace) -> list[Run]:
    return [run for run in ws.graph.find(Query("run", kind="flow.pipeline")) if isinstance(run, Run)]


def test_an_execution_goes_on_until_its_last_try_failed(ws: Workspace, ask: Ask) -> None:
    begun = ask("begin")
    assert states.read(ws, begun["run"]).status == "running"  # and not lost: between two tasks nobody holds it
    with pytest.raises(ValueError, match="broken"):
        ask("step", "careful", N, begin=begun)
    assert states.read(ws, begun["run"]).status == "running"
    with pytest.raises(ValueError, match="broken"):
        ask("step", "careful", N, begin=begun)
    (run,) = pipelines(ws)
    assert (run.status, run.error) == ("failed", "ValueError: broken")


def test_what_is_mended_and_gone_on_with_is_another_execution(ws: Workspace, ask: Ask, mended: Path) -> None:
    begun = ask("begin")
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            ask("step", "careful", N, begin=begun)
    mended.touch()
    done = ask("step", "careful", N, begin=begun)
    ended = ask("end", "", RESULT, begin=begun, node_careful=done)
    assert ended["value"] == 2
    new, old = pipelines(ws)
    assert (old.id, old.status) == (begun["run"], "failed")
    assert (new.id, new.status, new.tags["continues"]) == (ended["run"], "done", old.id)


def test_a_step_of_an_execution_that_is_cancelled_does_not_run(ws: Workspace, ask: Ask, mended: Path) -> None:
    mended.touch()
    begun = ask("begin")
    ws.graph.write(Batch(events=[NewEvent(f"flow/{begun['run']}", "cancel", {"by": "ann"})]))
    with pytest.raises(Cancelled, match="was cancelled by ann"):
        ask("step", "careful", N, begin=begun)
    (run,) = pipelines(ws)
    assert run.status == "cancelled"
    assert ws.graph.find(Query("run", kind="flow.step")) == []


def test_a_result_that_no_format_takes_fails_the_execution(ws: Workspace, ask: Ask) -> None:
    begun = ask("begin")
    with pytest.raises(BadInput, match="step thing returned object, which no format takes"):
        ask("step", "thing", begin=begun)
    (run,) = pipelines(ws)
    assert run.status == "failed"


def test_a_loop_over_lists_of_different_lengths_fails_the_execution(ws: Workspace, ask: Ask) -> None:
    begun = ask("begin")
    with pytest.raises(BadInput) as caught:
        ask("spread", "careful", {"0": {"literal": [1, 2]}, "1": {"literal": [1]}}, begin=begun)
    assert str(caught.value) == "careful.map() got lists of [1, 2] elements; they must be equally long"
    (run,) = pipelines(ws)
    assert run.status == "failed"


def test_the_points_of_a_long_list_are_short_and_lead_to_it(ws: Workspace, ask: Ask) -> None:
    begun = ask("begin")
    many = ask("step", "many", {"n": {"literal": 500}}, begin=begun)
    over = {"0": {"source": "node many", "path": []}}
    points = ask("spread", "plus", over, begin=begun, node_many=many)
    assert len(points) == 500
    assert max(len(json.dumps(point)) for point in points) < 500  # the list's text has 1,900 letters
    last = points[-1]["items"]["plus"][0]
    done = ask("step", "plus", {"n": last}, begin=begun)
    assert done["value"]["output"]["value"] == "500"
    (step,) = ws.graph.find(Query("run", kind="flow.step", name="plus"))
    assert [edge.slot for edge in ws.graph.edges([step.id]) if edge.role == "in"] == ["many"]


def test_the_points_of_a_loop_in_a_loop_know_both(ask: Ask) -> None:
    begun = ask("begin")
    outer = ask("spread", "row", {"0": {"literal": [[1, 2], [3]]}}, begin=begun)
    assert [point["at"] for point in outer] == [[0], [1]]
    inner = [each for point in outer for each in spread_at(ask, point, begun)]
    assert [point["at"] for point in inner] == [[0, 0], [0, 1], [1, 0]]
    assert inner[1]["items"] == {"row": [{"list": [{"literal": 1}, {"literal": 2}]}], "row/cell": [{"literal": 2}]}


def spread_at(ask: Ask, point: dict[str, Any], begun: Any) -> list[Any]:
    """As Kubeflow asks: at one point of the outer loop."""
    flow = {"pipeline": "careful", "entry": "x.py:flow", "folder": ".", "by": "kfp"}
    request = {"do": "spread", "of": "row/cell", "flow": flow, "loops": ["row"], "point": point}
    request |= {"arguments": {"0": {"item": "row", "place": 0, "path": []}}, "given": {"begin": begun}, "chains": {}}
    return list(answer(request))
