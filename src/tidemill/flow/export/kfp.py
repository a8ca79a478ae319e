"""A pipeline as a file of Kubeflow Pipelines v2: its intermediate representation, with lightweight Python components.

A loop becomes a ParallelFor, a branch an If with an Else whose result is a OneOf; both are DAGs in the DAG, into which
values go down as inputs and from which they come up as outputs. Between tasks values are texts (JSON), not numbers:
Kubeflow's numbers are doubles, which would make floats of integers. What the pipeline returns has its own type where it
is annotated int, float, bool or str, and else is the text of its JSON.
Source: the pipeline specification of Kubeflow Pipelines, api/v2alpha1/pipeline_spec.proto, schema version 2.1.0.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.flow import plan
from tidemill.flow.export import component, launcher
from tidemill.flow.export.dags import Dag, Made, bring, call_of, output_of, raised
from tidemill.flow.export.graph import BEGIN, END, Frame, Graph, Scope, Task, argument_json, graph, loops_of, parts_of
from tidemill.flow.export.yaml import text_of
from tidemill.flow.pipelines import REQUIRED, Parameter, Pipeline
from tidemill.flow.plan import Argument, NotExportable
from tidemill.flow.scheduling.schedules import Cron, Every
from tidemill.flow.steps import LONGEST_PAUSE_S

_TYPES: dict[Any, str] = {int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", bool: "BOOLEAN", str: "STRING"}
_NAMES = {"NUMBER_INTEGER": "int", "NUMBER_DOUBLE": "float", "BOOLEAN": "bool", "STRING": "str", "LIST": "list"}
_START = """program_path=$(mktemp -d)
printf "%s" "$0" > "$program_path/ephemeral_component.py"
_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main --component_module_path "$program_path/ephemeral_component.py" "$@"
"""
DEFAULT_IMAGE = "python:3.11"


def yaml(pipeline: Pipeline[..., Any], *, image: str = DEFAULT_IMAGE, env: Mapping[str, str] | None = None) -> str:
    """The text of a pipeline file. Raises NotExportable, naming "file:line" of what has no form in Kubeflow.

    image: has Tidemill, the program and what it imports, and the kfp package. env: set in every task, such as
    TIDEMILL_WORKSPACE.
    """
    made = graph(pipeline)
    head = f"# {made.pipeline}: a pipeline of Tidemill for Kubeflow. Export it again instead of editing it.\n"
    return head + _schedule(made) + text_of(_Writing(made, image, dict(env or {})).body())


class _Writing:
    """A graph on its way into a file."""

    def __init__(self, made: Graph, image: str, env: Mapping[str, str]) -> None:
        self.graph = made
        self.image = image
        self.env = env
        self.root = Dag("root")
        self.dags: dict[Scope, Dag] = {(): self.root}
        self.sides: dict[str, Dag] = {}  # both sides of a branch
        self.around: dict[str, Dag] = {}  # a loop
        self.made: dict[str, Made] = {}
        self.loops: dict[str, tuple[str, ...]] = {}  # over which an answer is a list, seen from the root
        self.components: dict[str, Any] = {}
        self.executors: dict[str, Any] = {}
        self.flags: dict[str, Task] = {}

    def body(self) -> dict[str, Any]:
        for task in self.graph.tasks:
            self._add(task)
        for dag in [*self.dags.values(), *self.sides.values(), *self.around.values()]:
            if dag is not self.root:
                self.components[f"comp-{dag.name}"] = dag.component()
        returns = _TYPES.get(self.graph.returns, "STRING")
        result = {"valueFromParameter": {"outputParameterKey": "Output", "producerSubtask": END}}
        self.root.outputs["Output"] = (result, returns)
        root: dict[str, Any] = {"dag": self.root.body()}
        if self.graph.parameters:
            root["inputDefinitions"] = {"parameters": {each.name: self._param(each) for each in self.graph.parameters}}
        root["outputDefinitions"] = {"parameters": {"Output": {"parameterType": returns}}}
        return {
            "components": self.components,
            "deploymentSpec": {"executors": self.executors},
            "pipelineInfo": {"name": self.graph.pipeline.lower().replace("_", "-").replace(".", "-")},
            "root": root,
            "schemaVersion": "2.1.0",
            "sdkVersion": "kfp-2.17.3",
        }

    # ------------------------------------------------------------------------------------------------ DAGs

    def _dag(self, scope: Scope) -> Dag:
        """The DAG of a scope, made on the way to its first task."""
        if scope in self.dags:
            return self.dags[scope]
        outside, frame = self._dag(scope[:-1]), scope[-1]
        self.dags[scope] = made = self._loop(frame, outside) if frame.is_loop else self._side(frame, outside)
        return made

    def _loop(self, frame: Frame, outside: Dag) -> Dag:
        """The body of a loop, in a DAG of its own that hands it its inputs.

        KFP's local runner (2.17) takes each input of a ParallelFor that is a task's output for the element.
        """
        spread = self.made[f"spread {frame.id}"].task
        items = f"pipelinechannel--{spread}-Output"
        around = self.around[frame.id] = Dag(f"map-{spread}", outside, inputs={items: "LIST"})
        outside.tasks[around.name] = call_of(around, [spread], {items: output_of(spread, "Output")})
        dag = Dag(f"for-{spread}", around, is_loop=True)
        dag.inputs |= {items: "LIST", f"{items}-loop-item": "STRING"}
        iterator = {"itemInput": f"{items}-loop-item", "items": {"inputParameter": items}}
        call = call_of(dag, [], {items: {"componentInputParameter": items}})
        around.tasks[dag.name] = {**call, "parameterIterator": iterator}
        return dag

    def _side(self, frame: Frame, outside: Dag) -> Dag:
        flag = self.made[f"flag {frame.id}"].task
        channel = f"pipelinechannel--{flag}-Output"
        both = self.sides.get(frame.id)
        if both is None:
            both = self.sides[frame.id] = Dag(f"condition-branches-{flag}", outside, inputs={channel: "STRING"})
            outside.tasks[both.name] = call_of(both, [flag], {channel: output_of(flag, "Output")})
        dag = Dag(f"condition-{flag}-{'then' if frame.taken else 'otherwise'}", both, inputs={channel: "STRING"})
        holds = f"inputs.parameter_values['{channel}'] == 'true'"
        call = call_of(dag, [], {channel: {"componentInputParameter": channel}})
        both.tasks[dag.name] = {**call, "triggerPolicy": {"condition": holds if frame.taken else f"!({holds})"}}
        return dag

    # ------------------------------------------------------------------------------------------------ tasks

    def _add(self, task: Task) -> None:
        dag = self._dag(task.scope)
        if task.do == BEGIN:
            inputs = {each.name: _component_type(each) for each in self.graph.parameters}
            given = {name: {"componentInputParameter": name} for name in inputs}
            self._put(dag, task.id, {**self._request(task), "inputs": {}}, inputs, given, [], "STRING")
        else:
            wants = list(task.wants.values())
            self._put_wanting(dag, task.id, task.scope, self._request(task), wants, task)
        self.made[task.key] = Made(dag, task.id, "Output", "LIST" if task.do == "spread" else "STRING")
        self.loops[task.key] = (*task.loops, task.of) if task.do == "spread" else task.loops
        if task.do == "flag":
            self.flags[task.of] = task

    def _request(self, task: Task) -> dict[str, Any]:
        flow = {"pipeline": self.graph.pipeline, "entry": self.graph.entry, "folder": self.graph.folder, "by": "kfp"}
        made: dict[str, Any] = {"do": task.do, "of": task.of, "loops": list(task.loops), "flow": flow}
        if task.do == "step":
            made |= {"step": task.step, "name": task.name, "timeout_s": task.options.timeout_s}
        return {**made, "arguments": dict(task.arguments)}

    def _put_wanting(
        self, dag: Dag, name: str, scope: Scope, request: dict[str, Any], wants: list[Argument], task: Task | None
    ) -> None:
        """A task with all that its arguments need brought to it."""
        sources = dict.fromkeys([BEGIN, *(source for each in wants for source in _sources(each))])
        types, given, before, names, chains = {}, {}, [], {}, {}
        loops = loops_of(scope)
        if loops:
            types["point"] = "STRING"
            given["point"] = self._item(loops[-1], scope, dag)
        for number, source in enumerate(sources):
            if source.startswith("either "):
                self._either(source.removeprefix("either "), wants)
            input_name = f"given_{number}"
            given[input_name], types[input_name], producer = bring(self.made[source], dag)
            before += [] if producer is None else [producer]
            names[input_name] = source
            shared = sum(1 for _ in _common(self.loops[source], loops))
            chains[source] = list(self.loops[source][shared:])
        returns = "LIST" if request["do"] == "spread" else "STRING"
        if request["do"] == END:
            returns = _TYPES.get(self.graph.returns, "STRING")
            request["returns"] = returns
        self._put(dag, name, {**request, "chains": chains, "inputs": names}, types, given, before, returns, task)

    def _put(
        self,
        dag: Dag,
        name: str,
        request: Mapping[str, Any],
        types: Mapping[str, str],
        given: Mapping[str, Any],
        before: list[str],
        returns: str,
        task: Task | None = None,
    ) -> None:
        parameters = {"spec": {"runtimeValue": {"constant": json.dumps(request)}}, **given}
        made: dict[str, Any] = {
            "cachingOptions": {},  # ours is in the workspace
            "componentRef": {"name": f"comp-{name}"},
            "dependentTasks": list(dict.fromkeys(before)),
            "inputs": {"parameters": parameters},
            "taskInfo": {"name": name},
        }
        if task is not None and task.options.retries:
            made["retryPolicy"] = {
                "backoffDuration": f"{task.options.backoff_s:g}s",
                "backoffFactor": 2.0,
                "backoffMaxDuration": f"{LONGEST_PAUSE_S:g}s",
                "maxRetryCount": task.options.retries,
            }
        dag.tasks[name] = made
        optional = request["do"] == BEGIN
        inputs = {key: {"parameterType": of, **({"isOptional": True} if optional else {})} for key, of in types.items()}
        self.components[f"comp-{name}"] = {
            "executorLabel": f"exec-{name}",
            "inputDefinitions": {"parameters": {"spec": {"parameterType": "STRING"}, **inputs}},
            "outputDefinitions": {"parameters": {"Output": {"parameterType": returns}}},
        }
        self.executors[f"exec-{name}"] = {"container": self._container(types, returns, task, optional)}

    def _container(self, types: Mapping[str, str], returns: str, task: Task | None, optional: bool) -> dict[str, Any]:
        default = " = None" if optional else ""
        inputs = ", ".join(["spec: str", *(f"{name}: {_NAMES[of]}{default}" for name, of in types.items())])
        names = "".join(f"{name!r}: {name}, " for name in types)
        function = (
            f"def tidemill_task({inputs}) -> {_NAMES[returns]}:\n    return answer(spec, {{{names.rstrip(', ')}}})\n"
        )
        imports = "import json\nimport os\nimport signal\nimport subprocess\nfrom typing import Any\n\n\n"
        code = imports + _embedded(launcher) + "\n\n" + _embedded(component) + "\n\n" + function
        made: dict[str, Any] = {
            "args": ["--executor_input", "{{$}}", "--function_to_execute", "tidemill_task"],
            "command": ["sh", "-ec", _START, code],
            "image": self.image,
        }
        if self.env:
            made["env"] = [{"name": name, "value": value} for name, value in sorted(self.env.items())]
        if task is not None and task.do == "step":
            needs = task.options.needs
            resources: dict[str, Any] = {}
            if needs.cpu != 1.0:
                resources |= {"cpuLimit": needs.cpu, "resourceCpuLimit": f"{needs.cpu:g}"}
            if needs.memory_bytes:
                resources |= {
                    "memoryLimit": needs.memory_bytes / 1e9,
                    "resourceMemoryLimit": str(needs.memory_bytes),
                }
            if needs.gpu:
                count = str(int(needs.gpu))
                resources["accelerator"] = {"resourceCount": count, "resourceType": "nvidia.com/gpu"}
            if resources:
                made["resources"] = resources
        return made

    # ------------------------------------------------------------------------------------------------ values

    def _item(self, loop: str, scope: Scope, to: Dag) -> dict[str, Any]:
        """The point of the innermost loop, as an input of a task in that DAG."""
        place = max(number for number, frame in enumerate(scope) if frame.is_loop)
        body = self._dag(scope[: place + 1])
        channel = f"pipelinechannel--{self.made[f'spread {loop}'].task}-Output-loop-item"
        way = to.way
        for dag in way[way.index(body) + 1 :]:
            assert dag.parent is not None
            dag.parent.tasks[dag.name]["inputs"]["parameters"][channel] = {"componentInputParameter": channel}
            dag.inputs[channel] = "STRING"
        return {"componentInputParameter": channel}

    def _either(self, branch: str, wants: list[Argument]) -> None:
        """What a branch gives, as an answer: the one of its sides' that was made."""
        if f"either {branch}" in self.made:
            return
        found = next(each for want in wants for each in parts_of(want) if getattr(each, "branch", None) == branch)
        assert isinstance(found, plan.Either)
        flag = self.flags[branch]
        selectors = []
        for taken, argument in ((True, found.then), (False, found.otherwise)):
            scope = (*flag.scope, Frame(branch, taken))
            dag = self._dag(scope)
            made = self._direct(argument, dag) or self._picked(argument, flag, scope, dag)
            up = raised(made)
            selectors.append({"outputParameterKey": up.output, "producerSubtask": up.task})
        both = self.sides[branch]
        assert both.parent is not None
        channel = f"pipelinechannel--{both.name}-oneof-1"
        both.outputs[channel] = ({"valueFromOneof": {"parameterSelectors": selectors}}, "STRING")
        self.made[f"either {branch}"] = Made(both.parent, both.name, channel, "STRING")
        self.loops[f"either {branch}"] = flag.loops

    def _direct(self, argument: Argument, dag: Dag) -> Made | None:
        """The step's own answer, where a side gives just that."""
        if isinstance(argument, plan.FromNode) and not argument.path:
            made = self.made[f"node {argument.node}"]
            return made if made.dag is dag else None
        return None

    def _picked(self, argument: Argument, flag: Task, scope: Scope, dag: Dag) -> Made:
        """A task that puts together what a side gives."""
        name = f"{dag.name.removeprefix('condition-')}-pick"
        source = argument_json(argument, f"a side of {flag.of}", flag.line)
        request = {**self._request(flag), "do": "pick", "of": flag.of, "arguments": {"result": source}}
        self._put_wanting(dag, name, scope, request, [argument], None)
        return Made(dag, name, "Output", "STRING")

    def _param(self, parameter: Parameter) -> dict[str, Any]:
        made = {"parameterType": _component_type(parameter)}
        default: Any = parameter.default
        if default is REQUIRED:
            return made
        plain = type(default) in (bool, int, float, str)
        if default is None:
            default = ""  # nothing: Kubeflow has no null
        elif not plain and not isinstance(default, list | tuple | dict):
            default = default.isoformat() if hasattr(default, "isoformat") else self._no_default(parameter)
        text = default if plain or isinstance(default, str) else json.dumps(default)
        return {**made, "isOptional": True, "defaultValue": text}

    def _no_default(self, parameter: Parameter) -> str:
        raise NotExportable(
            f"{self.graph.line}: the default of parameter {parameter.name} is {parameter.default!r}, which Kubeflow's "
            "parameters cannot have; give a plain value and make it in a step"
        )


