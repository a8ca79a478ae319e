"""The plan of a pipeline: its graph without running it, for orchestrators of others (tidemill.flow.export).

The build function is called once with references in the place of results and parameters. What needs a value to go on
(an `if` on a result, a loop over one, a question to a person) has no plan and is refused with its line; `tm.when` and
`.map` are the forms that have one.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tidemill.core.errors import BadInput, TidemillError
from tidemill.flow import entries
from tidemill.flow.pipelines import Parameter, Pipeline
from tidemill.flow.refs import Ref, building, node_of, path_of
from tidemill.flow.steps import Options, Step, side_by_side

_OURS = str(Path(__file__).resolve().parents[1])


class NotExportable(TidemillError):
    """The pipeline does something that has no plan; the message names the line."""

    exit_code = 2


# ------------------------------------------------------------------------------------------------- arguments


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in the program."""

    value: Any


@dataclass(frozen=True, slots=True)
class FromNode:
    """The result of a node, or the part of it at `path`. Of a mapped node: the list of all results."""

    node: str
    path: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class FromParam:
    """A parameter of the pipeline."""

    name: str
    path: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class FromItem:
    """The element at which a loop is. place: which of the lists that it goes through side by side."""

    loop: str
    place: int = 0
    path: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class FromLoop:
    """What each round of a loop gave, as a list."""

    loop: str
    each: Argument


@dataclass(frozen=True, slots=True)
class SecretName:
    """A secret, read where the step runs."""

    name: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A list, or tuple, of arguments."""

    items: tuple[Argument, ...]
    is_tuple: bool = False


@dataclass(frozen=True, slots=True)
class Keyed:
    """A dict of arguments."""

    items: tuple[tuple[str, Argument], ...]


@dataclass(frozen=True, slots=True)
class Either:
    """What the branch gave that was taken: `then` where flag was true. branch: which call of `when` it is."""

    branch: str
    flag: Argument
    then: Argument
    otherwise: Argument


@dataclass(frozen=True, slots=True)
class Branch:
    """One side of a call of `when`, which is named by its place in the program: "when?", "when?#2"."""

    id: str
    flag: Argument
    taken: bool  # the value of the flag for which this side is taken


Argument = Literal | FromNode | FromParam | FromItem | FromLoop | SecretName | Listed | Keyed | Either


# ------------------------------------------------------------------------------------------------- the plan


@dataclass(frozen=True, slots=True)
class PlanNode:
    """A call of a step. each: the parameters over whose lists it is mapped, side by side (none: a single call).

    step: as an entry, "file.py:name". loop: the loop in which it stands. when: the branches in which it stands, within
    that loop. line: "file:line" of the call. width: the length of the tuple that it returns, where known.
    """

    id: str
    step: str
    name: str
    arguments: Mapping[str, Argument]
    options: Options
    each: tuple[str, ...] = ()
    loop: str | None = None
    when: tuple[Branch, ...] = ()
    width: int | None = None
    line: str = ""
    function: Step[..., Any] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PlanLoop:
    """A pipeline mapped over lists that are known at run time only: its nodes have `loop` = this id. Loops may nest."""

    id: str
    over: tuple[Argument, ...]
    loop: str | None = None
    when: tuple[Branch, ...] = ()
    line: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline's graph, nodes in the order of their calls: each after all that it needs."""

    pipeline: str
    entry: str
    folder: str
    parameters: tuple[Parameter, ...]
    nodes: tuple[PlanNode, ...]
    loops: tuple[PlanLoop, ...]
    result: Argument
    schedule: Any = None


def trace(pipeline: Pipeline[..., Any]) -> Plan:
    """The plan of a pipeline. Raises NotExportable with "file:line" of what has no plan, BadInput for a wrong call."""
    tracer = Tracer()
    entry, folder = entries.entry_of(pipeline)
    given = {name: Ref(tracer, FromParam(name)) for name in pipeline.parameters}
    inside = building.set(tracer)
    try:
        result = tracer.argument(pipeline.function(**given))
    finally:
        building.reset(inside)
    return Plan(
        pipeline.name,
        entry,
        str(folder),
        tuple(pipeline.parameters.values()),
        tuple(tracer.nodes),
        tuple(tracer.loops),
        result,
        pipeline.schedule,
    )


