"""A plan in the form in which other orchestrators take it: tasks in scopes, and what each is given.

A scope is the way to a task from outside: the loops that it is in and the sides of branches. A mapped step is a loop of
one step. Beside the steps there are tasks for what those orchestrators cannot do with our values: `begin` (parameters
are read, the execution is recorded), `spread` (the elements of a loop), `flag` (which side of a branch) and `end`.
"""

from __future__ import annotations

import json
import os
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tidemill.core.errors import BadInput, TidemillError
from tidemill.flow import entries, formats, plan
from tidemill.flow.pipelines import REQUIRED, Parameter, Pipeline
from tidemill.flow.plan import Argument, NotExportable, Plan, PlanNode
from tidemill.flow.steps import Options

BEGIN = "begin"
END = "end"


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of the way to a scope: into a loop, or (taken: which) a side of a branch."""

    id: str
    taken: bool | None = None

    @property
    def is_loop(self) -> bool:
        """Whether it is a loop."""
        return self.taken is None


Scope = tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """What the orchestrator runs. do: begin, step, spread, flag or end. of: the node, loop or branch.

    arguments: by name, as JSON (see tidemill.flow.export.task). sources: what they need ("begin", "node <id>",
    "spread <loop>", "flag <branch>"). wants: the plan's own arguments.
    """

    id: str
    do: str
    of: str
    scope: Scope
    wants: Mapping[str, Argument]
    arguments: Mapping[str, Any]
    sources: tuple[str, ...]
    step: str = ""  # as an entry
    name: str = ""  # the step's
    options: Options = field(default_factory=Options)
    line: str = ""

    @property
    def key(self) -> str:
        """What it is called as a source."""
        return {"step": f"node {self.of}", "spread": f"spread {self.of}", "flag": f"flag {self.of}"}.get(
            self.do, self.do
        )

    @property
    def loops(self) -> tuple[str, ...]:
        """The loops that it is in, from outside."""
        return loops_of(self.scope)


@dataclass(frozen=True, slots=True)
class Graph:
    """A pipeline as tasks, in an order in which each comes after all that it needs."""

    pipeline: str
    entry: str
    folder: str
    parameters: tuple[Parameter, ...]
    tasks: tuple[Task, ...]
    returns: Any  # what the build function is annotated to return
    schedule: Any
    line: str

    def by_key(self) -> dict[str, Task]:
        """The tasks by what they are called as sources."""
        return {task.key: task for task in self.tasks}


def loops_of(scope: Scope) -> tuple[str, ...]:
    """The loops on the way."""
    return tuple(frame.id for frame in scope if frame.is_loop)


def graph(pipeline: Pipeline[..., Any]) -> Graph:
    """The pipeline as tasks. Raises NotExportable, naming "file:line"."""
    return _Making(pipeline).made()


class _Making:
    """The way from a plan to a graph."""

    def __init__(self, pipeline: Pipeline[..., Any]) -> None:
        self.pipeline = pipeline
        code = pipeline.function.__code__
        self.line = f"{code.co_filename}:{code.co_firstlineno}"
        self.plan: Plan = _without_maps(plan.trace(pipeline))
        self.loops = {loop.id: loop for loop in self.plan.loops}
        self.nodes = {node.id: node for node in self.plan.nodes}
        self.scopes: dict[str, Scope] = {}  # of nodes, loops ("loop x": within it) and branches ("flag x")
        self.tasks: list[Task] = []
        self.names: set[str] = {BEGIN, END}

    def made(self) -> Graph:
        for name, parameter in self.pipeline.parameters.items():
            if parameter.default is not REQUIRED:
                _literal(parameter.default, f"the default of parameter {name}", self.line)
        self.tasks.append(Task(BEGIN, BEGIN, "", (), {}, {}, (), line=self.line))
        for node in self.plan.nodes:
            self._add_node(node)
        for loop in self.plan.loops:  # of loops around nothing
            self._enter(loop.id)
        self._add(END, END, "", (), {"result": self.plan.result}, self.line)
        hints = typing.get_type_hints(self.pipeline.function)
        return Graph(
            self.plan.pipeline,
            self.plan.entry,
            self.plan.folder,
            self.plan.parameters,
            tuple(self.tasks),
            hints.get("return", Any),
            self.plan.schedule,
            self.line,
        )

    # ------------------------------------------------------------------------------------------------ tasks

    def _add_node(self, node: PlanNode) -> None:
        scope = self._within(node.loop, node.when, node.line)
        self.scopes[node.id] = scope
        entry = _step_entry(node, Path(self.plan.folder))
        self._add(
            "step", node.id, node.id, scope, node.arguments, node.line, step=(entry, node.name), options=node.options
        )

    def _enter(self, loop_id: str) -> Scope:
        """The scope within the loop; the task for its elements is added when it is first entered."""
        known = self.scopes.get(f"loop {loop_id}")
        if known is not None:
            return known
        loop = self.loops[loop_id]
        outside = self._within(loop.loop, loop.when, loop.line)
        wants = {str(place): each for place, each in enumerate(loop.over)}
        self._add("spread", f"spread-{loop_id}", loop_id, outside, wants, loop.line)
        self.scopes[f"loop {loop_id}"] = scope = (*outside, Frame(loop_id))
        return scope

    def _within(self, loop: str | None, branches: tuple[plan.Branch, ...], line: str) -> Scope:
        scope = () if loop is None else self._enter(loop)
        for branch in branches:
            self._flag(branch.id, branch.flag, scope, line)
            scope = (*scope, Frame(branch.id, branch.taken))
        return scope

    def _flag(self, branch: str, flag: Argument, scope: Scope, line: str) -> None:
        if f"flag {branch}" not in self.scopes:
            self.scopes[f"flag {branch}"] = scope
            self._add("flag", f"flag-{branch}", branch, scope, {"flag": flag}, line)

    def _add(
        self,
        do: str,
        name: str,
        of: str,
        scope: Scope,
        wants: Mapping[str, Argument],
        line: str,
        *,
        step: tuple[str, str] = ("", ""),
        options: Options | None = None,
    ) -> None:
        for each in wants.values():
            self._flags_in(each, line)
            self._check(each, scope, line)
        sources = dict.fromkeys(source for each in wants.values() for source in sources_of(each))
        arguments = {key: argument_json(each, f"argument {key}", line) for key, each in wants.items()}
        given = (BEGIN, *(source for source in sources if source != BEGIN))
        name = name if do == END else self._named(name)
        self.tasks.append(Task(name, do, of, scope, dict(wants), arguments, given, *step, options or Options(), line))

    def _named(self, name: str) -> str:
        """A name that is one everywhere: lower case letters, digits and "-", not the same as another's."""
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "step"
        plain = plain.replace("-output", "-out-put")  # which KFP reads as its own
        found, count = plain, 1
        while found in self.names:
            count += 1
            found = f"{plain}-{count}"
        self.names.add(found)
        return found

    # ------------------------------------------------------------------------------------------------ arguments

    def _flags_in(self, argument: Argument, line: str) -> None:
        """A task for each branch that only decides between values, and so has no steps of its own."""
        for each in parts_of(argument):
            if isinstance(each, plan.Either) and f"flag {each.branch}" not in self.scopes:
                scopes = [self._home(source) for source in sources_of(each.flag)]
                self._flag(each.branch, each.flag, max(scopes, key=len, default=()), line)

    def _home(self, source: str) -> Scope:
        what, _, name = source.partition(" ")
        if what == BEGIN:
            return ()
        return self.scopes[{"node": name, "item": f"loop {name}", "spread": f"loop {name}"}.get(what, source)]

    def _check(self, argument: Argument, scope: Scope, line: str) -> None:
        """Refuse what is taken out of a loop or a branch by another way than its result."""
        match argument:
            case plan.FromNode(node=node):
                self._reach(self.scopes[node], scope, f"step {node!r}", line)
            case plan.FromItem(loop=loop):
                self._reach(self.scopes[f"loop {loop}"], scope, f"an element of {loop!r}", line)
            case plan.FromLoop(loop=loop, each=each):
                inside = self._enter(loop)
                self._reach(inside[:-1], scope, f"map {loop!r}", line)
                self._check(each, inside, line)
            case plan.Either(branch=branch, then=then, otherwise=otherwise):
                home = self.scopes[f"flag {branch}"]
                self._reach(home, scope, "a branch", line)
                self._check(then, (*home, Frame(branch, True)), line)
                self._check(otherwise, (*home, Frame(branch, False)), line)
            case plan.Listed(items=items):
                for each in items:
                    self._check(each, scope, line)
            case plan.Keyed(items=pairs):
                for _, each in pairs:
                    self._check(each, scope, line)

    def _reach(self, home: Scope, scope: Scope, what: str, line: str) -> None:
        if scope[: len(home)] != home:
            raise NotExportable(
                f"{line}: {what} is used outside of the loop or branch that it is in; return it from there and use "
                "what map() or when() gives"
            )