# ---------------------------------------------------------------------------------------------------- arguments


def _component_type(parameter: Parameter) -> str:
    """Lists and dicts go as the text of their JSON, so that their integers stay integers."""
    return "STRING" if parameter.default is None else _TYPES.get(parameter.type, "STRING")


def _sources(argument: Argument) -> Iterator[str]:
    """What answers an argument needs here: of a branch the one that was taken."""
    match argument:
        case plan.FromNode(node=node):
            yield f"node {node}"
        case plan.FromParam():
            yield BEGIN
        case plan.FromLoop(loop=loop, each=each):
            yield f"spread {loop}"
            yield from _sources(each)
        case plan.Either(branch=branch):
            yield f"either {branch}"
        case plan.Listed(items=items):
            for each in items:
                yield from _sources(each)
        case plan.Keyed(items=pairs):
            for _, each in pairs:
                yield from _sources(each)


def _common(some: tuple[str, ...], other: tuple[str, ...]) -> Iterator[str]:
    for one, another in zip(some, other, strict=False):
        if one != another:
            return
        yield one


def _embedded(module: Any) -> str:
    """A module's text without its docstring and imports."""
    text = inspect.getsource(module)
    return text[text.index("\ndef ") :].strip() + "\n"


def _schedule(made: Graph) -> str:
    """How to start it by itself: a pipeline file has no schedule of its own."""
    match made.schedule:
        case None:
            return ""
        case Cron(expression=expression, zone="UTC") if len(expression.split()) == 5:
            how = f'cron_expression="0 {expression}"'
        case Every(every_s=every_s):
            how = f"interval_second={every_s:g}"
        case _:
            raise NotExportable(
                f"{made.line}: the schedule {made.schedule!r} of pipeline {made.pipeline!r} has no counterpart in "
                "Kubeflow, whose recurring runs have cron expressions in UTC or intervals; use those, or no schedule"
            )
    late = getattr(made.schedule, "catch_up", "latest") != "all"
    return f"# Schedule it: kfp.Client().create_recurring_run(..., {how}, no_catchup={late})\n"
