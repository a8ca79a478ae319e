"""`why` names the part of a key that differed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tidemill.core.engine import Engine
from tidemill.core.errors import NotFound
from tidemill.core.workspace import Workspace
from tidemill.flow import states
from tidemill.flow.executing import execution
from tidemill.flow.why import why

PROGRAM = """
import random
import tidemill as tm

RATE = 2


def helper(x):
    return x + 1


@tm.step
def grow(x: int) -> int:
    return helper(x) * RATE


@tm.step
def odd(x: int) -> int:
    return getattr(random, str(x))


@tm.pipeline
def flow(xs: int = 3) -> list[int]:
    return grow.map(list(range(xs)))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], ModuleType]]:
    monkeypatch.syspath_prepend(str(tmp_path))
    count = iter(range(100))

    def program(old: str = "", new: str = "") -> ModuleType:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        (folder / "whyprog.py").write_text(PROGRAM.replace(old, new))
        monkeypatch.syspath_prepend(str(folder))
        sys.modules.pop("whyprog", None)
        importlib.invalidate_caches()
        return importlib.import_module("whyprog")

    yield program
    sys.modules.pop("whyprog", None)


def test_a_changed_global_is_named_with_its_values(ws: Workspace, here: Engine, program) -> None:
    execution.run(ws, program().flow, {}, engine=here).result()
    run = execution.run(ws, program("RATE = 2", "RATE = 5").flow, {}, engine=here)
    run.result()
    found = why(ws, "grow", execution=run.id)
    assert [(each.part, each.old, each.new) for each in found.differences] == [("global whyprog.RATE", "= 2", "= 5")]
    assert found.text == f"{found.node} ran: global whyprog.RATE changed: 2 -> 5"


def test_each_element_of_a_map_is_compared_with_its_like(ws: Workspace, here: Engine, program) -> None:
    execution.run(ws, program().flow, {}, engine=here).result()
    run = execution.run(ws, program("x + 1", "x + 2").flow, {}, engine=here)
    run.result()
    for place in range(3):
        found = why(ws, f"grow[{place}]", execution=run.id)
        assert [each.part for each in found.differences] == ["helper whyprog.helper"]


def test_a_new_element_differs_by_its_parameter(ws: Workspace, here: Engine, program) -> None:
    flow = program().flow
    execution.run(ws, flow, {}, engine=here).result()
    run = execution.run(ws, flow, {"xs": 4}, engine=here)
    run.result()
    found = why(ws, "grow", execution=run.id)
    assert [each.part for each in found.differences] == ["parameter x"]
    with pytest.raises(NotFound, match="it is cached"):
        why(ws, "grow[0]", execution=run.id)


def test_the_first_run_has_nothing_before_it(ws: Workspace, here: Engine, program) -> None:
    execution.run(ws, program().flow, {"xs": 1}, engine=here).result()
    found = why(ws, "grow")
    assert (found.before, found.reason) == (None, "no earlier run of it has a key")


def test_what_cannot_be_keyed_says_so_with_its_line(ws: Workspace, here: Engine, program) -> None:
    run = execution.run(ws, program("grow.map(list(range(xs)))", "[odd(xs)]").flow, {}, engine=here)
    assert run.status == "failed"
    assert "calls getattr with a name that is known only at run time (whyprog.py:19)" in why(ws, "odd").text


def test_an_unknown_step_is_not_found(ws: Workspace, here: Engine, program) -> None:
    execution.run(ws, program().flow, {}, engine=here).result()
    with pytest.raises(NotFound, match="Did you mean 'grow'"):
        why(ws, "grwo")


LIVE = """
import sys
import tidemill as tm
from tidemill.core import extend
from tidemill.core.workspace import open_workspace
from tidemill.flow import states
from tidemill.flow.executing import execution

RATE = 2


class Scale:
    def of(self, x): return x * RATE


@tm.step
def times(x: int) -> int:
    return Scale().of(x)


@tm.pipeline
def flow(x: int = 10) -> int:
    return times(x)


if __name__ == "__main__":
    RATE = int(sys.argv[2])
    engine = extend.load("engine", sys.argv[1])(sys.argv[1])
    ws = open_workspace("a.mill")
    run = execution.run(ws, flow, {}, engine=engine)
    (node,) = states.read(ws, run.id).nodes
    print(run.result(), node.state, node.why)
    engine.close()
"""


def test_a_worker_under_other_globals_never_fills_the_key(tmp_path: Path) -> None:
    (tmp_path / "live.py").write_text(LIVE)

    def ran(engine: str, rate: int) -> str:
        return subprocess.run(
            [sys.executable, "live.py", engine, str(rate)], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    told = "done it ran under other code or globals than its key was made of: its result is not kept"
    assert ran("pool", 3) == f"20 {told}"  # the worker imports the program: its RATE is 2
    assert ran("here", 3) == "30 done"
    assert ran("pool", 2) == "20 done"
    assert ran("pool", 2) == "20 cached"
    assert ran("here", 2) == "20 cached"


def test_an_element_of_a_list_is_keyed_by_itself(ws: Workspace, here: Engine, program) -> None:
    made = program(
        "grow.map(list(range(xs)))", "grow.map(listed(xs))\n\n\n@tm.step\ndef listed(n): return list(range(n))"
    )
    execution.run(ws, made.flow, {"xs": 2}, engine=here).result()
    run = execution.run(ws, made.flow, {"xs": 3}, engine=here)
    run.result()
    found = {node.node: node.state for node in states.read(ws, run.id).nodes}
    assert found == {"listed": "done", "grow[0]": "cached", "grow[1]": "cached", "grow[2]": "done"}
