"""Runs beside each other: which parameters differ, and how much of a metric goes with each of them."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from tidemill.core.errors import BadInput
from tidemill.track.searching.found import Found

Method = Literal["spearman", "kruskal"]
FEWEST = 3  # runs that have both the parameter and the metric


class Importance(NamedTuple):
    """How much of a metric goes with one parameter, looked at alone.

    share: 0 to 1. rank: the rank correlation, of numbers; None of words. runs: those that have both.
    """

    name: str
    share: float
    rank: float | None
    method: Method
    runs: int


def differing(runs: Sequence[Found]) -> tuple[dict[str, list[str | None]], dict[str, str]]:
    """Parameters that differ (a run without one differs too) with each run's value, and those that are all alike."""
    names = sorted({name for run in runs for name in run.params})
    found, alike = {}, {}
    for name in names:
        values = [run.params.get(name) for run in runs]
        if len(set(values)) > 1:
            found[name] = values
        else:
            alike[name] = str(values[0])
    return found, alike


def importances(params: Mapping[str, Sequence[str | None]], metric: Sequence[float | None]) -> list[Importance]:
    """Each parameter's share of the variance of the metric's ranks, the largest first.

    params: each run's value, by name; metric: each run's. A parameter of numbers: Spearman's rank correlation, squared.
    One of words: epsilon squared of the Kruskal-Wallis test, (H - k + 1) / (n - k) for k values in n runs, at least 0:
    unlike the plain share it does not grow with the number of values. Ranks of ties are their mean.
    Sources: Spearman, 1904; Kruskal and Wallis, Journal of the American Statistical Association 47, 1952; Tomczak and
    Tomczak, Trends in Sport Sciences 21, 2014.
    """
    found = []
    for name, values in params.items():
        pairs = [(v, m) for v, m in zip(values, metric, strict=True) if v is not None and _finite(m)]
        if len(pairs) < FEWEST or len({v for v, _ in pairs}) < 2 or len({m for _, m in pairs}) < 2:
            continue
        results = [float(m) for _, m in pairs if m is not None]
        figures = [number(v) for v, _ in pairs]
        if all(each is not None for each in figures):
            rank = spearman([each for each in figures if each is not None], results)
            found.append(Importance(name, rank * rank, rank, "spearman", len(pairs)))
        else:
            share = epsilon_squared([v for v, _ in pairs], results)
            if share is not None:
                found.append(Importance(name, share, None, "kruskal", len(pairs)))
    return sorted(found, key=lambda each: (-each.share, each.name))


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Rank correlation, -1 to 1; shapes (n,). 0 where one of the two is constant.

    >>> spearman([1, 2, 3, 4], [10, 20, 30, 25])
    0.8
    """
    a, b = ranks(x), ranks(y)
    middle = (len(a) + 1) / 2
    both = sum((i - middle) * (j - middle) for i, j in zip(a, b, strict=True))
    apart = math.sqrt(sum((i - middle) ** 2 for i in a) * sum((j - middle) ** 2 for j in b))
    return both / apart if apart else 0.0


def epsilon_squared(groups: Sequence[str], y: Sequence[float]) -> float | None:
    """Effect size of the Kruskal-Wallis test, corrected for ties; None where each run is a group of its own."""
    of: dict[str, list[float]] = {name: [] for name in groups}
    for name, rank in zip(groups, ranks(y), strict=True):
        of[name].append(rank)
    n, k = len(y), len(of)
    if n <= k:
        return None
    h = 12 / (n * (n + 1)) * sum(sum(each) ** 2 / len(each) for each in of.values()) - 3 * (n + 1)
    ties = sum(many**3 - many for many in Counter(y).values())
    h /= (1.0 - ties / (n**3 - n)) or 1.0
    return min(1.0, max(0.0, (h - k + 1) / (n - k)))


def ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value, from 1; ties have their mean.

    >>> ranks([3.0, 1.0, 3.0])
    [2.5, 1.0, 2.5]
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    found, start = [0.0] * len(values), 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            found[place] = (start + end) / 2 + 1
        start = end + 1
    return found


def number(text: str | None) -> float | None:
    """A parameter's text as a finite number; None where it is none."""
    try:
        found = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def text_diff(old: str, new: str, *, most: int = 2000) -> list[tuple[Literal["same", "old", "new", "place"], str]]:
    """The lines that differ with three around them. most: lines that are returned.

    Raises BadInput for texts of more than a million characters.
    """
    if len(old) + len(new) > 1_000_000:
        raise BadInput(f"texts of {len(old) + len(new):,} characters are not compared here; at most 1,000,000")
    kinds: dict[str, Literal["same", "old", "new", "place"]] = {"-": "old", "+": "new", "@": "place"}
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3))[2:]
    return [(kinds.get(line[:1], "same"), line[1:] if line[:1] != "@" else line) for line in lines[:most]]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
