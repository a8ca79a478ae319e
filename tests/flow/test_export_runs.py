"""Twenty pipelines give equal results in our engines, on Ray, in Airflow and in Kubeflow Pipelines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tidemill.core import extend
from tidemill.core.engine import Engine
from tidemill.core.types import Artifact, Query, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow import entries, states, values
from tidemill.flow.engines.here import HereEngine
from tidemill.flow.executing import execution
from tidemill.flow.export import airflow, kfp
from tidemill.flow.pipelines import Pipeline
from tidemill.flow.values import Output

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # of Ray, Airflow and KFP themselves
    pytest.mark.xdist_group("export"),  # one worker alone sets up Airflow and KFP, and runs the twenty in them
]

HERE = Path(__file__).parent
TWENTY = sorted((HERE / "twenty").glob("*.py"))
BROKEN = sorted((HERE / "broken").glob("*.py"))
NAMES = [path.stem for path in TWENTY]
INTERPRETERS = {target: HERE.parents[1] / ".venvs" / target / "bin" / "python" for target in ("airflow", "kfp")}
DONE_HERE = "chain"  # was run in the orchestrators' workspaces before
PYTHONPATH = os.environ.get("PYTHONPATH", "")


def program(name: str) -> tuple[Pipeline[..., Any], dict[str, Any]]:
    """The pipeline and the parameters that it is run with."""
    (path,) = [each for each in (*TWENTY, *BROKEN) if each.stem == name]
    pipeline = entries.load(f"{path.name}:flow", folder=path.parent)
    return pipeline, getattr(sys.modules[pipeline.function.__module__], "PARAMS", {})


@dataclass
class Ran:
    """An execution: its value, and what each node gave."""

    value: Any
    nodes: Mapping[str, str]
    run: Run

    def steps(self) -> list[tuple[str, str]]:
        """What each call of a step gave. A plan has both sides of a branch, which may differ in "#2" of a name."""
        return sorted((re.sub(r"#\d+", "", node), digest) for node, digest in self.nodes.items())


def of_run(ws: Workspace, run: Run) -> Ran:
    """As the graph has it."""
    value = None
    for edge in ws.graph.edges([run.id]):
        if (edge.role, edge.slot) == ("out", "result"):
            found = ws.graph.get(edge.artifact_id)
            assert isinstance(found, Artifact)
            value = values.load(Output.of_json({"digest": found.digest, **found.meta}), ws)
    nodes = states.read(ws, run.id).nodes
    return Ran(value, {each.node: each.output["digest"] for each in nodes if each.output is not None}, run)


def run_all(engine: Engine, ws: Workspace) -> dict[str, Ran]:
    """The twenty in one of our engines."""
    found = {}
    for name in NAMES:
        pipeline, params = program(name)
        ran = execution.run(ws, pipeline, params, engine=engine)
        assert ran.status == "done", f"{name}: {ran.error}"
        run = ws.graph.get(ran.id)
        assert isinstance(run, Run)
        found[name] = Ran(ran.value, of_run(ws, run).nodes, run)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def around(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMILL_SECRET_TOKEN", "abcdef")
        patch.setenv("TRIES", str(folder / "tries"))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(HERE / "twenty"), PYTHONPATH])))
        yield patch


def one_engine(url: str, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Ran]:
    name = url.partition(":")[0]
    patch.setenv("TRIES", str(folder / f"tries-{name}"))
    engine: Engine = extend.load("engine", name)(url)
    ws = open_workspace(folder / f"{name}.mill")
    try:
        return run_all(engine, ws)
    finally:
        engine.close()
        ws.close()


@pytest.fixture(scope="module")
def ours(folder: Path, around: pytest.MonkeyPatch, exported: dict[str, Any]) -> dict[str, Ran]:
    return one_engine("here", folder, around)


class Started:
    """The twenty, and those that must fail, in another orchestrator, in one process of its environment."""

    def __init__(self, target: str, folder: Path) -> None:
        self.target, self.home = target, folder / target
        self.files, self.out = self.home / "files", self.home / "out.json"
        self.files.mkdir(parents=True)
        self.mill = folder / f"{target}.mill"
        ws = open_workspace(self.mill)
        execution.run(ws, program(DONE_HERE)[0], {}, engine=HereEngine())
        ws.close()
        self.child = self.home / "child"
        params = {}
        for path in (*TWENTY, *BROKEN):
            pipeline, params[path.stem] = program(path.stem)
            ending, text = (".py", airflow.dag(pipeline)) if target == "airflow" else (".yaml", kfp.yaml(pipeline))
            (self.files / f"{path.stem}{ending}").write_text(text)
        (self.home / "params.json").write_text(json.dumps(params))
        command = [str(INTERPRETERS[target]), str(HERE / f"run_in_{target}.py"), str(self.home / "home")]
        command += [str(self.files), str(self.home / "params.json"), str(self.out)]
        environment = {
            **os.environ,
            "PYTHONPATH": PYTHONPATH,
            "TIDEMILL_SECRET_TOKEN": "abcdef",
            "TIDEMILL_WORKSPACE": str(self.mill),
            "TIDEMILL_PYTHON": sys.executable,
            "TRIES": str(self.home / "tries"),
            "CHILD": str(self.child),
        }
        with (self.home / "log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.home)

    def finished(self) -> dict[str, Any]:
        """What it says of each."""
        code = self.process.wait(900)
        assert code == 0, (self.home / "log").read_text()[-3000:]
        return json.loads(self.out.read_text())


@pytest.fixture(scope="module")
def exported(folder: Path) -> Iterator[dict[str, Started]]:
    """Both run while our own engines do."""
    made = {target: Started(target, folder) for target, python in INTERPRETERS.items() if python.exists()}
    yield made
    for each in made.values():
        each.process.kill()
        each.process.wait()


@pytest.fixture(scope="module")
def in_airflow(exported: dict[str, Started]) -> dict[str, Any]:
    return told_by("airflow", exported)


@pytest.fixture(scope="module")
def in_kfp(exported: dict[str, Started]) -> dict[str, Any]:
    return told_by("kfp", exported)


def told_by(target: str, exported: dict[str, Started]) -> dict[str, Any]:
    if target not in exported:
        pytest.skip(f"no environment with {target}: python tools/setup.py dev makes it")
    return exported[target].finished()


def recorded(exported: dict[str, Started], target: str, name: str) -> Ran:
    """The one execution of that pipeline in the orchestrator's workspace."""
    ws = open_workspace(exported[target].mill)
    try:
        found = ws.graph.find(Query("run", kind="flow.pipeline", name=program(name)[0].name))
        (run,) = [each for each in found if isinstance(each, Run) and each.tags["trigger"] == target]
        return of_run(ws, run)
    finally:
        ws.close()


