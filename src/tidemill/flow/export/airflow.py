"""A pipeline as a DAG file for Airflow 3, which imports Airflow and the standard library only.

A loop becomes dynamic task mapping: a task in it is mapped over the loop's points, which its `spread` task makes.
Mapped task groups cannot nest or hold mapped tasks (Airflow 3.3), so each task is mapped by itself, over the points of
the innermost loop. A branch becomes a branch operator; in a loop, where Airflow branches for all points or none, the
tasks of the other side skip themselves.
"""

from __future__ import annotations

import inspect
import pprint
from datetime import UTC, date, datetime
from typing import Any

from tidemill.core.ids import parse_time
from tidemill.flow.export import launcher, points
from tidemill.flow.export.graph import Graph, Task, graph, loops_of
from tidemill.flow.pipelines import REQUIRED, Parameter, Pipeline
from tidemill.flow.plan import NotExportable
from tidemill.flow.scheduling.schedules import Cron, Every
from tidemill.flow.steps import LONGEST_PAUSE_S

_HEAD = '''"""{name}: a pipeline of Tidemill as a DAG of Airflow 3. Export it again instead of editing it.

Where tasks run: TIDEMILL_WORKSPACE names the workspace, TIDEMILL_PYTHON the interpreter that has Tidemill and what the
program imports (default: python3), TIDEMILL_FOLDER the folder of the program where it is not the one of the export.
"""

'''

_RUN = '''
def run(name, point=None):
    """Do a task; its answer is its XCom."""
    context = get_current_context()
    ti, spec = context["ti"], TASKS[name]
    known = {}

    def pull(task):
        if task not in known:
            do = TASKS[task]["do"]
            key = "answer" if do == "flag" else "return_value"
            found = [each for each in ti.xcom_pull(task_ids=[task], key=key) if each]
            known[task] = (found[0] if found else []) if do == "spread" else found
        return known[task]

    def holds(answers, at):
        for flag, taken in spec["when"]:
            found = answers[flag]
            for place in at[: len(spec["sources"][flag]["loops"])] if spec["do"] == "spread" else ():
                found = found[place]
            if found is None or found["value"] is not taken:
                return False
        return True

    at = point["at"] if point else []
    answers, chains = given(spec, pull, at)
    request = {"flow": FLOW, "point": point, "given": answers, "chains": chains, **spec}
    if spec["do"] == "begin":
        request.update(params=dict(context["params"]), run_id=context["run_id"])
    elif spec["do"] == "spread" and spec["loops"]:
        inside = [each for each in pull(spec["within"]) if holds(answers, each["at"])]
        request.update(points=inside, inside=spec["loops"])
    elif not holds(answers, at):
        raise AirflowSkipException("the other side of a branch was taken")
    answer = ask(request)
    if spec["do"] == "flag":
        ti.xcom_push(key="answer", value=answer)
    return answer


def choose(name):
    """Take a side of a branch."""
    return TASKS[name]["follow"][str(run(name)["value"])]


def pod(**limits):
    """What a task needs, for Airflow's Kubernetes executor, where there is one."""
    try:
        from kubernetes.client import models
    except ImportError:
        return None
    limits = {name: str(value) for name, value in limits.items()}
    box = models.V1Container(name="base", resources=models.V1ResourceRequirements(requests=limits, limits=limits))
    return {"pod_override": models.V1Pod(spec=models.V1PodSpec(containers=[box]))}


def put(name, do=run, over=None, **options):
    """A task of the DAG."""
    make = (task.branch if do is choose else task)(task_id=name, trigger_rule="none_failed", **options)(do)
    made[name] = make(name) if over is None else make.partial(name=name).expand(point=made[over])

'''


