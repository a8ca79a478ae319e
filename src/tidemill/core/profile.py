"""Profiles: how often a column's values fall into bins that were frozen on the training rows. Counts are mergeable.

The training run writes bins and counts, the model carries them, serving and monitoring count into the same bins. A
number has at most 32 bins between quantiles of the training rows and one for missing; a text its 31 most common
categories, one for all others (new ones among them) and one for missing. Times have no bins: they always drift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.core.errors import BadInput, WrongFormat, WrongType, require_columns

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1
AT_MOST = 32
MISSING, OTHER = "(missing)", "(other)"


@dataclass(frozen=True, slots=True)
class ColumnBins:
    """edges: inner edges of a number's bins, ascending; bin i: edges[i-1] < x <= edges[i]. categories: a text's."""

    edges: tuple[float, ...] | None = None
    categories: tuple[str, ...] | None = None

    @property
    def labels(self) -> list[str]:
        """The bins' names, the missing one last."""
        if self.categories is not None:
            return [*self.categories, OTHER, MISSING]
        edges = self.edges or ()
        names = [f"<= {edge:g}" for edge in edges]
        return [*names, f"> {edges[-1]:g}" if edges else "all", MISSING]


Bins = Mapping[str, ColumnBins]
Counts = Mapping[str, tuple[int, ...]]


def bins_of(frame: pl.DataFrame, *, at_most: int = AT_MOST) -> dict[str, ColumnBins]:
    """Bins for each column of numbers, text or booleans; times and nested columns are left out.

    at_most: bins of a column besides the missing one: at_most quantile bins of a number, or the at_most - 1 most common
    categories and one for all others.
    """
    import polars as pl

    if at_most < 2:
        raise BadInput(f"bins_of(at_most={at_most}); allowed: from 2, for example {AT_MOST}")
    bins: dict[str, ColumnBins] = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype.is_numeric():
            bins[name] = ColumnBins(
                edges=_edges(column.cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy(), at_most)
            )
        elif column.dtype in (pl.String, pl.Boolean) or isinstance(column.dtype, pl.Categorical | pl.Enum):
            counted: dict[str, int] = dict(column.cast(pl.String).drop_nulls().value_counts().iter_rows())
            ranked = sorted(counted, key=lambda value: (-counted[value], value))
            bins[name] = ColumnBins(categories=tuple(ranked[: at_most - 1]))
    return bins


def _edges(values: np.ndarray[Any, np.dtype[np.float64]], at_most: int) -> tuple[float, ...]:
    if not len(values):
        return ()
    quantiles = np.quantile(values, np.arange(1, at_most) / at_most, method="inverted_cdf")
    inner = np.unique(quantiles[quantiles < values.max()])
    return tuple(float(edge) for edge in inner if math.isfinite(edge))  # JSON knows no infinity


def count(bins: Bins, frame: pl.DataFrame) -> dict[str, tuple[int, ...]]:
    """How many rows of the frame fall into each bin. Raises UnknownColumn; WrongType for text in place of numbers."""
    import polars as pl

    require_columns(bins, frame.columns, where="the rows to count")

    counts: dict[str, tuple[int, ...]] = {}
    for name, column_bins in bins.items():
        column = frame[name]
        if column_bins.categories is None:
            if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
                raise WrongType(f"column {name!r} is {column.dtype}; its bins are of numbers")
            counts[name] = _count_numbers(column.cast(pl.Float64).fill_null(math.nan).to_numpy(), column_bins)
        else:
            found: dict[str | None, int] = dict(column.cast(pl.String).value_counts().iter_rows())
            counts[name] = _count_texts(found, column_bins)
    return counts


def count_rows(bins: Bins, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    """The same for rows as dictionaries; needs no DataFrame library. An absent column counts as missing.

    Raises WrongType for a text in place of a number.
    """
    counts: dict[str, tuple[int, ...]] = {}
    for name, column_bins in bins.items():
        values = [row.get(name) for row in rows]
        if column_bins.categories is None:
            wrong = next((value for value in values if isinstance(value, str)), None)
            if wrong is not None:
                raise WrongType(f"column {name!r} is {wrong!r}; its bins are of numbers")
            numbers = np.array([math.nan if value is None else value for value in values], np.float64)
            counts[name] = _count_numbers(numbers, column_bins)
        else:
            found: dict[str | None, int] = {}
            for value in values:
                text = None if value is None else _as_text(value)
                found[text] = found.get(text, 0) + 1
            counts[name] = _count_texts(found, column_bins)
    return counts


def merge(one: Counts, other: Counts) -> dict[str, tuple[int, ...]]:
    """The counts of both; associative and commutative. BadInput where the bins differ."""
    if one.keys() != other.keys() or any(len(one[name]) != len(other[name]) for name in one):
        raise BadInput("counts over different bins cannot be merged; count the rows again over the same bins")
    return {name: tuple(a + b for a, b in zip(one[name], other[name], strict=True)) for name in one}


def bins_to_json(bins: Bins) -> dict[str, Any]:
    """As plain JSON, the format first."""
    columns = {
        name: {"edges": list(each.edges)} if each.edges is not None else {"categories": list(each.categories or ())}
        for name, each in bins.items()
    }
    return {"format": FORMAT, "columns": columns}


def bins_from_json(value: Mapping[str, Any]) -> dict[str, ColumnBins]:
    """Bins from their JSON."""
    _require_format(value)
    return {
        name: ColumnBins(
            edges=tuple(each["edges"]) if "edges" in each else None,
            categories=tuple(each["categories"]) if "categories" in each else None,
        )
        for name, each in value["columns"].items()
    }


def counts_to_json(counts: Counts) -> dict[str, Any]:
    """As plain JSON, the format first."""
    return {"format": FORMAT, "columns": {name: list(each) for name, each in counts.items()}}


def counts_from_json(value: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Counts from their JSON."""
    _require_format(value)
    return {name: tuple(each) for name, each in value["columns"].items()}


def _require_format(value: Mapping[str, Any]) -> None:
    if value.get("format") != FORMAT:
        raise WrongFormat(f"profile format {value.get('format')!r}, this tidemill reads {FORMAT}: upgrade tidemill")


def _count_numbers(values: np.ndarray[Any, np.dtype[np.float64]], bins: ColumnBins) -> tuple[int, ...]:
    edges = np.array(bins.edges or (), np.float64)
    missing = np.isnan(values)
    places = np.searchsorted(edges, values[~missing], side="left")
    counts = np.bincount(places, minlength=len(edges) + 1)
    return (*(int(each) for each in counts), int(missing.sum()))


def _count_texts(found: Mapping[str | None, int], bins: ColumnBins) -> tuple[int, ...]:
    categories = bins.categories or ()
    known = [found.get(category, 0) for category in categories]
    missing = found.get(None, 0)
    return (*known, sum(found.values()) - sum(known) - missing, missing)


def _as_text(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    return str(value)
