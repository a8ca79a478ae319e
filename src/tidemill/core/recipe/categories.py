"""Operations on categories (text, and whole numbers or booleans read as text): one_hot, ordinal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tidemill.core.errors import BadInput
from tidemill.core.recipe.definition import Code, Kind, State, Step, Values

AT_MOST = 50


def one_hot(*columns: str, at_most: int = AT_MOST) -> Step:
    """One 0/1 column for each of the `at_most` most common training categories; all 0 for missing and unknown ones."""
    if not isinstance(at_most, int) or at_most < 1:
        raise BadInput(f"one_hot(at_most={at_most!r}); allowed: a whole number from 1, for example {AT_MOST}")
    return Step("one_hot", columns, {"at_most": at_most})


def ordinal(*columns: str) -> Step:
    """The rank of the category among the training rows' (0 = most common); -1 for missing and unknown ones."""
    return Step("ordinal", columns)


def _ranked(values: Values) -> list[str]:
    """The categories, most common first, equals in order of text."""
    counts: dict[str, int] = dict(values.drop_nulls().value_counts().iter_rows())
    return sorted(counts, key=lambda value: (-counts[value], value))


class OneHot:
    """See one_hot()."""

    takes: tuple[Kind, ...] = ("text",)

    def learn(self, values: Values, kind: Kind, options: Mapping[str, Any]) -> State:  # noqa: ARG002
        """The categories."""
        return {"categories": _ranked(values)[: int(options["at_most"])]}

    def makes(self, column: str, options: Mapping[str, Any], state: State) -> list[str]:  # noqa: ARG002
        """column=category."""
        return [f"{column}={category}" for category in state["categories"]]

    def batch(self, values: Values, kind: Kind, options: Mapping[str, Any], state: State) -> list[Values]:  # noqa: ARG002
        """1 where equal."""
        import polars as pl

        return [
            (values == category).fill_null(value=False).cast(pl.Float64).to_numpy() for category in state["categories"]
        ]

    def row(self, value: str, kind: Kind, options: Mapping[str, Any], state: State, code: Code) -> list[str]:  # noqa: ARG002
        """1 where equal."""
        return [f"1.0 if {value} == {code.constant(category)} else 0.0" for category in state["categories"]]

    def kind_made(self, kind: Kind) -> Kind:  # noqa: ARG002
        """Numbers."""
        return "number"


class Ordinal(OneHot):
    """See ordinal()."""

    def learn(self, values: Values, kind: Kind, options: Mapping[str, Any]) -> State:  # noqa: ARG002
        """The categories in order."""
        return {"categories": _ranked(values)}

    def makes(self, column: str, options: Mapping[str, Any], state: State) -> list[str]:  # noqa: ARG002
        """The column by its name."""
        return [column]

    def batch(self, values: Values, kind: Kind, options: Mapping[str, Any], state: State) -> list[Values]:  # noqa: ARG002
        """Its rank."""
        import polars as pl

        ranks = {category: float(rank) for rank, category in enumerate(state["categories"])}
        if not ranks:
            return [np.full(len(values), -1.0)]
        return [values.replace_strict(ranks, default=-1.0, return_dtype=pl.Float64).fill_null(-1.0).to_numpy()]

    def row(self, value: str, kind: Kind, options: Mapping[str, Any], state: State, code: Code) -> list[str]:  # noqa: ARG002
        """Its rank."""
        ranks = {category: float(rank) for rank, category in enumerate(state["categories"])}
        return [f"{code.constant(ranks)}.get({value}, -1.0)"]
