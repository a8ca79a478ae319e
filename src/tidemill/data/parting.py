"""Which part of a split a row belongs to: a number in [0, 1) from the hash of its key, so that no row moves for others.

The hash is of (salt, value as text), the same on every machine and in every version: two 64-bit words of BLAKE2b and
splitmix64 (core.rowhash).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tidemill.core.errors import BadInput
from tidemill.core.rowhash import row_words

Floats = np.ndarray[Any, np.dtype[np.float64]]
Codes = np.ndarray[Any, np.dtype[np.int64]]


def places(column: pl.Series, salt: str) -> Floats:
    """A number in [0, 1) for each value, shape (n,): equal values have equal numbers, evenly spread over values."""
    words, _ = row_words(column.cast(pl.String).alias(f"split/{salt}").to_frame())
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def parts(frame: pl.DataFrame, step: Mapping[str, Any]) -> Codes:
    """The part of each row, shape (n,): 0 for the first of step["shares"], and so on.

    step: by (the column whose values stay together), shares (adding up to 1), salt, even (cut by rank, not by the
    number itself, so that parts have just their shares of the values) and within (a column: even in each of its values,
    missing ones being a value of their own).
    """
    numbers = places(frame[step["by"]], step["salt"])
    if step["within"] is not None:
        numbers = _ranked(numbers, places(frame[step["within"]], f"{step['salt']}/start"))
    elif step["even"]:
        numbers = _ranked(numbers, np.full(len(numbers), 0.5))
    edges = np.cumsum(step["shares"])[:-1]
    return np.searchsorted(edges, numbers, side="right").astype(np.int64)


def keep(frame: pl.DataFrame, step: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of the parts step["keep"], in their order."""
    return frame.filter(pl.Series(np.isin(parts(frame, step), step["keep"])))


def checked_shares(shares: Sequence[float]) -> list[float]:
    """The shares, each above 0 and adding up to 1. Raises BadInput for others."""
    given = [float(share) for share in shares]
    if len(given) < 2 or not all(share > 0 for share in given) or abs(sum(given) - 1) > 1e-9:
        raise BadInput(f"shares are {given}; give two or more above 0 that add up to 1, for example [0.8, 0.2]")
    return given


def _ranked(numbers: Floats, starts: Floats) -> Floats:
    """The numbers as evenly spread ranks within each stratum: of m distinct ones the i-th is (i + start) / m.

    starts: in [0, 1), equal for the rows of one stratum: drawn, so that many strata of few rows keep the shares, too
    (systematic sampling with a random start; Cochran, Sampling Techniques, 3rd edition, 1977, ch. 8).
    """
    if len(numbers) == 0:
        return numbers
    order = np.lexsort((numbers, starts))
    new_stratum = np.r_[True, np.diff(starts[order]) != 0]
    new_value = np.r_[True, np.diff(numbers[order]) != 0] | new_stratum
    count = np.cumsum(new_value) - 1  # distinct values so far, over all strata
    first = np.maximum.accumulate(np.where(new_stratum, count, 0))
    stratum = np.cumsum(new_stratum) - 1
    sizes = np.bincount(stratum[new_value])[stratum]
    spread = np.empty(len(numbers))
    spread[order] = (count - first + starts[order]) / sizes
    return spread