def dag(pipeline: Pipeline[..., Any], *, start: date | None = None) -> str:
    """The text of a DAG file. Raises NotExportable, naming "file:line" of what has no form in Airflow.

    start: the DAG's first day, for schedules that catch up on all slots (default: today, UTC).
    """
    made = graph(pipeline)
    specs = {task.id: _spec(task, made) for task in made.tasks}
    lines = [
        _HEAD.format(name=made.pipeline),
        *_imports(),
        "\n\n",
        _embedded(launcher),
        "\n\n",
        _embedded(points),
        "\n",
    ]
    flow = {"pipeline": made.pipeline, "entry": made.entry, "folder": made.folder, "by": "airflow"}
    lines += ["\nFLOW = ", pprint.pformat(flow, width=110, sort_dicts=False)]
    lines += ["\nTASKS = ", pprint.pformat(specs, width=110, sort_dicts=False), "\nmade = {}\n\n", _RUN]
    lines += ["\nwith DAG(\n", *(f"    {name}={text},\n" for name, text in _dag_options(made, start)), ") as dag:\n"]
    lines += [f"    {_put(task, made)}\n" for task in made.tasks]
    lines += [f"    made[{before!r}] >> made[{task.id!r}]\n" for task in made.tasks for before in _before(task, made)]
    return "".join(lines)


def _imports() -> list[str]:
    return [
        "import json\nimport os\nimport signal\nimport subprocess\n",
        "from datetime import datetime, timedelta, timezone\nfrom typing import Any, Protocol\n\n",
        "from airflow.exceptions import AirflowSkipException\n",
        "from airflow.sdk import DAG, CronTriggerTimetable, DeltaTriggerTimetable, Param, get_current_context, task\n",
    ]


def _embedded(module: Any) -> str:
    """A module's text without its docstring and imports."""
    text = inspect.getsource(module)
    return text[min(text.index(start) for start in ("\ndef ", "\nclass ") if start in text) :].strip() + "\n"


# ---------------------------------------------------------------------------------------------------- tasks


def _flags(task: Task) -> list[tuple[str, bool]]:
    return [(f"flag {frame.id}", bool(frame.taken)) for frame in task.scope if not frame.is_loop]


def _needed(task: Task) -> list[str]:
    """The sources whose answers a task pulls."""
    pulled = [source for source in task.sources if not source.startswith("item ")]
    return list(dict.fromkeys([*pulled, *(flag for flag, _ in _flags(task))]))


def _spec(task: Task, made: Graph) -> dict[str, Any]:
    tasks = made.by_key()
    spreads = {name.removeprefix("spread "): each.id for name, each in tasks.items() if name.startswith("spread ")}

    def source(name: str) -> dict[str, Any]:
        loops = list(tasks[name].loops)
        if tasks[name].do == "spread":
            loops.append(tasks[name].of)
        return {"task": tasks[name].id, "loops": loops, "spreads": [spreads[each] for each in loops]}

    spec: dict[str, Any] = {
        "do": task.do,
        "of": task.of,
        "loops": list(task.loops),
        "arguments": dict(task.arguments),
        "sources": {name: source(name) for name in _needed(task)},
        "when": _flags(task),
    }
    if task.do == "step":
        spec |= {"step": task.step, "name": task.name}
    if task.do == "spread" and task.loops:
        spec["within"] = spreads[task.loops[-1]]
    if _branches(task):
        after = [each for each in made.tasks if task.id in _before(each, made)]
        spec["follow"] = {
            str(side): [each.id for each in after if (task.key, not side) not in _flags(each)] for side in (True, False)
        }
    return spec


def _branches(task: Task) -> bool:
    return task.do == "flag" and not task.loops


def _before(task: Task, made: Graph) -> list[str]:
    """The tasks right before it."""
    tasks = made.by_key()
    found = [tasks[name].id for name in _needed(task)]
    found += [tasks[f"spread {loop}"].id for loop in loops_of(task.scope)]
    return list(dict.fromkeys(found))


