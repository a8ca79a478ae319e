"""What steps get and give: a value of their own, equal on every engine, never one that only looks alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tidemill.core.engine import Engine
from tidemill.core.workspace import Workspace
from tidemill.flow import states
from tidemill.flow.executing import execution

Notes = Callable[[], list[str]]


def test_a_step_that_changes_its_argument_changes_nobody_elses(
    ws: Workspace, engine: Engine, faults: ModuleType, notes: Notes
) -> None:
    run = execution.run(ws, faults.spoiled, {}, engine=engine)
    assert run.result() == [4, 5, 4, 4]
    assert [line for line in notes() if "first" in line] == ["first_sorted [3, 1, 2] 4"]
    again = execution.run(ws, faults.spoiled, {}, engine=engine)
    assert again.result() == [4, 5, 4, 4]
    said = {each.name: each.params["arguments"] for each in states.step_runs(ws, run.id)}
    assert said["spoil"] == {"xs": "numbers"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("spoiled_arrays", [3.0, 3.0, 2.0, 2.0, 0.0]), ("spoiled_tables", [0, 6]), ("spoiled_global", 5)],
)
def test_arrays_tables_and_what_a_module_keeps_are_handed_on_as_they_were(
    ws: Workspace, engine: Engine, faults: ModuleType, name: str, value: object
) -> None:
    faults.GLOBAL[:] = [1, 2]
    assert execution.run(ws, getattr(faults, name), {}, engine=engine).result() == value


def test_a_list_is_taken_as_it_is_when_the_step_is_called(ws: Workspace, engine: Engine, faults: ModuleType) -> None:
    assert execution.run(ws, faults.appended, {}, engine=engine).result() == [1, 2, 3]


def test_a_second_try_gets_what_the_first_one_got(
    ws: Workspace, engine: Engine, faults: ModuleType, notes: Notes
) -> None:
    assert execution.run(ws, faults.popped, {}, engine=engine).result() == 2
    assert notes() == ["popping 2", "popping 2"]


@pytest.mark.parametrize("name", ["alike", "through"])
def test_values_that_compare_equal_are_told_apart(
    ws: Workspace, engine: Engine, faults: ModuleType, notes: Notes, name: str
) -> None:
    run = execution.run(ws, getattr(faults, name), {}, engine=engine)
    assert run.result() == getattr(faults, name)()
    before = notes()
    assert execution.run(ws, getattr(faults, name), {}, engine=engine).result() == run.value
    assert notes() == before


def test_refs_are_found_in_dicts_of_any_keys_and_sets(ws: Workspace, engine: Engine, faults: ModuleType) -> None:
    assert execution.run(ws, faults.keyed_by_refs, {}, engine=engine).result() == ["{1: 3, 3: [3]}", "{3}"]


def test_equal_calls_whose_result_cannot_be_stored_each_run(
    ws: Workspace, here: Engine, faults: ModuleType, notes: Notes
) -> None:
    assert execution.run(ws, faults.twice_unstored, {}, engine=here).result() == ["type", "type"]
    assert notes() == ["lock", "lock"]


def test_a_file_is_handed_on_as_it_was_made(ws: Workspace, engine: Engine, faults: ModuleType, tmp_path: Path) -> None:
    assert execution.run(ws, faults.filed, {}, engine=engine).result() == "content 1"
    (tmp_path / "made1.txt").write_text("another")
    assert execution.run(ws, faults.filed, {}, engine=engine).result() == "content 1"


def test_a_variable_is_what_the_key_says_where_the_step_runs(
    ws: Workspace, engine: Engine, faults: ModuleType, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word, ran in [("one", 1), ("two", 2), ("one", 2)]:
        monkeypatch.setenv("TIDEMILL_TEST_WORD", word)
        assert execution.run(ws, faults.spoken, {}, engine=engine).result() == f"1 {word}"
        assert notes().count("speaking") == ran
    monkeypatch.delenv("TIDEMILL_TEST_WORD")
    assert execution.run(ws, faults.spoken, {}, engine=engine).result() == "1 None"


def test_a_variable_travels_with_the_call(faults: ModuleType, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a node of a cluster, whose own environment says otherwise."""
    from tidemill.flow.tasks import TaskSpec, perform

    for own in ("theirs", None):
        if own is None:
            monkeypatch.delenv("TIDEMILL_TEST_WORD")
        else:
            monkeypatch.setenv("TIDEMILL_TEST_WORD", own)
        log = str(Path(notes.__closure__[0].cell_contents).with_name("log"))  # type: ignore[index]
        spec = TaskSpec(faults.speaking, {"x": 1}, None, "", "speaking", 1, log, {"TIDEMILL_TEST_WORD": "ours"})
        found = perform(spec)
        assert found.live == ("1 ours",)
        import os

        assert os.environ.get("TIDEMILL_TEST_WORD") == own


