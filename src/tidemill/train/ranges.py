"""Ranges of hyperparameters, written beside the parameter: `rate: Annotated[float, tm.log(1e-3, 0.3)] = 0.1`."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from tidemill.core.errors import BadInput, WrongType, nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = float | int | str | bool | None
Fit = Callable[..., Any]  # Any: an estimator of whichever library the user chose


@dataclass(frozen=True, slots=True)
class Log:
    """Real numbers from low to high, searched evenly in their logarithm."""

    low: float
    high: float

    def holds(self, value: Value) -> bool:
        """Whether the value lies in the range."""
        return isinstance(value, float | int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Floats:
    """Real numbers from low to high, searched evenly."""

    low: float
    high: float

    def holds(self, value: Value) -> bool:
        """Whether the value lies in the range."""
        return isinstance(value, float | int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Ints:
    """Whole numbers from low to high, both included."""

    low: int
    high: int

    def holds(self, value: Value) -> bool:
        """Whether the value lies in the range."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Value, ...]

    def holds(self, value: Value) -> bool:
        """Whether it is one of them; True is not 1."""
        return any(type(value) is type(each) and value == each for each in self.values)


Range = Log | Floats | Ints | Choice
RESERVED = ("seed", "report", "checkpoints")  # parameters that a fit gets because it has them


@dataclass(frozen=True, slots=True)
class Given:
    """A condition: the range is searched only where other parameters have one of some values."""

    values: Mapping[str, tuple[Value, ...]]

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Whether it is met by these parameters."""
        return all(Choice(allowed).holds(params.get(name)) for name, allowed in self.values.items())


def given(**values: Value | tuple[Value, ...]) -> Given:
    """Search a range only where the parameters before it have these values; elsewhere its default stands.

        def fit(train, kernel: Annotated[str, tm.choice("rbf", "linear")] = "rbf",
                gamma: Annotated[float, tm.log(1e-3, 10), tm.given(kernel="rbf")] = 1.0): ...

    >>> given(kernel=("rbf", "poly")).holds({"kernel": "poly"})
    True
    """
    if not values:
        raise BadInput("given() names no parameter; for example given(kernel='rbf')")
    return Given({name: allowed if isinstance(allowed, tuple) else (allowed,) for name, allowed in values.items()})


def log(low: float, high: float) -> Log:
    """Real numbers searched evenly in their logarithm, 0 < low < high.

    >>> log(1e-3, 0.3).holds(0.1)
    True
    """
    if not (0 < low < high < math.inf):
        raise BadInput(f"log({low!r}, {high!r}) needs 0 < low < high, for example log(1e-3, 0.3)")
    return Log(float(low), float(high))


def floats(low: float, high: float) -> Floats:
    """Real numbers searched evenly, low < high."""
    if not (-math.inf < low < high < math.inf):
        raise BadInput(f"floats({low!r}, {high!r}) needs low < high, both finite, for example floats(0.5, 1.0)")
    return Floats(float(low), float(high))


def ints(low: int, high: int) -> Ints:
    """Whole numbers, both ends included, low < high."""
    if not (isinstance(low, int) and isinstance(high, int)):
        raise WrongType(f"ints({low!r}, {high!r}) needs whole numbers; for others use floats({low!r}, {high!r})")
    if low >= high:
        raise BadInput(f"ints({low!r}, {high!r}) needs low < high, for example ints(8, 128)")
    return Ints(low, high)


def choice(*values: Value) -> Choice:
    """One of these values: texts, numbers, True, False or None; at least two."""
    if len(values) < 2:
        raise BadInput(f"choice{values!r} needs at least two values, for example choice('gini', 'entropy')")
    for value in values:
        if value is not None and not isinstance(value, str | int | float | bool):
            raise WrongType(f"choice() got {value!r}, a {type(value).__name__}; allowed: text, numbers, bool, None")
    return Choice(values)


def ranges_of(fit: Fit) -> dict[str, Range]:
    """The parameters of a fit function that have a range, in order.

    The first parameter is the training Matrix. Raises BadInput where a default lies outside its range.
    """
    found: dict[str, Range] = {}
    for name, parameter in parameters_of(fit).items():
        annotation = _annotation(fit, parameter)
        if get_origin(annotation) is not Annotated:
            continue
        ranges = [extra for extra in get_args(annotation)[1:] if isinstance(extra, Log | Floats | Ints | Choice)]
        if not ranges:
            continue
        default = parameter.default
        if default is not inspect.Parameter.empty and not ranges[0].holds(default):
            raise BadInput(f"{fit_name(fit)}: default {name}={default!r} lies outside its range {ranges[0]}")
        found[name] = ranges[0]
    return found


def defaults_of(fit: Fit) -> dict[str, Value]:
    """Where a search starts: each ranged parameter's default, or the middle of its range."""
    parameters = parameters_of(fit)
    return {
        name: _middle(values) if parameters[name].default is inspect.Parameter.empty else parameters[name].default
        for name, values in ranges_of(fit).items()
    }


