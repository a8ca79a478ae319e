"""The three compilers of a recipe: fit (learn the state), batch (whole frames) and row (one dictionary)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.core.errors import BadInput, NotEnoughRows, WrongFormat, WrongType, require_columns
from tidemill.core.recipe.definition import Kind, Recipe, Row, State, Step, Values
from tidemill.core.recipe.operations import operation

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1
CATEGORICAL = ("one_hot", "ordinal")  # they read whole numbers and booleans as text

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


def recipe(*steps: Step) -> Recipe:
    """A recipe of these steps, not yet fitted: tm.recipe(tm.fill("temp"), tm.one_hot("carrier"))."""
    if not steps or not all(step.columns for step in steps):
        raise BadInput("a recipe needs steps, and each step columns: tm.recipe(tm.fill('temp'), tm.one_hot('carrier'))")
    for step in steps:
        operation(step.operation)
    return Recipe(tuple(steps))


def fit(recipe: Recipe, frame: pl.DataFrame | pl.LazyFrame) -> Recipe:
    """The recipe with its state learned from these rows. Raises UnknownColumn, WrongType, NotEnoughRows.

    A step may name raw columns and those that steps before it made ("local.hour").
    """
    named = list(dict.fromkeys(column for step in recipe.steps for column in step.columns))
    have = frame.collect_schema().names()
    rows = frame.lazy().select(column for column in named if column in have).collect()
    if rows.height == 0 and rows.width:
        raise NotEnoughRows("a recipe cannot be fitted on no rows; give it the training rows")
    textual = {column for step in recipe.steps if step.operation in CATEGORICAL for column in step.columns}
    needs: dict[str, Kind] = {}
    work: dict[str, Values] = {}
    kinds: dict[str, Kind] = {}
    made: list[str] = []
    steps = []
    for step in recipe.steps:
        states: list[State] = []
        for column in step.columns:
            if column not in work:
                require_columns([column], rows.columns or have, where="the rows for the recipe")
                needs[column] = kinds[column] = _kind(rows[column], column, textual)
                work[column] = _values(rows[column], needs[column])
            _check(step, column, kinds)
            states.append(operation(step.operation).learn(work[column], kinds[column], step.options))
        fitted = replace(step, states=tuple(states))
        _advance(fitted, work, kinds, made)
        steps.append(fitted)
    twice = [name for name in made if made.count(name) > 1]
    if twice:
        raise BadInput(f"feature {twice[0]!r} is made twice; name each column once a kind of step, and each part once")
    for name in made:
        if kinds[name] not in ("number", "bool"):
            raise WrongType(f"feature {name!r} is {kinds[name]}; make it numbers with one_hot, ordinal or dates")
    return Recipe(tuple(steps), needs)


def batch(recipe: Recipe, frame: pl.DataFrame) -> FloatArray:
    """The features of all rows, shape (n, d), float64, C-contiguous."""
    needs = _needs(recipe)
    require_columns(needs, frame.columns, where="the rows for the recipe")
    work = {column: _values(_cast(frame[column], kind, column), kind) for column, kind in needs.items()}
    kinds, made = dict(needs), []  # type: ignore[var-annotated]
    for step in recipe.steps:
        _advance(step, work, kinds, made)
    out = np.empty((frame.height, len(made)), np.float64)
    for place, name in enumerate(made):
        out[:, place] = work[name]
    return out


def row(recipe: Recipe) -> Row:
    """A function from one row (a mapping with the needed columns) to its features: generated straight-line Python.

    It loads no DataFrame library; numbers may be int, float, bool or None, times datetime, ISO text or microseconds; an
    absent column is a missing value. The function raises WrongType naming the column for a value of another type.
    """
    needs = _needs(recipe)
    code = _Source()
    variables: dict[str, str] = {}
    kinds, made = dict(needs), []  # type: ignore[var-annotated]
    for column, kind in needs.items():
        reader = {"number": _number, "bool": _number, "text": _text, "time": _micros}[kind]
        name = code.constant(column)
        variables[column] = code.let(f"{code.constant(reader)}(r.get({name}), {name})")
    for step in recipe.steps:
        doing = operation(step.operation)
        for column, state in zip(step.columns, step.states or (), strict=True):
            expressions = doing.row(variables[column], kinds[column], step.options, state, code)
            kind = doing.kind_made(kinds[column])
            names = doing.makes(column, step.options, state)
            _replace(made, column, names)
            for name, expression in zip(names, expressions, strict=True):
                variables[name], kinds[name] = code.let(expression), kind
    return code.function([variables[name] for name in made])


def feature_names(recipe: Recipe) -> tuple[str, ...]:
    """The names of the d features, in order."""
    _needs(recipe)
    made: list[str] = []
    for step in recipe.steps:
        for column, state in zip(step.columns, step.states or (), strict=True):
            _replace(made, column, operation(step.operation).makes(column, step.options, state))
    return tuple(made)


def needs(recipe: Recipe) -> Mapping[str, Kind]:
    """The raw input columns and their kinds: "number", "text", "time" or "bool"."""
    return dict(_needs(recipe))


def to_json(recipe: Recipe) -> dict[str, Any]:
    """As plain JSON, the format first."""
    return {
        "format": FORMAT,
        "needs": None if recipe.needs is None else dict(recipe.needs),
        "steps": [
            {
                "operation": step.operation,
                "columns": list(step.columns),
                "options": dict(step.options),
                "states": None if step.states is None else [dict(state) for state in step.states],
            }
            for step in recipe.steps
        ],
    }


def from_json(value: Mapping[str, Any]) -> Recipe:
    """A recipe from its JSON. Raises WrongFormat for a newer format, BadInput for an unknown operation."""
    if value.get("format") != FORMAT:
        raise WrongFormat(f"recipe format {value.get('format')!r}, this tidemill reads {FORMAT}: pip install -U it")
    steps = []
    for each in value["steps"]:
        operation(each["operation"])
        states = None if each["states"] is None else tuple(each["states"])
        steps.append(Step(each["operation"], tuple(each["columns"]), dict(each["options"]), states))
    return Recipe(tuple(steps), value["needs"])


# ------------------------------------------------------------------------------------------------------------ inside


class _Source:
    """The source of a row function as it grows."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"NAN": math.nan}

    def constant(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def let(self, expression: str) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"    {name} = {expression}")
        return name

    def function(self, results: list[str]) -> Row:
        source = "\n".join(["def features(r):", *self.lines, f"    return [{', '.join(results)}]"])
        space: dict[str, Any] = dict(self.names)
        # Only our own templates and numbered names are in the source: a recipe's texts enter as constants.
        exec(compile(source, "<recipe>", "exec"), space)  # noqa: S102
        made: Row = space["features"]
        return made


