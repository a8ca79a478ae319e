"""Scores by slice: where a model is weaker than its average says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput, require_columns
from tidemill.core.scores import Floats, auc, brier, checked, log_loss

if TYPE_CHECKING:
    import polars as pl

AT_MOST = 50  # slices a column: more could not be read


def by_slice(
    frame: pl.DataFrame, y: ArrayLike, p: ArrayLike, columns: Sequence[str], *, min_rows: int = 50
) -> list[dict[str, Any]]:
    """Scores of each value of each column: a line {column, value, rows, observed, predicted, auc, log_loss, brier}.

    frame: n rows; y, p: shape (n,), in the frame's order. Times are cut into months; numbers of more than 12 values
    into quarters. observed: share of y = 1; predicted: mean p. auc is None where a slice holds one class only. Values
    of fewer than `min_rows` rows, and those after the 50 most frequent, come together as "(other)"; missing ones are
    "(missing)". Most rows first. Raises UnknownColumn, BadInput.
    """
    truth, score = checked(y, p)
    require_columns(columns, frame.columns, where="the rows")
    if frame.height != len(truth):
        raise BadInput(f"{frame.height} rows but {len(truth)} truths; give the frame whose rows y and p belong to")
    lines: list[dict[str, Any]] = []
    for column in columns:
        for value, rows in _slices(texts_of(frame[column]).to_list(), min_rows):
            lines.append({"column": column, "value": value, **_line(truth[rows], score[rows])})
    return lines


def _line(truth: Floats, score: Floats) -> dict[str, Any]:
    area = auc(truth, score)
    return {
        "rows": len(truth),
        "observed": float(truth.mean()),
        "predicted": float(score.mean()),
        "auc": area if np.isfinite(area) else None,
        "log_loss": log_loss(truth, score),
        "brier": brier(truth, score),
    }


def texts_of(column: pl.Series) -> pl.Series:
    """Each row's slice of a column, as `by_slice` cuts it, as text without gaps."""
    import polars as pl

    if column.dtype.is_temporal() and column.dtype != pl.Time and not isinstance(column.dtype, pl.Duration):
        texts = column.dt.strftime("%Y-%m")
    elif column.dtype.is_numeric() and column.n_unique() > 12:
        texts = _quarters(column)
    else:
        texts = column.cast(pl.String)
    return texts.fill_null("(missing)")


def _quarters(column: pl.Series) -> pl.Series:
    import polars as pl

    numbers = column.cast(pl.Float64).fill_nan(None)
    known = numbers.drop_nulls().to_numpy()
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75])) if len(known) else np.empty(0)
    names = [f"<= {edges[0]:g}"] if len(edges) else []
    names += [f"{low:g} to {high:g}" for low, high in pairwise(edges.tolist())]
    names += [f"> {edges[-1]:g}"] if len(edges) else []
    places = np.searchsorted(edges, numbers.fill_null(0.0).to_numpy())
    texts = pl.Series(column.name, names or [""], dtype=pl.String).gather(places)
    return texts.zip_with(numbers.is_not_null(), pl.Series([None], dtype=pl.String))


def _slices(texts: list[str], min_rows: int) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.int64]]]]:
    names, places, counts = np.unique(np.asarray(texts, dtype=object), return_inverse=True, return_counts=True)
    order = np.lexsort((np.arange(len(names)), -counts))
    shown = [place for place in order.tolist() if counts[place] >= min_rows][:AT_MOST]
    for place in shown:
        yield str(names[place]), np.flatnonzero(places == place)
    rest = np.flatnonzero(~np.isin(places, shown))
    if len(rest):
        yield "(other)", rest
