"""A recipe for a first look at rows whose columns nobody has chosen yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tidemill.core import recipe as recipes
from tidemill.core.errors import BadInput, require_columns

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.recipe import Recipe

CATEGORIES = 50  # text of more values is a name or a sentence, not a category


def plain(frame: pl.DataFrame, columns: Sequence[str], *, time: str | None = None, named: bool = False) -> Recipe:
    """Numbers and true/false as they are, text of 2 to 50 values as 0/1 columns; other columns are left out.

    time: the event time, of which parts are features where there are no others. named: a person chose the columns, so
    one that would be left out is refused. Candidates see to scaling and missing values themselves. Raises
    UnknownColumn, and BadInput where no column is left.
    """
    import polars as pl

    require_columns(columns, frame.columns, where="the rows")
    numbers, texts, rest = [], [], []
    for name in columns:
        column = frame[name]
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            numbers.append(name)
        elif column.dtype == pl.String and 1 < column.drop_nulls().n_unique() <= CATEGORIES:
            texts.append(name)
        else:
            rest.append(f"{name} ({column.dtype}, {column.n_unique():,} values)")
    if named and rest:
        raise BadInput(
            f"no plain feature can be made of {', '.join(rest)}: numbers, true/false and text of 2 to {CATEGORIES} "
            "values can; leave them out, or write a recipe: tm.recipe(...)"
        )
    if not numbers and not texts and time is not None:
        return recipes.recipe(recipes.dates(time))
    if not numbers and not texts:
        raise BadInput(f"no column is left to make features of ({', '.join(rest) or 'none was given'}); name some")
    steps = ([recipes.keep(*numbers)] if numbers else []) + ([recipes.one_hot(*texts)] if texts else [])
    return recipes.recipe(*steps)
