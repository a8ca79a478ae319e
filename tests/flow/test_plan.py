"""Plans: a pipeline's graph without running it, and the lines of what has none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tidemill.flow.plan import (
    Either,
    FromItem,
    FromLoop,
    FromNode,
    FromParam,
    Literal,
    NotExportable,
    SecretName,
    trace,
)


def line_of(pieces: ModuleType, text: str) -> str:
    lines = Path(str(pieces.__file__)).read_text().splitlines()
    return f"pieces.py:{next(number for number, line in enumerate(lines, 1) if text in line)}"


def test_a_plan_runs_nothing(pieces: ModuleType, notes: Callable[[], list[str]]) -> None:
    plan = trace(pieces.fan)
    assert notes() == []
    assert [node.id for node in plan.nodes] == ["split", "plus", "total"]
    split, plus, total = plan.nodes
    assert split.arguments == {"n": FromParam("n")}
    assert (plus.each, plus.arguments) == (("x",), {"x": FromNode("split"), "y": Literal(10)})
    assert total.arguments == {"xs": FromNode("plus")}
    assert plan.result == FromNode("total")
    assert plan.entry == "pieces.py:fan"
    assert [(each.name, each.default) for each in plan.parameters] == [("n", 4)]


def test_maps_of_pipelines_are_loops(pieces: ModuleType) -> None:
    plan = trace(pieces.outer_planned)
    (loop,) = plan.loops
    assert (loop.id, loop.over) == ("inner", (FromNode("split"),))
    inside = [node for node in plan.nodes if node.loop == loop.id]
    assert [node.id for node in inside] == ["inner/split", "inner/plus", "inner/total"]
    assert inside[0].arguments == {"n": FromItem("inner")}
    assert next(node for node in plan.nodes if node.id == "total").arguments["xs"] == FromLoop(
        "inner", FromNode("inner/total")
    )


def test_a_branch_has_both_sides(pieces: ModuleType) -> None:
    plan = trace(pieces.branch_planned)
    flag = FromNode("plus")
    assert [(node.id, [(each.flag, each.taken) for each in node.when]) for node in plan.nodes[1:3]] == [
        ("plus#2", [(flag, True)]),
        ("plus#3", [(flag, False)]),
    ]
    assert isinstance(plan.result, Either)
    assert (plan.result.flag, plan.result.then, plan.result.otherwise) == (flag, FromNode("plus#2"), FromNode("plus#3"))


def test_a_secret_is_a_name(pieces: ModuleType) -> None:
    assert trace(pieces.secretive).nodes[0].arguments == {"word": SecretName("word")}


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        ("branch", "if x > 5", "the program needs the value of step 'start' to go on"),
        ("asking", 'tm.approve("promote?"', "approve('promote?') waits for a person"),
        ("caught", "return int(bad)", "the program needs the value of step 'poison'"),
        ("chain", "for _ in range(n)", "the program needs the value of parameter 'n'"),
    ],
)
def test_what_has_no_plan_is_refused_with_its_line(pieces: ModuleType, name: str, line: str, why: str) -> None:
    with pytest.raises(NotExportable, match=re.escape(f"{line_of(pieces, line)}: {why}")):
        trace(getattr(pieces, name))
