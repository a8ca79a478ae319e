"""The closed, versioned set of operations by name: a new one is a class in one file and a line here."""

from __future__ import annotations

from tidemill.core.errors import BadInput, nearest
from tidemill.core.recipe.categories import OneHot, Ordinal
from tidemill.core.recipe.definition import Operation
from tidemill.core.recipe.numbers import Fill, Keep, Scale
from tidemill.core.recipe.times import Dates

OPERATIONS: dict[str, Operation] = {
    "keep": Keep(),
    "fill": Fill(),
    "scale": Scale(),
    "one_hot": OneHot(),
    "ordinal": Ordinal(),
    "dates": Dates(),
}


def operation(name: str) -> Operation:
    """The operation of that name; BadInput names the nearest."""
    if name not in OPERATIONS:
        raise BadInput(f"no operation {name!r}; known are {', '.join(OPERATIONS)}.{nearest(name, OPERATIONS)}")
    return OPERATIONS[name]