def _put(task: Task, made: Graph) -> str:
    options = [repr(task.id)]
    if _branches(task):
        options.append("choose")
    if task.loops and task.do != "spread":
        options.append(f"over={made.by_key()[f'spread {task.loops[-1]}'].id!r}")
    given = task.options
    if task.do == "step":
        options.append(f"retries={given.retries}")
        if given.retries:
            options.append(f"retry_delay=timedelta(seconds={given.backoff_s!r})")
            options.append("retry_exponential_backoff=2.0")
            options.append(f"max_retry_delay=timedelta(seconds={LONGEST_PAUSE_S!r})")
        if given.timeout_s is not None:
            options.append(f"execution_timeout=timedelta(seconds={given.timeout_s!r})")
        needs = given.needs
        limits = {"cpu": needs.cpu, "memory": needs.memory_bytes, "nvidia.com/gpu": int(needs.gpu) or None}
        asked = {name: value for name, value in limits.items() if value is not None}
        if needs.gpu or needs.memory_bytes or needs.cpu != 1.0:
            options.append(f"executor_config=pod(**{asked!r})")
    return f"put({', '.join(options)})"


# ---------------------------------------------------------------------------------------------------- the DAG


def _dag_options(made: Graph, start: date | None) -> list[tuple[str, str]]:
    schedule, begins, catch_up = _schedule(made, start)
    params = ", ".join(f"{each.name!r}: {_param(each, made)}" for each in made.parameters)
    return [
        ("dag_id", repr(made.pipeline)),
        ("schedule", schedule),
        ("start_date", f"datetime({begins.year}, {begins.month}, {begins.day}, tzinfo=timezone.utc)"),
        ("catchup", repr(catch_up)),
        ("params", "{" + params + "}"),
        ("tags", "['tidemill']"),
    ]


def _schedule(made: Graph, start: date | None) -> tuple[str, date, bool]:
    catch_up = getattr(made.schedule, "catch_up", "latest") == "all"
    begins = start or (datetime.now(UTC).date() if catch_up else date(2020, 1, 1))
    missing = [each.name for each in made.parameters if each.default is REQUIRED]
    if made.schedule is not None and missing:
        raise NotExportable(
            f"{made.line}: pipeline {made.pipeline!r} has a schedule, and parameters without default "
            f"({', '.join(missing)}), which nobody gives a scheduled DAG; give them defaults"
        )
    match made.schedule:
        case None:
            return "None", begins, False
        case Cron(expression=expression, zone=zone):
            return f"CronTriggerTimetable({expression!r}, timezone={zone!r})", begins, catch_up
        case Every(every_s=every_s, start=first):
            if start is None and parse_time(first).year > 1970:
                begins = parse_time(first).date()
            return f"DeltaTriggerTimetable(timedelta(seconds={every_s!r}))", begins, catch_up
    raise NotExportable(
        f"{made.line}: the schedule {made.schedule!r} of pipeline {made.pipeline!r} waits for something in this "
        "workspace, of which Airflow is not told; schedule it by tm.cron or tm.every, or trigger the DAG from outside"
    )


_TYPES: dict[Any, str] = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "string",
    list: "array",
    dict: "object",
}


def _param(parameter: Parameter, made: Graph) -> str:
    kind = _TYPES.get(parameter.type)
    default = parameter.default
    if isinstance(default, datetime | date):
        default = default.isoformat()
    if isinstance(default, tuple):
        default = list(default)
    if default is not REQUIRED and not _is_json(default):
        raise NotExportable(
            f"{made.line}: the default of parameter {parameter.name} is {default!r}, which a DAG's parameters cannot "
            "have; give a plain value and make it in a step"
        )
    options = [] if default is REQUIRED else [repr(default)]
    if kind is not None:
        options.append(f"type={kind!r}" if default is not None else f"type=['null', {kind!r}]")
    return f"Param({', '.join(options)})"


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(each) for name, each in value.items())
    return value is None or type(value) in (bool, int, float, str)