def _needs(recipe: Recipe) -> Mapping[str, Kind]:
    if recipe.needs is None:
        raise BadInput("this recipe is not fitted; fit it on the training rows first: recipe.fit(recipe, rows)")
    return recipe.needs


def _replace(made: list[str], column: str, names: list[str]) -> None:
    """In the list of features: what a column was made into takes its place."""
    if column in made and names == [column]:
        return
    if column in made:
        place = made.index(column)
        made[place : place + 1] = names
    else:
        made.extend(names)


def _advance(step: Step, work: dict[str, Values], kinds: dict[str, Kind], made: list[str]) -> None:
    doing = operation(step.operation)
    for column, state in zip(step.columns, step.states or (), strict=True):
        columns = doing.batch(work[column], kinds[column], step.options, state)
        kind = doing.kind_made(kinds[column])
        names = doing.makes(column, step.options, state)
        _replace(made, column, names)
        for name, values in zip(names, columns, strict=True):
            work[name], kinds[name] = values, kind


def _check(step: Step, column: str, kinds: Mapping[str, Kind]) -> None:
    takes = operation(step.operation).takes
    if kinds[column] not in takes:
        raise WrongType(f"{step.operation}({column!r}): the column is {kinds[column]}, allowed are {', '.join(takes)}")


def _kind(column: pl.Series, name: str, textual: set[str]) -> Kind:
    import polars as pl

    kind = column.dtype
    if kind in (pl.String, pl.Categorical, pl.Enum) or isinstance(kind, pl.Enum):
        return "text"
    if name in textual and (kind.is_integer() or kind == pl.Boolean):
        return "text"
    if kind == pl.Boolean:
        return "bool"
    if (kind.is_numeric() and not kind.is_decimal()) or kind == pl.Null:
        return "number"
    if isinstance(kind, pl.Datetime | pl.Date):
        return "time"
    raise WrongType(f"column {name!r} is {kind}; a recipe takes numbers (no decimals), text, booleans, times")


def _cast(column: pl.Series, kind: Kind, name: str) -> pl.Series:
    import polars as pl

    have = column.dtype
    if have == pl.Null:
        return column
    numeric = (have.is_numeric() and not have.is_decimal()) or have == pl.Boolean
    fits = {
        "number": numeric,
        "bool": numeric,
        "text": have in (pl.String, pl.Boolean) or isinstance(have, pl.Categorical | pl.Enum) or have.is_integer(),
        "time": isinstance(have, pl.Datetime | pl.Date),
    }[kind]
    if not fits:
        raise WrongType(f"column {name!r} is {have}; the recipe was fitted on {kind}")
    return column


def _values(column: pl.Series, kind: Kind) -> Values:
    import polars as pl

    if kind in ("number", "bool"):
        return np.ascontiguousarray(column.cast(pl.Float64).fill_null(math.nan).to_numpy(), np.float64)
    if kind == "text":
        return column.cast(pl.String)
    return column.cast(pl.Datetime("us", getattr(column.dtype, "time_zone", None))).to_physical().cast(pl.Int64)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _number(value: Any, column: str) -> float:
    if type(value) is float:
        return value
    if value is None:
        return math.nan
    if not isinstance(value, Real):
        raise WrongType(f"column {column!r} is {value!r}; the recipe needs a number")
    try:
        return float(value)
    except OverflowError:
        raise WrongType(f"column {column!r} is a number of more than 308 digits; clean it first") from None


def _text(value: Any, column: str) -> str | None:
    if value is None or type(value) is str:
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if not isinstance(value, Integral):
        raise WrongType(f"column {column!r} is {value!r}; the recipe needs text (or a whole number or boolean)")
    return str(value)


def _micros(value: Any, column: str) -> int | None:
    """A time in microseconds: from datetime or date, ISO text, or microseconds. Without a zone: as it stands."""
    if value is None or type(value) is int:
        return value
    if type(value) is str:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise WrongType(
                f"column {column!r} is {value!r}; the recipe needs a time such as 2013-04-01T05:30Z"
            ) from None
    elif type(value) is date:
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise WrongType(f"column {column!r} is {value!r}; the recipe needs a time, ISO text or microseconds")
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return int((value - _EPOCH) // _MICROSECOND)
