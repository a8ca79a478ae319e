"""One task of an exported pipeline: `python -m tidemill.flow.export.task`, a request as JSON in, an answer as JSON out.

The orchestrator says what to do, and hands on what earlier tasks answered; values are small descriptions of what is in
the workspace (TIDEMILL_WORKSPACE, TIDEMILL_STORE), so that what runs elsewhere is recorded, cached and traced as here:
a "flow.pipeline" run with a "flow.step" run for each step that was not cached.

A request has `do` (begin, step, spread, flag, pick, end), `flow` {pipeline, entry, folder, by}, `of` (the node, loop or
branch), `loops` around it, `point` {at, items}, `arguments`, `given` (answers by source) and `chains` (the loops over
which each of these is a list). An argument is one of
    {"literal": JSON} {"param": name, "path"} {"source": "node x", "path"} {"item": loop, "place", "path"}
    {"loop": loop, "each": argument} {"either": branch, "then", "otherwise"} {"secret": name}
    {"list": [...]} {"tuple": [...]} {"dict": {...}} {"value": an answer's value, "path"}
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidemill.core.errors import BadInput, Cancelled, TidemillError, TimedOut
from tidemill.core.ids import new_id, utc_now
from tidemill.core.types import Artifact, Batch, Query, Run, Status
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow import entries, states, tasks, values
from tidemill.flow.engines.here import HereEngine
from tidemill.flow.executing import execution
from tidemill.flow.executing.nodes import Node, shown
from tidemill.flow.executing.running import Running
from tidemill.flow.export.answers import Around, as_json, described, instance, plain, read, told_again
from tidemill.flow.pipelines import Pipeline
from tidemill.flow.refs import Ref, node_of, path_of, refs_in, replaced
from tidemill.flow.steps import Options, Step
from tidemill.flow.values import Output

Request = Mapping[str, Any]
LARGEST = 2**53  # above it a double, which Kubeflow passes numbers as, has no odd integers


class Task:
    """A request, with what it needs of the workspace."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.flow: Mapping[str, str] = request["flow"]
        self.folder = Path(os.environ.get("TIDEMILL_FOLDER") or self.flow["folder"])
        point = request.get("point") or {"at": [], "items": {}}
        self.place: list[int] = point["at"]
        given = {name: read(each) for name, each in request.get("given", {}).items()}
        self.around = Around(given, request.get("chains", {}), point["items"])
        self._ws: Workspace | None = None
        self._running: Running | None = None
        self._nodes: dict[str, Node] = {}

    # ------------------------------------------------------------------------------------------------ requests

    def begin(self) -> Any:
        """Record the execution; answers with its id and its parameters as JSON."""
        pipeline = self.pipeline()
        known = pipeline.parameters
        params = {}
        for name, value in self.request["params"].items():
            empty = value is None or (value == "" and self.flow["by"] == "kfp")  # which has no null
            if not empty or name not in known or known[name].default == "":
                params[name] = value
            elif known[name].default is None:
                params[name] = None
        for name, value in params.items():
            if self.flow["by"] == "kfp" and type(value) is int and abs(value) > LARGEST:
                raise BadInput(f"parameter {name} is {value}; Kubeflow passes numbers as doubles, exact to 2**53 only")
        by = self.flow["by"]
        tags = {"orchestrator": by, "orchestrator_run": str(self.request.get("run_id", ""))}
        made = execution.new_run(self.ws, pipeline, pipeline.bind(params), trigger=by, tags=tags)
        self.ws.graph.write(Batch([replace(made, code=execution.code_of(self.ws, pipeline))]))
        return {"at": [], "run": made.id, "params": dict(made.params)}

    def step(self) -> Any:
        """Run the step, or take what it gave before; answers with the description of its value."""
        found = entries.step_of(self.request["step"], self.request["name"], folder=self.folder)
        # The orchestrator tries again and keeps the time.
        options = replace(found.options, retries=0, timeout_s=None)
        step: Step[..., Any] = Step(found.function, found.name, options)
        arguments = {name: self.made(each) for name, each in self.request["arguments"].items()}
        deps = {node_of(ref): None for each in arguments.values() for ref in refs_in(each)}
        node = Node(self.instance(), step, arguments, tuple(deps))
        running = self.running()
        self._stop_if_cancelled()
        running.add(node)
        running.wait_all()
        self._show_log(node)
        if node.state not in ("done", "cached"):
            self._failed(node, found.options)
        if node.output is None:
            made = type(node.live[0]).__name__ if node.live else "nothing"
            error = BadInput(
                f"step {node.id} returned {made}, which no format takes; tasks of an orchestrator pass values through "
                "the workspace: return a table, an array, plain values, a file or a model"
            )
            self.ended_badly("failed", error)
            raise error
        running.journal.flush()
        running.journal.find_artifacts([node])
        return {"at": self.place, "value": described(node)}

    def spread(self) -> Any:
        """The points of a loop: one for each element, for each of the points given, or of the one where it stands."""
        made = []
        for point in self.request.get("points") or [{"at": self.place, "items": self.around.items}]:
            around = Around(self.around.given, self.around.chains, point["items"])
            if "points" in self.request:
                for loop, place in zip(self.request["inside"], point["at"], strict=True):
                    around = around.at(loop, place)
            lists = [self._elements(self.made(each, around)) for each in self.request["arguments"].values()]
            lengths = sorted({len(some) for some in lists})
            if len(lengths) > 1:
                raise BadInput(f"{self.request['of']}.map() got lists of {lengths} elements; they must be equally long")
            for place, some in enumerate(zip(*lists, strict=True)):
                items = {**point["items"], self.request["of"]: [told_again(each) for each in some]}
                made.append({"at": [*point["at"], place], "items": items})
        return made

    def flag(self) -> Any:
        """Which side of a branch is taken."""
        return {"at": self.place, "value": bool(self.value(self.made(self.request["arguments"]["flag"])))}

    def pick(self) -> Any:
        """What a side of a branch gives, put together."""
        return {"at": self.place, "value": told_again(self.made(self.request["arguments"]["result"]))}

    def end(self) -> Any:
        """Record the result and the end of the execution; answers with the value where it is plain JSON."""
        returned = self.made(self.request["arguments"]["result"])
        running = self.running()
        value = self.value(returned)
        running.journal.flush()
        counts = {each: float(number) for each, number in states.read(self.ws, running.record.id).counts.items()}
        ended = replace(running.record, status="done", ended_at=utc_now(), metrics=counts)
        if running.record.status != "running":  # it had failed, and somebody made the orchestrator go on with it
            again = {**running.record.tags, "continues": running.record.id}
            ended = replace(ended, id=new_id(), tags=again, error=None)
        self.ws.graph.write(execution.ending(self.ws, ended, running, returned, value))
        answer: dict[str, Any] = {"at": [], "run": ended.id, "value": None}
        packed = values.pack(value)
        if packed is not None:
            answer["output"] = values.stored(packed, self.ws.store).to_json()
            if packed.output.format == "json":
                answer["value"] = as_json(value)
        return answer

    # ------------------------------------------------------------------------------------------------ arguments

    def made(self, argument: Mapping[str, Any], around: Around | None = None) -> Any:
        """The argument, with references where it is what steps gave."""
        here = around or self.around
        match argument:
            case {"source": source, "path": path}:
                answer = here.given[source]
                if answer is None:
                    raise BadInput(
                        f"{source} gave nothing here: it was skipped; only when() may take what may be skipped"
                    )
                return self._at(self.made(answer["value"], here), path)
            case {"item": loop, "place": place, "path": path}:
                return self._at(self.made(here.items[loop][place], here), path)
            case {"loop": loop, "each": each}:
                count = len(here.given[f"spread {loop}"] or ())
                return [self.made(each, here.at(loop, place)) for place in range(count)]
            case {"either": branch, "then": then, "otherwise": otherwise}:
                if f"either {branch}" in here.given:
                    return self.made(here.given[f"either {branch}"]["value"], here)
                return self.made(then if here.given[f"flag {branch}"]["value"] else otherwise, here)
            case {"list": items}:
                return [self.made(each, here) for each in items]
            case {"tuple": items}:
                return tuple(self.made(each, here) for each in items)
            case {"dict": items}:
                return {name: self.made(each, here) for name, each in items.items()}
        return self._leaf(argument, here)

    def _leaf(self, argument: Mapping[str, Any], here: Around) -> Any:
        match argument:
            case {"literal": value}:
                return plain(value)
            case {"secret": name}:
                return tasks.Secret(name)
            case {"param": name, "path": path}:
                return values.part(plain(here.given["begin"]["params"][name]), tuple(path))
            case {"node": _, "path": path}:
                return Ref(_NoBuilding, self._node(argument), tuple(path))  # type: ignore[arg-type]  # nobody asks it
        raise BadInput(f"{argument!r} is no argument that this version knows; export the pipeline again")

    def value(self, made: Any) -> Any:
        """The value of an argument."""
        running = self.running()
        return replaced(
            made, lambda leaf: running.value_of(node_of(leaf), path_of(leaf)) if isinstance(leaf, Ref) else leaf
        )

    def _at(self, made: Any, path: list[Any]) -> Any:
        if isinstance(made, Ref):
            return Ref(_NoBuilding, node_of(made), (*path_of(made), *path))  # type: ignore[arg-type]  # as above
        return values.part(made, tuple(path))

    def _elements(self, made: Any) -> list[Any]:
        """The elements to go through, as references where the list is what a step gave."""
        if not isinstance(made, Ref):
            return list(made)
        whole = self.value(made)
        if not isinstance(whole, list | tuple):
            return list(whole)
        return [self._at(made, [place]) for place in range(len(whole))]

    def _node(self, told: Mapping[str, Any]) -> Node:
        """An earlier task's node, as one that is done."""
        name = told["node"]
        if name not in self._nodes:
            node = Node(name, Step(_nothing, "earlier", Options()), {}, state="done")
            node.output, node.source = Output.of_json(told["output"]), told["run"]
            node.artifact = told.get("artifact")
            if told.get("kept"):
                kept = self.ws.graph.get(told["artifact"])
                assert isinstance(kept, Artifact)
                node.output = Output.of_json({"digest": node.output.digest, **kept.meta})
            self._nodes[name] = node
        return self._nodes[name]

    # ------------------------------------------------------------------------------------------------ around

    @property
    def ws(self) -> Workspace:
        """The workspace that the environment names."""
        if self._ws is None:
            url = os.environ.get("TIDEMILL_WORKSPACE")
            if not url:
                raise BadInput("no workspace; set TIDEMILL_WORKSPACE where tasks run: a folder or postgresql://...")
            self._ws = open_workspace(url, create=False)
        return self._ws

    def pipeline(self) -> Pipeline[..., Any]:
        """The user's pipeline."""
        return entries.load(self.flow["entry"], folder=self.folder)

    def running(self) -> Running:
        """The execution of which this is a part."""
        if self._running is None:
            found = self.ws.graph.get(self.around.given["begin"]["run"])
            if not isinstance(found, Run):
                raise BadInput("the task before this one recorded its execution in another workspace")
            self._running = Running(self.ws, found, HereEngine(), None, resumed=False)
        return self._running

    def close(self) -> None:
        """Let go of it."""
        if self._running is not None:
            self._running.close()

    def instance(self) -> str:
        """The node's name as it is in an execution of our own: "nightly[0]/clean" of "nightly/clean"."""
        return instance(self.request["of"], self.request["loops"], self.place)

    def _failed(self, node: Node, options: Options) -> None:
        """A try failed: the execution ends with the last one that the orchestrator makes."""
        running = self.running()
        running.journal.flush()
        record = running.record
        before = self.ws.graph.find(
            Query("run", kind="flow.step", parent=record.id, name=node.step.name, status="failed")
        )
        tries = sum(isinstance(each, Run) and each.params.get("node") == node.id for each in before)
        error = node.error or BadInput(f"step {node.id} was {node.state}: {node.why}")
        if tries > options.retries:
            self.ended_badly("failed", error)
        raise error

    def ended_badly(self, status: Status, error: BaseException) -> None:
        """Record that the execution goes no further, unless that stands already."""
        if "begin" in self.around.given:
            found = self.ws.graph.get(self.around.given["begin"]["run"])
            if isinstance(found, Run) and found.status == "running":
                self.ws.graph.write(Batch([replace(found, status=status, ended_at=utc_now(), error=shown(error))]))

    def _stop_if_cancelled(self) -> None:
        record = self.running().record
        asked = self.ws.graph.events(f"flow/{record.id}", kind="cancel", last=1)
        if asked:
            error = Cancelled(f"execution {record.id} was cancelled by {asked[0].body.get('by', asked[0].actor)}")
            self.ended_badly("cancelled", error)
            raise error

    def _show_log(self, node: Node) -> None:
        """What the step printed, in the orchestrator's log too."""
        path = tasks.log_path(self.ws, self.running().record.id, node.id)
        if path.is_file():
            sys.stderr.write(path.read_text(errors="replace"))


class _NoBuilding:
    """What references here belong to: nobody resolves them."""


def _nothing() -> None:
    """Nothing."""


def answer(request: Request) -> Any:
    """What a request asks for. Raises the step's own error, TidemillError."""
    task = Task(request)
    do = {"begin": task.begin, "step": task.step, "spread": task.spread, "flag": task.flag, "pick": task.pick}
    try:
        return do.get(request["do"], task.end)()
    except BadInput as error:  # which no further try mends
        if request["do"] != "step":
            task.ended_badly("failed", error)
        raise
    finally:
        task.close()


def _ended(number: int, frame: object) -> None:  # noqa: ARG001  as signal calls it
    raise TimedOut("the orchestrator ended the task: it took too long, or somebody cancelled it")


def main() -> int:
    """Read, do, answer. What the program prints goes to stderr: the answer alone to stdout."""
    signal.signal(signal.SIGTERM, _ended)
    out = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    try:
        made = json.dumps(answer(request), allow_nan=False)
    except TidemillError as error:
        sys.stderr.write(f"{request['do']} {request.get('of', '')}: {error}\n")
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    with os.fdopen(out, "w") as into:
        into.write(made)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