class Tracer:
    """What a build function meets while its plan is made. See tidemill.flow.refs.Building."""

    def __init__(self) -> None:
        self.nodes: list[PlanNode] = []
        self.loops: list[PlanLoop] = []
        self._counts: Counter[str] = Counter()
        self._inside = ""
        self._loop: str | None = None
        self._when: tuple[Branch, ...] = ()

    def call(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        """A node."""
        return self._node(step, args, kwargs, each=0)

    def map(self, step: Step[..., Any], each: tuple[Any, ...], same: dict[str, Any]) -> Any:
        """A mapped node; lists that stand in the program make as many single nodes, as in an execution."""
        if not any(isinstance(some, Ref) for some in each):
            name = self._named(step.name)
            return [
                self._node(step, args, same, each=0, name=f"{name}[{place}]")
                for place, args in enumerate(side_by_side(each, step.name))
            ]
        return self._node(step, each, same, each=len(each))

    def sub(self, pipeline: Pipeline[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Its nodes."""
        with self._within(self._named(pipeline.name)):
            return pipeline.function(*args, **kwargs)

    def sub_map(self, pipeline: Pipeline[..., Any], each: tuple[Any, ...], same: dict[str, Any]) -> Any:
        """A loop."""
        name = self._named(pipeline.name)
        if not any(isinstance(some, Ref) for some in each):
            made = []
            for place, args in enumerate(side_by_side(each, pipeline.name)):
                with self._within(f"{name}[{place}]"):
                    made.append(pipeline.function(*args, **same))
            return made
        over = tuple(self.argument(some if isinstance(some, Ref) else list(some)) for some in each)
        self.loops.append(PlanLoop(name, over, self._loop, self._when, _line()))
        before, when, self._loop, self._when = self._loop, self._when, name, ()
        try:
            with self._within(name):
                items = [Ref(self, FromItem(name, place)) for place in range(len(each))]
                result = self.argument(pipeline.function(*items, **same))
        finally:
            self._loop, self._when = before, when
        return Ref(self, FromLoop(name, result))

    def when(self, flag: Any, then: Callable[[], Any], otherwise: Callable[[], Any] | None) -> Any:
        """Both branches."""
        if not isinstance(flag, Ref):
            return then() if flag else (None if otherwise is None else otherwise())
        name, asked = self._named("when?"), self.argument(flag)
        before = self._when
        self._when = (*before, Branch(name, asked, True))
        try:
            made = self.argument(then())
            self._when = (*before, Branch(name, asked, False))
            other = Literal(None) if otherwise is None else self.argument(otherwise())
        finally:
            self._when = before
        return Ref(self, Either(name, asked, made, other))

    def approve(self, text: str, timeout_s: float | None) -> Any:  # noqa: ARG002  the protocol's
        """Refused."""
        raise NotExportable(
            f"{_line()}: approve({text!r}) waits for a person, for which other orchestrators have no common form; "
            "split the pipeline there in two"
        )

    def secret(self, name: str) -> SecretName:
        """Its name."""
        return SecretName(name)

    def resolve(self, ref: Ref) -> Any:
        """Refused: there is no value."""
        raise NotExportable(
            f"{_line()}: the program needs the value of {_said(node_of(ref))} to go on, which it has when it runs; "
            "branch with tm.when(flag, then, otherwise), go through it with step.map or pipeline.map, or use a step"
        )

    def argument(self, given: Any) -> Argument:
        """What was given to a step, or returned, as a part of a plan."""
        if isinstance(given, Ref):
            return _at(node_of(given), path_of(given))
        if isinstance(given, SecretName):
            return given
        if type(given) in (list, tuple):
            items = tuple(self.argument(each) for each in given)
            if all(isinstance(each, Literal) for each in items):
                return Literal(given)
            return Listed(items, type(given) is tuple)
        if type(given) is dict:
            pairs = tuple((str(name), self.argument(each)) for name, each in given.items())
            return Literal(given) if all(isinstance(each, Literal) for _, each in pairs) else Keyed(pairs)
        return Literal(given)

    def _node(
        self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, each: int, name: str = ""
    ) -> Ref:
        bound = step.bind(args, kwargs)
        name = name or self._named(step.name)
        try:
            found, _ = entries.entry_of(step)  # type: ignore[arg-type]  # a step has a function as a pipeline has
        except BadInput as error:
            raise NotExportable(f"{_line()}: {error}") from None
        self.nodes.append(
            PlanNode(
                name,
                found,
                step.name,
                {key: self.argument(value) for key, value in bound.items()},
                step.options,
                tuple(list(bound)[:each]),
                self._loop,
                self._when,
                step.width,
                _line(),
                step,
            )
        )
        return Ref(self, FromNode(name), (), None if each else step.width)

    def _named(self, name: str) -> str:
        full = f"{self._inside}{name}"
        self._counts[full] += 1
        return full if self._counts[full] == 1 else f"{full}#{self._counts[full]}"

    @contextmanager
    def _within(self, name: str) -> Iterator[None]:
        before, self._inside = self._inside, f"{name}/"
        try:
            yield
        finally:
            self._inside = before


def _at(source: Any, path: tuple[Any, ...]) -> Argument:
    from dataclasses import replace

    if not path:
        return source  # type: ignore[no-any-return]  # an Argument: the tracer made it
    if isinstance(source, FromNode | FromParam | FromItem):
        return replace(source, path=(*source.path, *path))
    raise NotExportable(f"{_line()}: a part of {_said(source)} is taken; take it in a step")


def _said(source: Any) -> str:
    match source:
        case FromNode(node=node):
            return f"step {node!r}"
        case FromParam(name=name):
            return f"parameter {name!r}"
        case FromItem(loop=loop) | FromLoop(loop=loop):
            return f"map {loop!r}"
    return "a branch"


def _line() -> str:
    """Where the user's program is: the nearest frame outside of this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(Path(frame.f_code.co_filename).resolve()).startswith(_OURS):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