# ---------------------------------------------------------------------------------------------------- arguments


def argument_json(argument: Argument, what: str, line: str) -> dict[str, Any]:
    """The argument as the requests have it. what, line: for messages."""
    match argument:
        case plan.Literal(value=value):
            return {"literal": _literal(value, what, line)}
        case plan.FromNode(node=node, path=path):
            return {"source": f"node {node}", "path": list(path)}
        case plan.FromParam(name=name, path=path):
            return {"param": name, "path": list(path)}
        case plan.FromItem(loop=loop, place=place, path=path):
            return {"item": loop, "place": place, "path": list(path)}
        case plan.FromLoop(loop=loop, each=each):
            return {"loop": loop, "each": argument_json(each, what, line)}
        case plan.SecretName(name=name):
            return {"secret": name}
        case plan.Listed(items=items, is_tuple=is_tuple):
            return {"tuple" if is_tuple else "list": [argument_json(each, what, line) for each in items]}
        case plan.Keyed(items=pairs):
            return {"dict": {name: argument_json(each, what, line) for name, each in pairs}}
        case plan.Either(branch=branch, then=then, otherwise=otherwise):
            sides = {"then": argument_json(then, what, line), "otherwise": argument_json(otherwise, what, line)}
            return {"either": branch, **sides}
    raise AssertionError(argument)


