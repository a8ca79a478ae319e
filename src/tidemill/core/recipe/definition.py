"""What a recipe is: an ordered list of steps from a closed set of operations, with what they learned, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal["number", "text", "time", "bool"]
State = Mapping[str, Any]  # Any: JSON values
Values = (
    Any  # numbers: float64 array (n,), NaN where missing; text: Polars String series; time: Int64 series, microseconds
)


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on some columns. states: what was learned, one a column, None before the fit."""

    operation: str
    columns: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    states: tuple[State, ...] | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in order; each sees what the steps before it made of a column.

    needs: the raw input columns and their kinds, known after the fit. The features are the columns that the steps made,
    in the order in which they were first made; `fill` and `scale` keep a column's name and place, so they chain.
    """

    steps: tuple[Step, ...]
    needs: Mapping[str, Kind] | None = None

    @property
    def fitted(self) -> bool:
        """Whether it has learned its state."""
        return self.needs is not None


class Code(Protocol):
    """Where an operation puts constants of the generated row function."""

    def constant(self, value: Any) -> str:
        """The name under which the generated code finds the value."""
        ...


class Operation(Protocol):
    """One operation on one column, three ways: learned, on a whole column, and as Python source for one value.

    Batch and row must give the same bits: only +, -, *, comparisons and integer arithmetic, in the same order.
    """

    takes: tuple[Kind, ...]

    def learn(self, values: Values, kind: Kind, options: Mapping[str, Any]) -> State:
        """What is learned from the training column, as JSON."""
        ...

    def makes(self, column: str, options: Mapping[str, Any], state: State) -> list[str]:
        """The names of the columns that it makes."""
        ...

    def batch(self, values: Values, kind: Kind, options: Mapping[str, Any], state: State) -> list[Values]:
        """Those columns, for all rows."""
        ...

    def row(self, value: str, kind: Kind, options: Mapping[str, Any], state: State, code: Code) -> list[str]:
        """Those columns for one row: Python expressions of the variable named `value`."""
        ...

    def kind_made(self, kind: Kind) -> Kind:
        """The kind of the columns made."""
        ...


Row = Callable[[Mapping[str, Any]], list[float]]