def conditions_of(fit: Fit) -> dict[str, Given]:
    """The conditions of the ranges that have one.

    Raises BadInput for a condition on a parameter that has no range before it, or where there is no default.
    """
    ranges = list(ranges_of(fit))
    found: dict[str, Given] = {}
    for place, name in enumerate(ranges):
        parameter = parameters_of(fit)[name]
        for extra in get_args(_annotation(fit, parameter))[1:]:
            if not isinstance(extra, Given):
                continue
            for other in extra.values:
                if other not in ranges[:place]:
                    raise BadInput(
                        f"{fit_name(fit)}: {name!r} is given {other!r}, which has no range before it; "
                        f"before it are {ranges[:place]}.{nearest(other, ranges[:place])}"
                    )
            if parameter.default is inspect.Parameter.empty:
                raise BadInput(f"{fit_name(fit)}: {name!r} is searched under a condition, so it needs a default")
            found[name] = extra
    return found


def parameters_of(fit: Fit) -> dict[str, inspect.Parameter]:
    """A fit function's parameters after the first (the training Matrix). Raises BadInput where there is no first."""
    if not callable(fit):
        raise WrongType(f"{fit!r} is no function; a fit is def fit(train: tm.Matrix, ...) -> estimator")
    parameters = list(inspect.signature(fit).parameters.values())
    if not parameters:
        raise BadInput(f"{fit_name(fit)}() takes no parameter; a fit is def fit(train: tm.Matrix, ...) -> estimator")
    return {parameter.name: parameter for parameter in parameters[1:]}


def check_params(fit: Fit, params: Mapping[str, Any]) -> None:
    """Raise BadInput for a parameter that the fit function does not have, or one without a value."""
    known = parameters_of(fit)
    open_ended = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    for name in params:
        if name not in known and not open_ended:
            raise BadInput(f"{fit_name(fit)}() has no parameter {name!r}; it has {list(known)}.{nearest(name, known)}")
    for name, parameter in known.items():
        needed = parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        if needed and parameter.default is inspect.Parameter.empty and name not in params and name not in RESERVED:
            raise BadInput(f"{fit_name(fit)}() needs a value for {name!r}; give params={{{name!r}: ...}} or a default")


def fit_name(fit: Fit) -> str:
    """The name of a fit function."""
    return str(getattr(fit, "__name__", type(fit).__name__))


def distribution(values: Range) -> BaseDistribution:
    """The range as Optuna's distribution."""
    from optuna import distributions

    match values:
        case Log(low, high):
            return distributions.FloatDistribution(low, high, log=True)
        case Floats(low, high):
            return distributions.FloatDistribution(low, high)
        case Ints(low, high):
            return distributions.IntDistribution(low, high)
        case Choice(allowed):
            return distributions.CategoricalDistribution(allowed)


def _middle(values: Range) -> Value:
    match values:
        case Log(low, high):
            return math.sqrt(low * high)
        case Floats(low, high):
            return (low + high) / 2
        case Ints(low, high):
            return (low + high) // 2
        case Choice(allowed):
            return allowed[0]


def _annotation(fit: Fit, parameter: inspect.Parameter) -> Any:  # Any: an annotation may be any object
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    # One parameter at a time: a return type that is only imported for type checkers must not hide the ranges.
    scope = dict(vars(sys.modules[fit.__module__])) if getattr(fit, "__module__", None) in sys.modules else {}
    code, closure = getattr(fit, "__code__", None), getattr(fit, "__closure__", None)
    if code is not None and closure:
        scope.update(zip(code.co_freevars, (cell.cell_contents for cell in closure), strict=True))
    holder = type("Holder", (), {"__annotations__": {parameter.name: parameter.annotation}})
    try:
        return get_type_hints(holder, globalns=scope, include_extras=True)[parameter.name]
    except NameError as error:
        if "Annotated" not in parameter.annotation:
            return None
        raise BadInput(
            f"{fit_name(fit)}: cannot read the range of {parameter.name!r} ({parameter.annotation}): {error}; "
            "import that name at the top of the module"
        ) from error
