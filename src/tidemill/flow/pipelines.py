"""Pipelines: a plain build function whose step calls make the graph.

    @tm.pipeline(name="nightly", schedule="0 3 * * *")
    def nightly(day: str = "2013-01-01") -> tm.ModelVersion:
        parts = clean.map(split(ingest(day)))
        ...

Called outside an execution it is that function. `tidemill.flow.executing.execution.run` executes it: recorded, cached,
resumable.
"""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

from tidemill.core.errors import BadInput, WrongType
from tidemill.flow.durations import seconds
from tidemill.flow.refs import building, value
from tidemill.flow.scheduling.schedules import Schedule, cron
from tidemill.flow.steps import checked, side_by_side, unknown

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a pipeline: its type as written, and its default (REQUIRED where there is none)."""

    name: str
    type: Any  # what was annotated
    default: Any = REQUIRED

    @property
    def type_name(self) -> str:
        """The type for people."""
        return self.type.__name__ if isinstance(self.type, type) else str(self.type).replace("typing.", "")


class Pipeline(Generic[P, R]):
    """A build function as a pipeline. Called outside an execution it is that function, called inside one a part of it.

    schedule: when it runs by itself, once deployed. function: the build function.
    """

    def __init__(self, function: Callable[P, R], name: str, schedule: Schedule | None) -> None:
        self.function = function
        self.name = name
        self.schedule = schedule
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        flow = building.get()
        if flow is None:
            return self.function(*args, **kwargs)
        return typing.cast("R", flow.sub(self, args, kwargs))

    def map(self, *each: Iterable[Any], **same: Any) -> list[R]:
        """The pipeline's steps once for each element, as a part of the pipeline that calls this: maps may nest."""
        flow = building.get()
        if flow is None:
            return [self.function(*some, **same) for some in side_by_side(each, self.name)]
        return typing.cast("list[R]", flow.sub_map(self, each, same))

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Its parameters by name, in order."""
        hints = typing.get_type_hints(self.function)
        return {
            name: Parameter(name, hints.get(name, Any), each.default)
            for name, each in inspect.signature(self.function).parameters.items()
        }

    def bind(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with defaults filled in; texts, as shells and forms give them, are read as what is annotated.

        Raises BadInput for unknown or missing names, and for values that do not go through JSON; WrongType.
        """
        for name in params:
            if name not in self.parameters:
                raise BadInput(f"pipeline {self.name!r} has no parameter {name!r}; {unknown(name, self.parameters)}")
        given: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if name in params:
                given[name] = _read(params[name], parameter, self.name)
            elif parameter.default is not REQUIRED:
                given[name] = parameter.default
            else:
                raise BadInput(f"pipeline {self.name!r} needs {name} ({parameter.type_name}); give {name}=...")
        return given

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(
    *, name: str | None = None, schedule: Schedule | str | None = None
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...
def pipeline(
    function: Callable[P, R] | None = None, /, *, name: str | None = None, schedule: Schedule | str | None = None
) -> Pipeline[P, R] | Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Make a pipeline of a build function. schedule: tm.cron(...), tm.every(...) ..., or a cron expression in UTC."""
    when = cron(schedule) if isinstance(schedule, str) else schedule

    def made(given: Callable[P, R]) -> Pipeline[P, R]:
        if not inspect.isfunction(given) or inspect.iscoroutinefunction(given) or inspect.isgeneratorfunction(given):
            raise BadInput(f"{given!r} cannot be a pipeline; a pipeline is a plain function that calls steps")
        return Pipeline(given, checked(name or given.__name__, "pipeline"), when)

    return made if function is None else made(function)


def sub(pipeline: Pipeline[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The steps of another pipeline as a part of this one; the same as calling it."""
    return pipeline(*args, **kwargs)


def when(flag: Any, then: Callable[[], T], otherwise: Callable[[], T] | None = None) -> T | None:
    """`then()` where flag is true, else `otherwise()`: a branch that can be exported, as an `if` cannot.

    flag: a step's result (a bool) or a value. Both branches are functions of no arguments that call steps.
    """
    flow = building.get()
    if flow is not None:
        return typing.cast("T | None", flow.when(flag, then, otherwise))
    return then() if flag else (None if otherwise is None else otherwise())


def approve(text: str, *, timeout: str | float | timedelta | None = "3d") -> bool:
    """Ask a person: True for yes, False for no, or when nobody answered in time.

    The execution ends its process and holds no worker until somebody answered (`tidemill flow approve`, the page).
    """
    flow = building.get()
    if flow is None:
        raise BadInput(
            f"approve({text!r}) asks a person, which only an execution can: run the pipeline, do not call it"
        )
    return bool(flow.approve(text, None if timeout is None else seconds(timeout, what="timeout")))


def secret(name: str) -> str:
    """The secret of that name, read where the step runs and recorded nowhere: environment TIDEMILL_SECRET_<NAME>.

    It may only be given to steps. What a step returns is recorded: do not return it.
    """
    flow = building.get()
    if flow is not None:
        return typing.cast("str", flow.secret(name))
    from tidemill.flow.tasks import read_secret

    return read_secret(name)


# ------------------------------------------------------------------------------------------------------------ inside


def _read(given: Any, parameter: Parameter, pipeline: str) -> Any:
    given = value(given)
    wanted = parameter.type
    where = f"{pipeline}.{parameter.name}"
    options = [each for each in typing.get_args(wanted) if each is not type(None)]
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        if given is None or (given == "" and len(options) < len(typing.get_args(wanted))):
            return None
        wanted = options[0] if len(options) == 1 else Any
    if typing.get_origin(wanted) is typing.Annotated:
        wanted = typing.get_args(wanted)[0]
    if typing.get_origin(wanted) is Literal:
        allowed = typing.get_args(wanted)
        if given not in allowed:
            raise BadInput(f"{where} is {given!r}; allowed are {', '.join(map(repr, allowed))}")
        return given
    plain = typing.get_origin(wanted) or wanted
    if not isinstance(plain, type) or (isinstance(given, plain) and not (plain is int and isinstance(given, bool))):
        return given
    if plain is float and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if isinstance(given, str):
        try:
            return _of_text(given, plain)
        except ValueError:
            raise WrongType(f"{where} is {given!r}; it must be {parameter.type_name}") from None
    raise WrongType(f"{where} is {given!r}; it must be {parameter.type_name}")


def _of_text(text: str, wanted: type) -> Any:
    if wanted is bool:
        flags = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in flags:
            raise ValueError(text)
        return flags[text.lower()]
    if wanted in (int, float):
        return wanted(text)
    if wanted in (datetime, date):
        return wanted.fromisoformat(text)
    if wanted in (list, tuple, dict):
        found = json.loads(text)
        if isinstance(found, dict) != (wanted is dict) or not isinstance(found, dict | list):
            raise ValueError(text)
        return wanted(found)
    raise ValueError(text)
