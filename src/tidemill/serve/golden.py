"""Golden rows: raw inputs kept with a model, with the features and scores that they must give for ever.

At most 256: for each column the first row without a value and those of its smallest and largest value, then rows
spread evenly. Features are stored as base64 of little-endian float64, so that not one bit is lost.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.core.ids import iso
from tidemill.serve.formats import FloatArray
from tidemill.serve.schema import Row

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1
AT_MOST = 256


def spread(frame: pl.DataFrame, at_most: int) -> pl.DataFrame:
    """At most so many rows, evenly spread over the frame, in its order."""
    if len(frame) <= at_most:
        return frame
    return _at(frame, np.unique(np.linspace(0, len(frame) - 1, at_most).astype(np.int64)).tolist())


def _at(frame: pl.DataFrame, places: list[int]) -> pl.DataFrame:
    found: pl.DataFrame = frame[places]
    return found


def choose(frame: pl.DataFrame) -> pl.DataFrame:
    """The golden rows of a frame that holds the input columns only; rows with an infinite number are left out."""
    import polars as pl

    numbers = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    if numbers:
        finite = frame.filter(~pl.any_horizontal(pl.col(name).is_infinite().fill_null(value=False) for name in numbers))
        frame = finite if len(finite) else frame
    picked: list[int] = []
    for name in frame.columns:
        column = frame[name]
        missing = column.is_null()
        for place in (missing.arg_true()[:1].to_list() or [None])[0], column.arg_min(), column.arg_max():
            if place is not None and place not in picked and len(picked) < AT_MOST // 2:
                picked.append(int(place))
    even = np.unique(np.linspace(0, len(frame) - 1, min(len(frame), AT_MOST - len(picked))).astype(np.int64))
    return _at(frame, sorted({*picked, *even.tolist()}))


def to_json(frame: pl.DataFrame, features: FloatArray, scores: FloatArray) -> dict[str, Any]:
    """The golden rows as JSON values."""
    return as_json([plain(row) for row in frame.to_dicts()], features, scores)


def as_json(rows: Sequence[Row], features: FloatArray, scores: FloatArray) -> dict[str, Any]:
    """The same for rows that are JSON values already: what `of_json` gives."""
    return {
        "format": FORMAT,
        "rows": list(rows),
        "shape": list(features.shape),
        "features": base64.b64encode(np.ascontiguousarray(features, dtype="<f8").tobytes()).decode(),
        "scores": scores.tolist(),
    }


def of_json(value: Mapping[str, Any]) -> tuple[Sequence[Row], FloatArray, FloatArray]:
    """(raw rows, features (n, d), scores (n,)) from JSON values."""
    features = np.frombuffer(base64.b64decode(value["features"]), dtype="<f8").reshape(value["shape"])
    return value["rows"], features, np.array(value["scores"], dtype=np.float64)


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a frame as a request holds it: times as ISO text in UTC, NaN as null."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:  # Any: a frame's value, then a JSON value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return iso(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value
