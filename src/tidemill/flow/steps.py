"""Steps: plain typed functions that an execution runs, caches, retries and records one by one.

@tm.step(retries=2, timeout="10m", memory="2GB")
def clean(rows: pl.DataFrame, floor: float) -> pl.DataFrame: ...

clean(rows, 0.5)                 # outside a pipeline: a plain call
clean.map(parts, floor=0.5)      # in a pipeline: one node for each part
"""

from __future__ import annotations

import functools
import inspect
import random
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, overload

from tidemill.core.engine import Resources
from tidemill.core.errors import BadInput, nearest
from tidemill.flow.durations import seconds
from tidemill.flow.refs import building

P = ParamSpec("P")
R = TypeVar("R")

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_MISSING = inspect.Parameter.empty
ONE_CORE = Resources(1.0)
LONGEST_PAUSE_S = 300.0
NAME = re.compile(r"[\w.-]{1,100}")


@dataclass(frozen=True, slots=True)
class Options:
    """How a step is run. backoff_s: the first pause between tries; it doubles, and each is drawn from 0 to that."""

    retries: int = 0
    backoff_s: float = 1.0
    timeout_s: float | None = None
    needs: Resources = ONE_CORE
    cache: bool = True
    env: tuple[str, ...] = ()
    extras: Mapping[str, Path] = field(default_factory=dict)

    def pause_s(self, tries: int) -> float:
        """Seconds until the next try, after so many: drawn, so that what failed together is not tried together."""
        longest = min(LONGEST_PAUSE_S, self.backoff_s * 2.0 ** min(tries - 1, 60))
        return random.uniform(0, longest)  # noqa: S311  jitter, no secret


class Step(Generic[P, R]):
    """A function as a step. Called outside a pipeline it is that function."""

    def __init__(self, function: Callable[P, R], name: str, options: Options) -> None:
        self.function = function
        self.name = name
        self.options = options
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        flow = building.get()
        if flow is None:
            return self.function(*args, **kwargs)
        return typing.cast("R", flow.call(self, args, kwargs))

    def map(self, *each: Iterable[Any], **same: Any) -> list[R]:
        """One call for each element: the positional lists are gone through side by side, `same` is given to each call.

        Raises BadInput for lists of different lengths.
        """
        flow = building.get()
        if flow is None:
            return [self.function(*some, **same) for some in side_by_side(each, self.name)]
        return typing.cast("list[R]", flow.map(self, each, same))

    @cached_property
    def signature(self) -> inspect.Signature:
        """The function's."""
        return inspect.signature(self.function)

    @cached_property
    def width(self) -> int | None:
        """The length of the tuple that it says to return, None where it returns no tuple of a known length."""
        try:
            told = typing.get_type_hints(self.function).get("return")
        except Exception:  # annotations that name what is imported for type checkers only
            return None
        parts = typing.get_args(told)
        return len(parts) if typing.get_origin(told) is tuple and parts and parts[-1] is not ... else None

    @cached_property
    def _named(self) -> Mapping[str, Any] | None:
        """The parameters with their defaults, where each may be given by name; else None."""
        parameters = self.signature.parameters
        if any(each.kind is not each.POSITIONAL_OR_KEYWORD for each in parameters.values()):
            return None
        return {name: each.default for name, each in parameters.items()}

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, defaults filled in; BadInput where they do not fit the function."""
        if self._named is not None and len(args) <= len(self._named):  # inspect takes ten times as long
            given = dict(zip(self._named, args, strict=False))
            if given.keys().isdisjoint(kwargs) and kwargs.keys() <= self._named.keys():
                given = {**self._named, **given, **kwargs}
                if not any(each is _MISSING for each in given.values()):
                    return given
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise BadInput(f"step {self.name!r}: {error}; it is {self.name}{self.signature}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def positional(self, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Those arguments as the function takes them."""
        if self._named is not None:
            return (), dict(arguments)
        bound = inspect.BoundArguments(self.signature, dict(arguments))
        return bound.args, bound.kwargs

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        # By name, as functions are: what has that name in the module is this step, or its function.
        module, qualname = self.function.__module__, self.function.__qualname__
        if "<" in qualname:
            raise TypeError(f"step {self.name!r} is {qualname}, which a worker finds only at the top of a module")
        return (_found, (module, qualname, self.name))


