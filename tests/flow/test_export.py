"""What an exported file says, and what is refused with its line. The files run in test_export_runs.py."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tidemill.core.errors import BadInput
from tidemill.core.workspace import Workspace
from tidemill.flow import entries
from tidemill.flow.export import airflow, export, kfp
from tidemill.flow.export.answers import instance
from tidemill.flow.export.graph import graph
from tidemill.flow.export.task import answer
from tidemill.flow.export.yaml import text_of
from tidemill.flow.pipelines import Pipeline
from tidemill.flow.plan import NotExportable

TWENTY = sorted((Path(__file__).parent / "twenty").glob("*.py"))


def load(path: Path, name: str = "flow") -> Pipeline[..., Any]:
    return entries.load(f"{path.name}:{name}", folder=path.parent)


@pytest.fixture
def written(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """A pipeline from its text, in a module of its own."""

    def make(text: str, name: str = "flow") -> Pipeline[..., Any]:
        path = tmp_path / f"program_{abs(hash(request.node.nodeid + text))}.py"
        path.write_text("import tidemill as tm\n" + text)
        return load(path, name)

    return make


def refused(pipeline: Pipeline[..., Any], line: int, *, write: Any = None) -> str:
    """The message, which must name that line of the program."""
    with pytest.raises(NotExportable) as caught:
        (write or graph)(pipeline)
    found = re.match(r"(.+?):(\d+): (.*)", str(caught.value), re.S)
    assert found is not None, caught.value
    assert (found[1], int(found[2])) == (pipeline.function.__code__.co_filename, line)
    return found[3]


STEPS = """
@tm.step
def number(n: int) -> int: return n
@tm.step
def positive(n: int) -> bool: return n > 0
@tm.step
def numbers(n: int) -> list[int]: return list(range(n))
"""  # lines 2 to 8 of a program


# ------------------------------------------------------------------------------------------------ refused


def test_an_if_on_a_result_is_refused(written: Any) -> None:
    text = (
        STEPS + "@tm.pipeline\ndef flow(n: int) -> int:\n    if positive(n):\n        return number(n)\n    return 0\n"
    )
    assert "branch with tm.when(flag, then, otherwise)" in refused(written(text), 11)


def test_a_loop_over_a_result_is_refused(written: Any) -> None:
    text = STEPS + "@tm.pipeline\ndef flow(n: int) -> list[int]:\n    return [number(each) for each in numbers(n)]\n"
    assert "go through it with step.map" in refused(written(text), 11)


def test_a_question_to_a_person_is_refused(written: Any) -> None:
    text = STEPS + "@tm.pipeline\ndef flow(n: int) -> bool:\n    number(n)\n    return tm.approve('go on?')\n"
    assert refused(written(text), 12).startswith("approve('go on?') waits for a person")


def test_what_is_taken_out_of_a_branch_by_the_back_door_is_refused(written: Any) -> None:
    text = STEPS + (
        "@tm.pipeline\ndef flow(n: int) -> int:\n    kept = []\n"
        "    tm.when(positive(n), lambda: kept.append(number(n)))\n    return number(kept[0])\n"
    )
    told = refused(written(text), 13)
    assert told.startswith("step 'number' is used outside of the loop or branch that it is in; return it from there")


def test_a_value_that_no_file_can_hold_is_refused(written: Any) -> None:
    text = STEPS + "THING = object()\n@tm.pipeline\ndef flow() -> int:\n    return number(THING)\n"
    assert refused(written(text), 12).startswith("argument n is object, which cannot stand in a file")


def test_a_step_inside_a_function_is_refused(written: Any) -> None:
    text = "@tm.pipeline\ndef flow() -> int:\n    @tm.step\n    def one() -> int: return 1\n    return one()\n"
    assert "is defined inside a function" in refused(written(text), 6)


def test_a_schedule_of_this_workspace_is_refused(written: Any) -> None:
    text = STEPS + "@tm.pipeline(schedule=tm.on_dataset('flights'))\ndef flow() -> int:\n    return number(1)\n"
    assert "waits for something in this workspace" in refused(written(text), 9, write=airflow.dag)
    assert "recurring runs have cron expressions in UTC or intervals" in refused(written(text), 9, write=kfp.yaml)


def test_a_scheduled_dag_needs_all_its_parameters(written: Any) -> None:
    text = STEPS + "@tm.pipeline(schedule='0 3 * * *')\ndef flow(n: int) -> int:\n    return number(n)\n"
    assert "parameters without default (n)" in refused(written(text), 9, write=airflow.dag)


def test_kubeflow_has_no_time_zones(written: Any) -> None:
    schedule = "tm.cron('0 3 * * *', zone='Europe/Berlin')"
    text = STEPS + f"@tm.pipeline(schedule={schedule})\ndef flow() -> int:\n    return number(1)\n"
    assert "cron expressions in UTC" in refused(written(text), 9, write=kfp.yaml)
    assert "CronTriggerTimetable('0 3 * * *', timezone='Europe/Berlin')" in airflow.dag(written(text))


def test_another_orchestrator_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        export(load(TWENTY[0]), "airflo")
    assert str(caught.value) == "no export to 'airflo'; there are airflow, kfp. Did you mean 'airflow'?"


# ------------------------------------------------------------------------------------------------ written


@pytest.mark.parametrize("path", TWENTY, ids=lambda path: path.stem)
def test_a_dag_file_imports_airflow_and_the_standard_library_only(path: Path) -> None:
    tree = ast.parse(airflow.dag(load(path)))
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(str(node.module).split(".")[0])
    assert roots - set(sys.stdlib_module_names) == {"airflow", "kubernetes"}  # the latter where it is there


@pytest.mark.parametrize("path", TWENTY, ids=lambda path: path.stem)
def test_the_same_program_makes_the_same_files(path: Path) -> None:
    pipeline = load(path)
    assert airflow.dag(pipeline) == airflow.dag(pipeline)
    assert kfp.yaml(pipeline) == kfp.yaml(pipeline)


def test_retries_timeouts_needs_and_schedules_are_the_orchestrators(written: Any) -> None:
    text = (
        "@tm.step(retries=3, backoff='5s', timeout='10m', cpu=2, gpu=1, memory='2GB')\n"
        "def heavy(n: int) -> int: return n\n"
        "@tm.pipeline(schedule=tm.every('6h'))\ndef flow(n: int = 1) -> int:\n    return heavy(n)\n"
    )
    pipeline = written(text)
    dag = airflow.dag(pipeline)
    assert (
        "put('heavy', retries=3, retry_delay=timedelta(seconds=5.0), retry_exponential_backoff=2.0, "
        "max_retry_delay=timedelta(seconds=300.0), execution_timeout=timedelta(seconds=600.0), "
        "executor_config=pod(**{'cpu': 2.0, 'memory': 2000000000, 'nvidia.com/gpu': 1}))"
    ) in dag
    assert "schedule=DeltaTriggerTimetable(timedelta(seconds=21600.0))" in dag
    yaml = pytest.importorskip("yaml")
    file = kfp.yaml(pipeline)
    body = yaml.safe_load(file)
    assert body["root"]["dag"]["tasks"]["heavy"]["retryPolicy"] == {
        "backoffDuration": "5s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "300s",
        "maxRetryCount": 3,
    }
    assert body["deploymentSpec"]["executors"]["exec-heavy"]["container"]["resources"] == {
        "accelerator": {"resourceCount": "1", "resourceType": "nvidia.com/gpu"},
        "cpuLimit": 2.0,
        "memoryLimit": 2.0,
        "resourceCpuLimit": "2",
        "resourceMemoryLimit": "2000000000",
    }
    assert "create_recurring_run(..., interval_second=21600, no_catchup=True)" in file


def test_a_dag_that_catches_up_starts_where_it_is_told(written: Any) -> None:
    schedule = "tm.cron('0 3 * * *', catch_up='all')"
    text = STEPS + f"@tm.pipeline(schedule={schedule})\ndef flow() -> int:\n    return number(1)\n"
    dag = airflow.dag(written(text), start=date(2026, 3, 1))
    assert "start_date=datetime(2026, 3, 1, tzinfo=timezone.utc)" in dag
    assert "catchup=True" in dag


def test_yaml_is_read_as_what_was_written() -> None:
    yaml = pytest.importorskip("yaml")
    value = {
        "texts": ["", "no", "1", "a: b", "- x", "{{$}}", "é\u2028", "two\nlines\n", " led\nby", "tab\tand\n\n", "'\""],
        "nested": [[1, [2.0, None]], {"a": {"b": [True, {}]}, "c": []}],
        "yes": "yes",
        "3": 3,
    }
    assert yaml.safe_load(text_of(value)) == value


# ------------------------------------------------------------------------------------------------ tasks


@pytest.mark.parametrize(
    ("node", "loops", "place", "name"),
    [
        ("clean", [], [], "clean"),
        ("clean", ["clean"], [3], "clean[3]"),
        ("one/clean#2", ["one"], [0], "one[0]/clean#2"),
        ("row/cell/double", ["row", "row/cell"], [1, 2], "row[1]/cell[2]/double"),
        ("row/double", ["row", "row/double"], [1, 2], "row[1]/double[2]"),
    ],
)
def test_nodes_are_named_as_in_our_executions(node: str, loops: list[str], place: list[int], name: str) -> None:
    assert instance(node, loops, place) == name


def test_a_task_answers_on_stdout_and_says_what_is_wrong_on_stderr(tmp_path: Path) -> None:
    request = json.dumps({"do": "begin", "of": "", "flow": {"pipeline": "x", "entry": "x.py:x", "folder": "."}})
    command = [sys.executable, "-m", "tidemill.flow.export.task"]
    ran = subprocess.run(command, input=request, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "no file" in ran.stderr


def test_numbers_that_a_double_cannot_hold_are_refused(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIDEMILL_WORKSPACE", str(ws.root))
    folder = str(Path(__file__).parent / "twenty")
    flow = {"pipeline": "chain", "entry": "chain.py:flow", "folder": folder, "by": "kfp"}
    request = {"do": "begin", "of": "", "flow": flow, "loops": [], "arguments": {}, "params": {"n": 2**53 + 1}}
    with pytest.raises(Exception, match="Kubeflow passes numbers as doubles"):
        answer(request)
    assert answer({**request, "params": {"n": 2**53}})["params"] == {"n": 2**53}
