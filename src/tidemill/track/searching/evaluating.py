"""A filter asked of rows in memory, for what is too little to be a table of its own: models, versions."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from tidemill.track.searching.grammar import All, Expression, Not, Some, Value
from tidemill.track.searching.order import Order
from tidemill.track.searching.patterns import compiled
from tidemill.track.searching.vocabulary import Field

Has = str | int | float | None
Row = TypeVar("Row")
_ORDERS: dict[str, Callable[[Any, Any], Any]] = {  # Any: as the operators of Python are declared
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(expression: Expression | None, value_of: Callable[[Field], Has]) -> bool:
    """Whether something matches. value_of: its value of a field; None where it has none, which no comparison but IS
    NULL is true of."""
    if expression is None:
        return True
    if isinstance(expression, Not):
        return not matches(expression.part, value_of)
    if isinstance(expression, All):
        return all(matches(part, value_of) for part in expression.parts)
    if isinstance(expression, Some):
        return any(matches(part, value_of) for part in expression.parts)
    return compared(value_of(expression.field), expression.operator, expression.value)


def ordered(rows: Iterable[Row], orders: Sequence[Order], value_of: Callable[[Row, Field], Has]) -> list[Row]:
    """The rows in the order of the first of `orders`, then of the next; what has no value comes last, NaN before it;
    rows alike in all stay as they were."""
    found = list(rows)
    for order in reversed(orders):

        def key(row: Row, order: Order = order) -> tuple[int, Has]:
            value = value_of(row, order.field)
            rank = 2 if value is None else 1 if _is_nan(value) else 0
            return (rank if order.ascending else -rank), (value if rank == 0 else 0)

        found.sort(key=key, reverse=not order.ascending)
    return found


def compared(has: Has, by: str, value: Value | tuple[Value, ...] | None) -> bool:
    """Whether a value compares so; never for None, but by IS NULL."""
    if by in ("IS NULL", "IS NOT NULL"):
        return (has is None) == (by == "IS NULL")
    if has is None:
        return False
    if isinstance(value, tuple):
        return (has in value and not _is_nan(has)) == (by == "IN")
    if by in ("LIKE", "ILIKE"):
        return compiled(str(value), fold=by == "ILIKE").fullmatch(str(has)) is not None
    return bool(_ORDERS[by](has, value))


def _is_nan(has: Has) -> bool:
    return isinstance(has, float) and math.isnan(has)