def _found(module: str, qualname: str, name: str) -> Step[..., Any]:
    """The step of that function in this process."""
    from importlib import import_module

    found: Any = import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    while found is not None and not isinstance(found, Step) and hasattr(found, "__wrapped__"):
        found = found.__wrapped__  # of a decorator above the step
    if isinstance(found, Step):
        found = found.function
    if not inspect.isfunction(found):
        raise BadInput(f"step {name!r}: module {module} has no function {qualname} where it was to run")
    return Step(found, name, Options())


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    retries: int = 0,
    backoff: str | float | timedelta = "1s",
    timeout: str | float | timedelta | None = None,
    cpu: float = 1,
    gpu: float = 0,
    memory: str | int | None = None,
    cache: bool = True,
    env: Iterable[str] = (),
    extras: Mapping[str, str | Path] | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    retries: int = 0,
    backoff: str | float | timedelta = "1s",
    timeout: str | float | timedelta | None = None,
    cpu: float = 1,
    gpu: float = 0,
    memory: str | int | None = None,
    cache: bool = True,
    env: Iterable[str] = (),
    extras: Mapping[str, str | Path] | None = None,
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a step of a function; its signature stays.

    retries: how often it is tried again after an error. backoff: the first pause, doubled each time, drawn from 0 to
    that ("full jitter": M. Brooker, Exponential Backoff and Jitter, 2015). timeout: then its processes are ended.
    cpu, gpu, memory ("2GB"): what the engine keeps for it. cache: whether equal work is taken from before; False for a
    step with an effect outside. env: environment variables that count for the cache. extras: name to file that counts.
    """
    if retries < 0:
        raise BadInput(f"retries is {retries}; write how often to try again: 0 or more")
    options = Options(
        retries,
        seconds(backoff, what="backoff"),
        None if timeout is None else seconds(timeout, what="timeout"),
        Resources(float(cpu), float(gpu), size_bytes(memory)),
        cache,
        tuple(env),
        {key: Path(path) for key, path in (extras or {}).items()},
    )

    def made(given: Callable[P, R]) -> Step[P, R]:
        if not inspect.isfunction(given) or inspect.iscoroutinefunction(given) or inspect.isgeneratorfunction(given):
            raise BadInput(
                f"{given!r} cannot be a step; a step is a plain function: not async (call asyncio.run inside), and one "
                "that returns (a list, where yours yields)"
            )
        if next(iter(inspect.signature(given).parameters), "") in ("self", "cls"):
            raise BadInput(
                f"{given.__qualname__} cannot be a step, it is a method; make it a function at the top of the module "
                "that gets what it needs of the object"
            )
        return Step(given, checked(name or given.__name__, "step"), options)

    return made if function is None else made(function)


def checked(name: str, what: str) -> str:
    """The name, or BadInput."""
    if NAME.fullmatch(name) is None:
        raise BadInput(
            f"{what} {name!r}: a name has letters, digits, '_', '.' and '-', at most 100; give one: "
            f'@tm.{what}(name="...")'
        )
    return name


def size_bytes(size: str | int | None) -> int | None:
    """A size as people write it ("2GB", "512MiB", 1000) in bytes."""
    if size is None or isinstance(size, int):
        return size
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", size)
    if found is None or found[2] not in _UNITS:
        raise BadInput(f"memory {size!r}; write a number and one of {', '.join(_UNITS)}, such as 2GB")
    return int(float(found[1]) * _UNITS[found[2]])


def side_by_side(each: tuple[Iterable[Any], ...], name: str) -> list[tuple[Any, ...]]:
    """The elements of the lists, taken together; BadInput where they differ in length."""
    for some in each:
        if not isinstance(some, Iterable):
            raise BadInput(f"{name}.map() goes through lists, {some!r} is none; what is the same for all goes by name")
    lists = [list(some) for some in each]
    if not lists:
        raise BadInput(f"{name}.map() needs a list to go through; what is the same for all goes by name")
    lengths = {len(some) for some in lists}
    if len(lengths) > 1:
        raise BadInput(f"{name}.map() got lists of {sorted(lengths)} elements; they are gone through side by side")
    return list(zip(*lists, strict=True))


def unknown(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name."""
    known = list(known)
    return f"it has {', '.join(known) or 'none'}.{nearest(name, known)}"
