"""Scores of clusterings with intervals by half-samples: halves of the rows, drawn without replacement.

A bootstrap would draw rows twice, which makes clusters where there are none. The spread of a score over random halves
around that of all rows is its standard error: 1/(n/2) - 1/n = 1/n.
Source: Shao & Wu, A general theory for jackknife variance estimation, Annals of Statistics 17, 1989 (delete-d).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tidemill.core import scores as registry
from tidemill.core.errors import BadInput

Floats = np.ndarray[Any, np.dtype[np.float64]]
Codes = np.ndarray[Any, np.dtype[np.int64]]

MOST_ROWS = 2_000  # scores of distances grow with the square of the rows
DRAWS = 40
_ALIKE = {"silhouette": 0.0, "calinski_harabasz": 0.0}  # what one cluster for all rows is worth


def all_scores(X: Floats, y: Floats | None, labels: Floats) -> dict[str, float]:
    """Every score of these clusters that is defined; those that compare with a truth only where there is one."""
    found = {
        name: value(name, X, y, labels)
        for name in registry.names("clustering")
        if y is not None or registry.named(name).of == "features"
    }
    clusters = {"clusters": float(len(np.unique(labels[labels >= 0]))), "noise_share": float((labels < 0).mean())}
    return {name: each for name, each in found.items() if np.isfinite(each)} | clusters


def value(name: str, X: Floats, y: Floats | None, labels: Floats) -> float:
    """The score, of an even sample of 2,000 rows where there are more; NaN where it is not defined.

    One cluster for all rows has a silhouette of 0, neither near nor far. Rows of noise (-1) are taken for a cluster.
    """
    places = sample(len(labels))
    return _value(name, X[places], None if y is None else y[places], labels[places])


def sample(rows: int) -> Codes:
    """The rows that are scored, spread evenly."""
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_ROWS)).astype(np.int64))


def drawn(name: str, X: Floats, y: Floats | None, said: Mapping[str, Floats], *, seed: int) -> dict[str, Floats]:
    """The scores of 40 random halves of the rows, the same halves for all; shape (40,) each."""
    dice = np.random.default_rng(seed)
    places = sample(len(X))
    halves = [dice.choice(places, len(places) // 2, replace=False) for _ in range(DRAWS)]
    return {
        each: np.array([_value(name, X[half], None if y is None else y[half], labels[half]) for half in halves])
        for each, labels in said.items()
    }


def interval(found: float, draws: Floats, level: float, *, rows: int = 0) -> tuple[float | None, float | None, str]:
    """found -+ z standard errors, and how it was found; (None, None, why) where too few halves have a score."""
    from scipy.special import ndtri

    error = standard_error(found, draws)
    if not np.isfinite(error):
        return None, None, "the score is not defined"
    reach = float(ndtri((1 + level) / 2)) * error
    of = f" of {min(rows, MOST_ROWS):,} rows" if rows > MOST_ROWS else ""
    return found - reach, found + reach, f"half-samples{of}, {len(draws)} draws"


def standard_error(found: float, draws: Floats) -> float:
    """The root of the mean square of the draws around the score of all rows; NaN where most draws have none."""
    known = draws[np.isfinite(draws)]
    if not np.isfinite(found) or len(known) <= len(draws) / 2:
        return float("nan")
    return float(np.sqrt(((known - found) ** 2).mean()))


def p_value(difference: float, draws: Floats) -> float:
    """Two-sided, of no difference."""
    from scipy.special import ndtr

    error = standard_error(difference, draws)
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * ndtr(-abs(difference) / error))


def _value(name: str, X: Floats, y: Floats | None, labels: Floats) -> float:
    score = registry.named(name, "clustering")
    try:
        if score.of == "features":
            if len(np.unique(labels)) == 1:
                return _ALIKE.get(name, float("nan"))
            return float(score.function(X, labels))
        return float("nan") if y is None else float(score.function(y, labels))
    except BadInput:
        return float("nan")
