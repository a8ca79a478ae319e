"""DAGs in DAGs, as Kubeflow Pipelines has loops and branches: how an answer comes out of some and into others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Made:
    """Where an answer comes from: a task's output in a DAG, or what is given to the DAG."""

    dag: Dag
    task: str
    output: str
    type: str


@dataclass(eq=False)
class Dag:
    """A DAG of the file: the root, a loop's body, the two sides of a branch together, or one of them."""

    name: str
    parent: Dag | None = None
    is_loop: bool = False
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)

    @property
    def way(self) -> list[Dag]:
        """From the root to it."""
        return [*(self.parent.way if self.parent is not None else []), self]

    def body(self) -> dict[str, Any]:
        """As the file has it."""
        made: dict[str, Any] = {"tasks": self.tasks}
        if self.outputs:
            made["outputs"] = {"parameters": {name: selector for name, (selector, _) in self.outputs.items()}}
        return made

    def component(self) -> dict[str, Any]:
        """As the file has it, with its inputs and outputs."""
        made: dict[str, Any] = {"dag": self.body()}
        if self.inputs:
            made["inputDefinitions"] = {"parameters": {name: {"parameterType": of} for name, of in self.inputs.items()}}
        if self.outputs:
            types = {name: {"parameterType": of} for name, (_, of) in self.outputs.items()}
            made["outputDefinitions"] = {"parameters": types}
        return made


def bring(made: Made, to: Dag) -> tuple[dict[str, Any], str, str | None]:
    """The answer as an input of a task in that DAG: up out of DAGs, then down into others."""
    way = to.way
    while made.dag not in way:
        made = raised(made)
    inside = way[way.index(made.dag) + 1 :]
    given, producer, of = output_of(made.task, made.output), made.task, made.type
    channel = f"pipelinechannel--{made.task}-{made.output}"
    for dag in inside:
        assert dag.parent is not None
        call = dag.parent.tasks[dag.name]
        call["inputs"]["parameters"][channel] = given
        if "taskOutputParameter" in given and producer not in call.setdefault("dependentTasks", []):
            call["dependentTasks"].append(producer)
        dag.inputs[channel] = of
        given = {"componentInputParameter": channel}
    return given, of, None if inside else producer


def raised(made: Made) -> Made:
    """The answer as one of the DAG outside: of a loop, the list of all."""
    dag = made.dag
    assert dag.parent is not None
    channel = f"pipelinechannel--{made.task}-{made.output}"
    of = "LIST" if dag.is_loop else made.type
    selector = {"valueFromParameter": {"outputParameterKey": made.output, "producerSubtask": made.task}}
    dag.outputs[channel] = (selector, of)
    return Made(dag.parent, dag.name, channel, of)


def call_of(dag: Dag, before: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """The task that a DAG is in the one around it."""
    return {
        "componentRef": {"name": f"comp-{dag.name}"},
        "dependentTasks": before,
        "inputs": {"parameters": given},
        "taskInfo": {"name": dag.name},
    }


def output_of(task: str, output: str) -> dict[str, Any]:
    """An input that is a task's output."""
    return {"taskOutputParameter": {"outputParameterKey": output, "producerTask": task}}
