"""Two-sample tests of drift on counts over the same bins, and Benjamini-Hochberg across columns.

The reference is a sample too: a one-sample test that takes its shares as exact finds drift where there is none. Every
test is the extension point "drift_test": a function (reference, current) -> Drifted, on two count vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tidemill.core import extend
from tidemill.core.errors import BadInput

MIN_EXPECTED = 5.0  # Cochran, Some methods for strengthening the common chi-square tests, Biometrics 1954
MIN_EFFECT = 0.1

Counts = Sequence[int]
Array = np.ndarray[Any, np.dtype[np.float64]]


class Drifted(NamedTuple):
    """statistic: the test's. p: chance of as much under no drift, 0..1. effect: how far apart, whatever the sizes."""

    statistic: float
    p: float
    effect: float


class ColumnDrift(NamedTuple):
    """A column's test; q: its p-value after Benjamini-Hochberg; drifted: q <= alpha and effect >= the floor."""

    column: str
    statistic: float
    p: float
    q: float
    effect: float
    drifted: bool


DriftTest = Callable[[Counts, Counts], Drifted]


def g_test(reference: Counts, current: Counts) -> Drifted:
    """Two-sample G-test of homogeneity; effect: population stability index, in nats.

    reference, current: counts over the same bins, shape (k,). Bins with fewer than 5 expected rows in either sample are
    pooled. G = 2 sum O ln(O / E), chi-square with (bins - 1) degrees of freedom.
    Source: Sokal and Rohlf, Biometry, 1995, ch. 17; Cochran 1954 for the pooling.
    """
    from scipy.stats import chi2

    pooled = _pooled(reference, current)
    if pooled is None:
        return Drifted(0.0, 1.0, 0.0)
    expected = pooled.sum(axis=1, keepdims=True) * pooled.sum(axis=0, keepdims=True) / pooled.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(pooled > 0, pooled * np.log(pooled / expected), 0.0)
    statistic = max(0.0, 2.0 * float(terms.sum()))
    return Drifted(statistic, float(chi2.sf(statistic, pooled.shape[1] - 1)), _psi(pooled))


def psi_test(reference: Counts, current: Counts) -> Drifted:
    """Population stability index as the statistic; under no drift PSI / (1/n + 1/m) is chi-square, bins - 1 degrees.

    Source: Yurdakul and Naranjo, Statistical properties of the population stability index, J. Risk Model Valid. 2020.
    """
    from scipy.stats import chi2

    pooled = _pooled(reference, current)
    if pooled is None:
        return Drifted(0.0, 1.0, 0.0)
    psi = _psi(pooled)
    sizes = pooled.sum(axis=1)
    return Drifted(psi, float(chi2.sf(psi / (1 / sizes[0] + 1 / sizes[1]), pooled.shape[1] - 1)), psi)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """p-values adjusted for the false discovery rate. Source: Benjamini and Hochberg, JRSS B 57, 1995."""
    values = np.asarray(p, np.float64)
    if not len(values):
        return []
    order = np.argsort(values)
    ranked = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    out = np.empty_like(adjusted)
    out[order] = adjusted
    return [float(value) for value in out]


def drift(
    reference: Mapping[str, Counts],
    current: Mapping[str, Counts],
    *,
    test: str = "g",
    alpha: float = 0.01,
    min_effect: float = MIN_EFFECT,
) -> list[ColumnDrift]:
    """Test each column of the profile; most drifted first.

    alpha: false discovery rate over the columns. min_effect: floor on the effect, so that a big sample does not alarm
    on a trifle (0.1: "slight shift" in the usual reading of PSI: Siddiqi, Credit Risk Scorecards, 2006, ch. 10).
    Raises BadInput where the bins differ, or for an unknown test or an alpha outside 0..1.
    """
    if not 0 < alpha < 1:
        raise BadInput(f"alpha is {alpha}; allowed: above 0 and below 1, for example 0.01")
    run: DriftTest = extend.load("drift_test", test)
    for name in reference:
        if name not in current or len(current[name]) != len(reference[name]):
            raise BadInput(f"column {name!r} is not counted over the reference's bins; count it again over them")
    results = {name: run(reference[name], current[name]) for name in reference}
    adjusted = benjamini_hochberg([result.p for result in results.values()])
    found = [
        ColumnDrift(name, result.statistic, result.p, q, result.effect, q <= alpha and result.effect >= min_effect)
        for (name, result), q in zip(results.items(), adjusted, strict=True)
    ]
    return sorted(found, key=lambda one: (one.q, -one.effect, one.column))


def _pooled(reference: Counts, current: Counts) -> Array | None:
    """Both samples, shape (2, bins), with small bins pooled; None where there is nothing to compare."""
    if len(reference) != len(current):
        raise BadInput(f"counts over {len(reference)} and {len(current)} bins; count both over the same bins")
    table = np.array([reference, current], np.float64)
    if (table < 0).any():
        raise BadInput(f"a count is {table.min():g}; counts are 0 or more")
    if (table.sum(axis=1) == 0).any():
        return None
    least = table.sum(axis=1).min() / table.sum()
    small = table.sum(axis=0) * least < MIN_EXPECTED
    if small.any():
        rest = table[:, small].sum(axis=1, keepdims=True)
        table = np.hstack([table[:, ~small], rest])
        if rest.sum() * least < MIN_EXPECTED and table.shape[1] > 1:
            smallest = int(np.argmin(table[:, :-1].sum(axis=0)))
            table[:, smallest] += table[:, -1]
            table = table[:, :-1]
    return table if table.shape[1] > 1 else None


def _psi(table: Array) -> float:
    """Population stability index in nats; half a row is added to each bin, so that an empty one stays finite."""
    shares = (table + 0.5) / (table + 0.5).sum(axis=1, keepdims=True)
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
