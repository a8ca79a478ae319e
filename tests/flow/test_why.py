"""`why` names the part of a key that differed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tidemill.core.engine import Engine
from tidemill.core.errors import NotFound
from tidemill.core.workspace import Workspace
from tidemill.flow import execution
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
