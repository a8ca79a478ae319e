"""Axes of a drawing: from values to pixels, and where the ticks are."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import NamedTuple


class Axis(NamedTuple):
    """A linear axis: value `low` is at pixel `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value, to a tenth."""
        share = 0.5 if self.high == self.low else (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def ticks(low: float, high: float, *, about: int = 4) -> list[float]:
    """Round values that cover [low, high], about so many: steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0.68, 0.77)
    [0.65, 0.7, 0.75, 0.8]
    """
    size = max(abs(low), abs(high))
    if not high - low > max(size * 1e-9, 1e-12):  # a flat line, or one whose steps a double cannot tell apart
        margin = size * 0.05 if size > 1e-12 else 0.05
        low, high = low - margin, high + margin
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(number * step, digits) for number in range(first, last + 1)]


def day_ticks(first: date, last: date, *, at_most: int = 12) -> list[tuple[date, str]]:
    """Days to name on a time axis: beginnings of months, or every nth day where the span is short.

    >>> day_ticks(date(2013, 4, 10), date(2013, 7, 2))
    [(datetime.date(2013, 5, 1), 'May'), (datetime.date(2013, 6, 1), 'Jun'), (datetime.date(2013, 7, 1), 'Jul')]
    """
    days = (last - first).days
    if days <= 75:
        step = next(step for step in (1, 2, 7, 14, 28) if days / step <= at_most)
        return [(each, f"{each.day} {each:%b}") for each in (first + timedelta(n) for n in range(0, days + 1, step))]
    months = (last.year - first.year) * 12 + last.month - first.month
    step = next(
        (step for step in (1, 2, 3, 6) if months / step <= at_most), 12 * max(1, math.ceil(months / 12 / at_most))
    )
    found = []
    for number in range(months + 1):
        year, month = divmod(first.year * 12 + first.month - 1 + number, 12)
        start = date(year, month + 1, 1)
        if first <= start <= last and month % step == 0:
            found.append((start, f"{start:%Y}" if month == 0 else f"{start:%b}"))
    return found