def test_steps_are_found_under_other_names_and_take_any_arguments(
    ws: Workspace, engine: Engine, faults: ModuleType
) -> None:
    assert execution.run(ws, faults.called_in_many_ways, {}, engine=engine).result() == [6, 7, 1, 20]


def test_steps_of_a_program_run_on_workers(ws: Workspace, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom dataclasses import dataclass\nimport tidemill as tm\n"
        "from tidemill.core import extend\nfrom tidemill.core.workspace import open_workspace\n"
        "from tidemill.flow.executing import execution\n\n"
        "@dataclass\nclass Point:\n    x: int\n\n"
        "@tm.step\ndef made(x: int) -> Point:\n    return Point(x)\n\n"
        "@tm.step\ndef moved(p: Point) -> Point:\n    return Point(p.x + 1)\n\n"
        "@tm.pipeline\ndef p(n: int = 1) -> int:\n    return moved(moved(made(n))).x\n\n"
        "if __name__ == '__main__':\n    ws, engine = open_workspace(sys.argv[1]), extend.load('engine', 'pool')('')\n"
        "    run = execution.run(ws, p, {}, engine=engine)\n    print(run.result(), ws.graph.get(run.id).metrics)\n"
        "    engine.close()\n"
    )
    command = [sys.executable, str(program), str(ws.root)]
    said = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2)]
    assert [each.stdout for each in said] == ["3 {'done': 3.0}\n", "3 {'cached': 3.0}\n"], said[0].stderr


def test_a_large_value_is_held_few_times(ws: Workspace, here: Engine, faults: ModuleType) -> None:
    import tracemalloc

    execution.run(ws, faults.heavy, {"mb": 1}, engine=here).result()  # what is imported once
    tracemalloc.start()
    assert execution.run(ws, faults.heavy, {"mb": 40}, engine=here).result() == 5_000_000
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5 * 40_000_000  # the array, its bytes, and the next step's


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("lambda", "step 'called': argument f is refused.<locals>.<lambda>, which no worker finds"),
        ("generator", "step 'count': argument xs is a generator, which can be gone through only once; give a list"),
        ("itself", "step 'count': argument xs holds itself, or is nested too deeply"),
        ("named tuple", "argument x is a Point that holds <the result of numbers>; give it the tm.value() of that"),
        ("map of a lambda", r"count.map() goes through lists, <function"),
        ("a generator returned", "step 'yields' returned a list_iterator, which can be gone through only once"),
    ],
)
def test_what_would_go_wrong_later_is_refused_readably(
    ws: Workspace, engine: Engine, faults: ModuleType, what: str, said: str
) -> None:
    run = execution.run(ws, faults.refused, {"what": what}, engine=engine)
    assert run.status == "failed"
    assert said in str(run.error)


def test_a_function_of_a_module_may_be_given(ws: Workspace, engine: Engine, faults: ModuleType) -> None:
    assert execution.run(ws, faults.refused, {"what": "function"}, engine=engine).result() == 2


def test_a_method_is_refused_and_a_nested_step_runs_here_only(
    ws: Workspace, engine: Engine, pieces: ModuleType
) -> None:
    import tidemill as tm
    from tidemill.core.errors import BadInput

    with pytest.raises(BadInput, match="cannot be a step, it is a method; make it a function at the top"):

        class Holder:
            @tm.step
            def method(self, x: int) -> int:
                return x

    @tm.step(retries=5, backoff="1h")
    def nested(x: int) -> int:
        return x

    @tm.pipeline
    def outer() -> int:
        return nested(1)

    run = execution.run(ws, outer, {}, engine=engine)
    if type(engine).__name__ == "HereEngine":
        assert run.result() == 1
    else:
        assert "<locals>.nested, which a worker finds only at the top of a module" in str(run.error)