def test_a_plain_call_gives_what_an_execution_gives(ours: dict[str, Ran]) -> None:
    for name in NAMES:
        pipeline, params = program(name)
        assert pipeline.function(**pipeline.bind(params)) == ours[name].value


def test_a_pool_gives_the_same(ours: dict[str, Ran], folder: Path, around: pytest.MonkeyPatch) -> None:
    found = one_engine("pool://2", folder, around)
    assert {name: (ran.value, ran.nodes) for name, ran in found.items()} == {
        name: (ran.value, ran.nodes) for name, ran in ours.items()
    }


def test_ray_gives_the_same(ours: dict[str, Ran], folder: Path, around: pytest.MonkeyPatch) -> None:
    from ray_clusters import two_nodes  # before Ray itself, whose environment it sets

    pytest.importorskip("ray")
    around.setenv("TRIES", str(folder / "tries-ray"))  # before the cluster starts, which hands it on
    with two_nodes({"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        found = one_engine(f"ray://{cluster.address}", folder, around)
    assert {name: (ran.value, ran.nodes) for name, ran in found.items()} == {
        name: (ran.value, ran.nodes) for name, ran in ours.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_airflow_gives_the_same(
    name: str, in_airflow: dict[str, Any], ours: dict[str, Ran], exported: dict[str, Started]
) -> None:
    told = in_airflow[name]
    assert told["import_errors"] == []
    assert told.get("state") == "success", told.get("error") or told.get("states")
    assert as_json(told["end"]["value"]) == as_json(ours[name].value)
    ran = recorded(exported, "airflow", name)
    assert (ran.run.status, ran.run.tags["trigger"]) == ("done", "airflow")
    assert told["end"]["run"] == ran.run.id
    assert same(ran.value, ours[name].value)
    assert ran.steps() == ours[name].steps()


@pytest.mark.parametrize("name", NAMES)
def test_kubeflow_gives_the_same(
    name: str, in_kfp: dict[str, Any], ours: dict[str, Ran], exported: dict[str, Started]
) -> None:
    told = in_kfp[name]
    assert "output" in told, told["error"]
    value = ours[name].value
    output = told["output"]
    if type(value) in (int, float, str, bool):
        assert (type(output), output) == (type(value), value)
    else:
        assert output == as_json(value)  # to the letter: 3 is not 3.0
    ran = recorded(exported, "kfp", name)
    assert (ran.run.status, ran.run.tags["trigger"]) == ("done", "kfp")
    assert same(ran.value, value)
    assert ran.steps() == ours[name].steps()


@pytest.mark.parametrize("target", ["airflow", "kfp"])
def test_what_was_done_here_is_not_done_again_there(
    target: str, request: pytest.FixtureRequest, exported: dict[str, Started]
) -> None:
    request.getfixturevalue(f"in_{target}")
    ran = recorded(exported, target, DONE_HERE)
    ws = open_workspace(exported[target].mill)
    assert [node.state for node in states.read(ws, ran.run.id).nodes] == ["cached"] * 3
    ws.close()


@pytest.mark.parametrize("target", ["airflow", "kfp"])
def test_a_poisoned_step_fails_the_execution_with_its_own_error(
    target: str, request: pytest.FixtureRequest, exported: dict[str, Started]
) -> None:
    told = request.getfixturevalue(f"in_{target}")["poison"]
    assert told.get("state") == "failed" or "error" in told
    ran = recorded(exported, target, "poison")
    assert (ran.run.status, ran.run.error) == ("failed", "ValueError: 3 is poison")
    ws = open_workspace(exported[target].mill)
    tries = ws.graph.find(Query("run", kind="flow.step", parent=ran.run.id, name="poisoned"))
    ws.close()
    assert [each.status for each in tries if isinstance(each, Run)] == ["failed", "failed"]


@pytest.mark.parametrize("target", ["airflow", "kfp"])
def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(
    target: str, request: pytest.FixtureRequest, exported: dict[str, Started]
) -> None:
    told = request.getfixturevalue(f"in_{target}")["too_long"]
    assert told.get("state") == "failed" or "error" in told
    assert not psutil.pid_exists(int(exported[target].child.read_text()))
    ran = recorded(exported, target, "too_long")
    assert ran.run.status == "failed"
    assert "TimedOut" in str(ran.run.error)


def as_json(value: Any) -> str:
    return json.dumps(value)


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    return bool(one == other)
