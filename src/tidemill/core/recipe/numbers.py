"""Operations on numbers: keep, fill, scale. A missing number is NaN."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from tidemill.core.errors import BadInput
from tidemill.core.recipe.definition import Code, Kind, State, Step, Values

HOWS = ("median", "mean", "most_common")


def keep(*columns: str) -> Step:
    """The numbers as they are."""
    return Step("keep", columns)


def fill(*columns: str, how: str | float = "median") -> Step:
    """Fill missing values. how: "median", "mean", "most_common" (text: only this), or a value."""
    if how not in HOWS and not isinstance(how, str) and not (isinstance(how, int | float) and math.isfinite(how)):
        raise BadInput(f"fill(how={how!r}); allowed: {', '.join(HOWS)}, a number or a text")
    return Step("fill", columns, {"how": how})


def scale(*columns: str) -> Step:
    """(x - mean) * (1 / standard deviation) of the training rows; a constant column becomes 0.

    The reciprocal is stored and multiplied: a division rounds otherwise in a batch than in a row.
    """
    return Step("scale", columns)


class Keep:
    """See keep()."""

    takes: tuple[Kind, ...] = ("number", "bool")

    def learn(self, values: Values, kind: Kind, options: Mapping[str, Any]) -> State:  # noqa: ARG002
        """Nothing to learn."""
        return {}

    def makes(self, column: str, options: Mapping[str, Any], state: State) -> list[str]:  # noqa: ARG002
        """The same column."""
        return [column]

    def batch(self, values: Values, kind: Kind, options: Mapping[str, Any], state: State) -> list[Values]:  # noqa: ARG002
        """As it is."""
        return [values]

    def row(self, value: str, kind: Kind, options: Mapping[str, Any], state: State, code: Code) -> list[str]:  # noqa: ARG002
        """As it is."""
        return [value]

    def kind_made(self, kind: Kind) -> Kind:
        """A number."""
        return "number" if kind == "bool" else kind


class Scale(Keep):
    """See scale()."""

    def learn(self, values: Values, kind: Kind, options: Mapping[str, Any]) -> State:  # noqa: ARG002
        """Mean and reciprocal of the population standard deviation, missing values left out."""
        known = values[~np.isnan(values)]
        if not len(known):
            return {"mean": 0.0, "reciprocal": 0.0}
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = float(known.mean()), float(known.std())
        _require_finite(known, mean, deviation)
        return {"mean": mean, "reciprocal": 1.0 / deviation if deviation > 1e-300 else 0.0}

    def batch(self, values: Values, kind: Kind, options: Mapping[str, Any], state: State) -> list[Values]:  # noqa: ARG002
        """Subtract, then multiply."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinite * 0 is NaN, in a row as well
            return [(values - state["mean"]) * state["reciprocal"]]

    def row(self, value: str, kind: Kind, options: Mapping[str, Any], state: State, code: Code) -> list[str]:  # noqa: ARG002
        """Subtract, then multiply."""
        return [f"({value} - {code.constant(state['mean'])}) * {code.constant(state['reciprocal'])}"]


class Fill(Keep):
    """See fill()."""

    takes: tuple[Kind, ...] = ("number", "bool", "text")

    def learn(self, values: Values, kind: Kind, options: Mapping[str, Any]) -> State:
        """The value to fill in."""
        how = options["how"]
        if how not in HOWS:
            if isinstance(how, str) != (kind == "text"):
                raise BadInput(f"fill(how={how!r}) does not fit a column of {kind}; allowed: {HOWS} or a value")
            return {"value": how if kind == "text" else float(how)}
        if kind == "text":
            if how != "most_common":
                raise BadInput(f"fill(how={how!r}) needs numbers; for text use how='most_common' or a text")
            counted = Counter(value for value in values.to_list() if value is not None)
            return {"value": min(counted, key=lambda value: (-counted[value], value)) if counted else ""}
        known = values[~np.isnan(values)]
        if not len(known):
            return {"value": 0.0}
        with np.errstate(over="ignore", invalid="ignore"):
            if how == "most_common":
                distinct, counts = np.unique(known, return_counts=True)
                value = float(distinct[np.argmax(counts)])
            else:
                value = float(np.median(known) if how == "median" else known.mean())
        _require_finite(known, value)
        return {"value": value}

    def batch(self, values: Values, kind: Kind, options: Mapping[str, Any], state: State) -> list[Values]:  # noqa: ARG002
        """Where missing, the value."""
        if kind == "text":
            return [values.fill_null(state["value"])]
        return [np.where(np.isnan(values), state["value"], values)]

    def row(self, value: str, kind: Kind, options: Mapping[str, Any], state: State, code: Code) -> list[str]:  # noqa: ARG002
        """Where missing, the value."""
        missing = f"{value} is None" if kind == "text" else f"{value} != {value}"
        return [f"{code.constant(state['value'])} if {missing} else {value}"]


def _require_finite(known: Values, *learned: float) -> None:
    """What is learned is written as JSON, which knows no infinity."""
    if not all(math.isfinite(value) for value in learned):
        raise BadInput(
            f"a recipe cannot learn from numbers as large as {np.abs(known).max():g}; clean the column first"
        )
