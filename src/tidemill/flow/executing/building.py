"""What a build function meets while it runs: its calls of steps become nodes with names of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, cast

from tidemill.core.errors import BadInput
from tidemill.core.ids import utc_now
from tidemill.core.types import Batch, NewEvent
from tidemill.flow import approvals, values
from tidemill.flow.approvals import Parked
from tidemill.flow.executing.nodes import Node
from tidemill.flow.executing.running import Running
from tidemill.flow.pipelines import Pipeline
from tidemill.flow.refs import Ref, node_of, owner_of, path_of, value
from tidemill.flow.steps import Step, side_by_side
from tidemill.flow.tasks import Secret


class Building:
    """See tidemill.flow.refs.Building. A node is named by its step, the how-manieth call of it, and where it is called:
    "clean", "clean#2", "clean[3]" of a map, "nightly/clean" in a pipeline inside."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._counts: Counter[str] = Counter()
        self._inside = ""

    def call(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        """One node."""
        return self._node(step, self._named(step.name), args, kwargs)

    def map(self, step: Step[..., Any], each: tuple[Any, ...], same: dict[str, Any]) -> list[Ref]:
        """One node an element."""
        name = self._named(step.name)
        return [
            self._node(step, f"{name}[{place}]", args, same)
            for place, args in enumerate(side_by_side(tuple(_listed(some) for some in each), step.name))
        ]

    def sub(self, pipeline: Pipeline[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Its nodes, named after it."""
        with self._within(self._named(pipeline.name)):
            return pipeline.function(*args, **kwargs)

    def sub_map(self, pipeline: Pipeline[..., Any], each: tuple[Any, ...], same: dict[str, Any]) -> list[Any]:
        """The same for each element."""
        name = self._named(pipeline.name)
        made = []
        for place, args in enumerate(side_by_side(tuple(_listed(some) for some in each), pipeline.name)):
            with self._within(f"{name}[{place}]"):
                made.append(pipeline.function(*args, **same))
        return made

    def when(self, flag: Any, then: Callable[[], Any], otherwise: Callable[[], Any] | None) -> Any:
        """The branch that the value says."""
        return then() if value(flag) else (None if otherwise is None else otherwise())

    def approve(self, text: str, timeout_s: float | None) -> bool:
        """The answer, or Parked."""
        name = self._named(text)
        running = self._running
        asked = approvals.of_run(running.ws, running.record.id).get(name)
        if asked is None:
            raise Parked(name, text, timeout_s)
        if asked.expired(utc_now()):
            body = {"approval": name, "answer": "no", "by": "timeout", "note": ""}
            key = f"decided/{running.record.id}/{name}"
            running.ws.graph.write(Batch(events=[NewEvent(f"flow/{running.record.id}", "decided", body, key=key)]))
            asked = approvals.of_run(running.ws, running.record.id)[name]
        if asked.answer is None:
            raise Parked(name, text, timeout_s)
        return asked.answer == "yes"

    def secret(self, name: str) -> Secret:
        """Its name; the step that gets it reads it."""
        return Secret(name)

    def resolve(self, ref: Ref) -> Any:
        """Wait for the node."""
        return self._running.value_of(node_of(ref), path_of(ref))

    def _node(self, step: Step[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        deps: dict[Node, None] = {}
        given: dict[str, Any] = {}
        for argument, each in step.bind(args, kwargs).items():
            try:
                given[argument] = self._own(each, deps)
            except _Refused as error:
                raise BadInput(f"step {step.name!r}: argument {argument} {error}") from None
            except RecursionError:
                raise BadInput(
                    f"step {step.name!r}: argument {argument} holds itself, or is nested too deeply"
                ) from None
        node = Node(name, step, given, tuple(deps))
        self._running.add(node)
        return Ref(self, node, (), step.width)

    def _own(self, given: Any, deps: dict[Node, None]) -> Any:
        """The argument as it is now: what the build function does to its lists and tables later is not the step's.

        deps gets the nodes whose results are in it. Raises _Refused.
        """
        kind = type(given)
        if kind is Ref:
            if owner_of(given) is not self:  # of an execution that is over
                return values.own(value(given))
            deps[node_of(given)] = None
            return given
        if kind is list:
            return [self._own(each, deps) for each in given]
        if kind is tuple:
            return tuple([self._own(each, deps) for each in given])
        if kind is dict:
            return {value(name): self._own(each, deps) for name, each in given.items()}
        if kind in (set, frozenset):
            return kind(values.own(value(each)) for each in given)
        if values.unchanging(given):
            return given
        _refuse(given)
        return values.own(given)

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


class _Refused(Exception):
    """Why something cannot be given to a step."""


def _refuse(given: Any) -> None:
    name = type(given).__name__
    if isinstance(given, FunctionType) and ("<locals>" in given.__qualname__ or given.__name__ == "<lambda>"):
        raise _Refused(f"is {given.__qualname__}, which no worker finds; give it a function at the top of a module")
    if isinstance(given, Iterator):
        raise _Refused(f"is a {name}, which can be gone through only once; give a list")
    inside = given if isinstance(given, tuple) else getattr(given, "__dict__", {}).values()
    for each in inside:
        if isinstance(each, Ref):
            raise _Refused(f"is a {name} that holds {each!r}; give it the tm.value() of that")


def _listed(some: Any) -> Any:
    """The elements to go through: of a list as they are, which may be refs; of a ref its value's, as refs still."""
    if not isinstance(some, Ref):
        return some
    whole = value(cast("Any", some))
    if not isinstance(whole, list | tuple):
        return list(whole)
    return [Ref(owner_of(some), node_of(some), (*path_of(some), place)) for place in range(len(whole))]
