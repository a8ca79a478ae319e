"""A result that may not be there yet: what a step gives inside an execution, and what stands for it in a plan.

To the type checker it is the value itself. Given to another step it is an edge, and nothing waits. Used in any other
way (compared, iterated, indexed, formatted, an attribute asked for) it waits for the value and stands aside.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

T = TypeVar("T")


class Building(Protocol):
    """What runs a pipeline's build function: an execution, or the tracer of a plan."""

    def call(self, step: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A step was called."""
        ...

    def map(self, step: Any, each: tuple[Any, ...], same: dict[str, Any]) -> Any:
        """A step was mapped over lists."""
        ...

    def sub(self, pipeline: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A pipeline was called inside this one."""
        ...

    def sub_map(self, pipeline: Any, each: tuple[Any, ...], same: dict[str, Any]) -> Any:
        """A pipeline was mapped over lists."""
        ...

    def when(self, flag: Any, then: Callable[[], Any], otherwise: Callable[[], Any] | None) -> Any:
        """A branch."""
        ...

    def approve(self, text: str, timeout_s: float | None) -> Any:
        """A person is asked."""
        ...

    def secret(self, name: str) -> Any:
        """A secret is named."""
        ...

    def resolve(self, ref: Ref) -> Any:
        """The value is needed now."""
        ...


building: ContextVar[Building | None] = ContextVar("tidemill_building", default=None)


class Ref:
    """The value of a node, or of a part of it: `path` are the indexes to take from the node's value."""

    __slots__ = ("_node", "_owner", "_path", "_width")

    def __init__(self, owner: Building, node: Any, path: tuple[Any, ...] = (), width: int | None = None) -> None:
        self._owner = owner
        self._node = node
        self._path = path
        self._width = width  # the length of a tuple of known length, whose elements need no waiting

    def __iter__(self) -> Iterator[Any]:
        if self._width is not None:
            return iter([Ref(self._owner, self._node, (*self._path, place)) for place in range(self._width)])
        return iter(self._owner.resolve(self))

    def __len__(self) -> int:
        return self._width if self._width is not None else len(self._owner.resolve(self))

    def __getitem__(self, key: Any) -> Any:
        if self._width is not None and isinstance(key, int) and -self._width <= key < self._width:
            return Ref(self._owner, self._node, (*self._path, key % self._width))
        return self._owner.resolve(self)[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):  # what copy, pickle and inspection look for
            raise AttributeError(name)
        return getattr(self._owner.resolve(self), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._owner.resolve(self)(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<the result of {self._node}{''.join(f'[{place!r}]' for place in self._path)}>"

    def __str__(self) -> str:
        return str(self._owner.resolve(self))

    def __format__(self, form: str) -> str:
        return format(self._owner.resolve(self), form)

    def __hash__(self) -> int:
        return hash(self._owner.resolve(self))

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} is not there yet; give it to a step as an argument, or take its tm.value() first")


def _one(function: Callable[[Any], Any]) -> Callable[[Ref], Any]:
    return lambda self: function(self._owner.resolve(self))


def _two(function: Callable[[Any, Any], Any], *, swapped: bool = False) -> Callable[[Ref, Any], Any]:
    if swapped:
        return lambda self, other: function(value(other), self._owner.resolve(self))
    return lambda self, other: function(self._owner.resolve(self), value(other))


_ONE: dict[str, Callable[[Any], Any]] = {"bool": bool, "int": int, "float": float, "round": round}
for _name in ("index", "neg", "pos", "abs", "invert"):
    _ONE[_name] = getattr(operator, _name)
for _name, _function in _ONE.items():
    setattr(Ref, f"__{_name}__", _one(_function))
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(Ref, f"__{_name}__", _two(getattr(operator, _name)))
for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "lshift",
    "rshift",
    "and",
    "or",
    "xor",
):
    _of = getattr(operator, f"__{_name}__")
    setattr(Ref, f"__{_name}__", _two(_of))
    setattr(Ref, f"__r{_name}__", _two(_of, swapped=True))
setattr(Ref, "__contains__", _two(operator.contains))  # noqa: B010  as the others


def owner_of(ref: Ref) -> Building:
    """What the ref belongs to."""
    return cast("Building", object.__getattribute__(ref, "_owner"))


def node_of(ref: Ref) -> Any:
    """The node whose value it is, or is a part of."""
    return object.__getattribute__(ref, "_node")


def path_of(ref: Ref) -> tuple[Any, ...]:
    """The indexes to take from the node's value."""
    return cast("tuple[Any, ...]", object.__getattribute__(ref, "_path"))


def value(given: T) -> T:
    """The value of what a step gave, waiting for it; anything else as it is. Lists, tuples and dicts are gone through.

    Raises the step's own error where it failed.
    """
    return cast("T", replaced(given, lambda leaf: owner_of(leaf).resolve(leaf) if isinstance(leaf, Ref) else leaf))


def refs_in(given: Any) -> Iterator[Ref]:
    """The refs in an argument: itself, or in lists, tuples and dicts of any depth."""
    if isinstance(given, Ref):
        yield given
    elif type(given) in (list, tuple):
        for each in given:
            yield from refs_in(each)
    elif type(given) is dict:
        for each in given.values():
            yield from refs_in(each)


def replaced(given: Any, of: Callable[[Any], Any]) -> Any:
    """The argument with `of(leaf)` in the place of every leaf: what is no list, tuple or dict."""
    if type(given) is list:
        return [replaced(each, of) for each in given]
    if type(given) is tuple:
        return tuple(replaced(each, of) for each in given)
    if type(given) is dict:
        return {key: replaced(each, of) for key, each in given.items()}
    return of(given)