def _literal(value: Any, what: str, line: str) -> Any:
    packed = formats.encode(value)
    if packed is None or packed[0] != "json":
        raise NotExportable(
            f"{line}: {what} is {type(value).__name__}, which cannot stand in a file of another orchestrator; "
            "make it, or read it, in a step"
        )
    return json.loads(packed[1])


def parts_of(argument: Argument) -> Iterator[Argument]:
    """The argument and all in it."""
    yield argument
    match argument:
        case plan.FromLoop(each=each):
            yield from parts_of(each)
        case plan.Either(then=then, otherwise=otherwise):
            yield from parts_of(then)
            yield from parts_of(otherwise)
        case plan.Listed(items=items):
            for each in items:
                yield from parts_of(each)
        case plan.Keyed(items=pairs):
            for _, each in pairs:
                yield from parts_of(each)


def sources_of(argument: Argument) -> Iterator[str]:
    """What tasks the argument needs the answers of."""
    for each in parts_of(argument):
        match each:
            case plan.FromNode(node=node):
                yield f"node {node}"
            case plan.FromParam():
                yield BEGIN
            case plan.FromItem(loop=loop):
                yield f"item {loop}"
            case plan.FromLoop(loop=loop):
                yield f"spread {loop}"
            case plan.Either(branch=branch):
                yield f"flag {branch}"


def _without_maps(found: Plan) -> Plan:
    """The plan with each mapped step as a loop of one step, in the order in which they were called."""
    mapped = {node.id: node for node in found.nodes if node.each}

    def changed(argument: Argument) -> Argument:
        match argument:
            case plan.FromNode(node=node) if node in mapped:
                return plan.FromLoop(node, argument)
            case plan.FromLoop(each=each):
                return replace(argument, each=changed(each))
            case plan.Either(flag=flag, then=then, otherwise=otherwise):
                return replace(argument, flag=changed(flag), then=changed(then), otherwise=changed(otherwise))
            case plan.Listed(items=items):
                return replace(argument, items=tuple(map(changed, items)))
            case plan.Keyed(items=pairs):
                return replace(argument, items=tuple((name, changed(each)) for name, each in pairs))
        return argument

    nodes, loops = [], [_changed_loop(loop, changed) for loop in found.loops]
    for node in found.nodes:
        arguments = {name: changed(each) for name, each in node.arguments.items()}
        when = tuple(replace(branch, flag=changed(branch.flag)) for branch in node.when)
        if node.each:
            over = tuple(arguments[name] for name in node.each)
            loops.append(plan.PlanLoop(node.id, over, node.loop, when, node.line))
            arguments |= {name: plan.FromItem(node.id, place) for place, name in enumerate(node.each)}
            nodes.append(replace(node, arguments=arguments, each=(), loop=node.id, when=()))
        else:
            nodes.append(replace(node, arguments=arguments, when=when))
    return replace(found, nodes=tuple(nodes), loops=tuple(loops), result=changed(found.result))


def _changed_loop(loop: plan.PlanLoop, changed: Callable[[Argument], Argument]) -> plan.PlanLoop:
    when = tuple(replace(branch, flag=changed(branch.flag)) for branch in loop.when)
    return replace(loop, over=tuple(map(changed, loop.over)), when=when)


def _step_entry(node: PlanNode, folder: Path) -> str:
    """Where a task finds the step, seen from the pipeline's folder; NotExportable where it would not."""
    assert node.function is not None
    try:
        entry, home = entries.entry_of(node.function)  # type: ignore[arg-type]  # a step has a function as well
        place, _, name = entry.partition(":")
        if place.endswith(".py"):
            place = os.path.relpath(home / place, folder)
        if entries.step_of(f"{place}:{name}", node.name, folder=folder) is not node.function:
            raise BadInput(f"{place} has another step of the name {node.name!r}")
    except TidemillError as error:
        raise NotExportable(f"{node.line}: {error}") from None
    return f"{place}:{name}"
