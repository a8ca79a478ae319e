"""One series of values at regular steps, out of rows with event times: what forecasts are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.types import Matrix

Floats = np.ndarray[Any, np.dtype[np.float64]]
Times = np.ndarray[Any, np.dtype[np.int64]]

_DAY_US = 86_400_000_000
_LEAST_CORRELATION = 0.2  # below it a season is taken for chance
_LEAST_GAIN = 0.02  # a longer season must repeat better by this much than a shorter one


@dataclass(frozen=True, slots=True)
class Series:
    """Values at step 0, 1, 2 ... from `start` (microseconds since 1970), gaps filled by a line between the neighbours.

    step_us: microseconds between two values. season: steps after which they repeat, 1 for no season. mean: of the
    values that are there. rows: for each training row its step. filled: the share of steps that had no row.
    """

    values: Floats
    start: int
    step_us: int
    season: int
    mean: float
    rows: Times
    filled: float

    def steps(self, times: Times) -> Times:
        """The nearest step of each time."""
        found: Times = (times - self.start + self.step_us // 2) // self.step_us
        return found

    def ahead(self, times: Times) -> Times:
        """How many steps each time lies after the last one, 1 or more. Raises BadInput for times before that."""
        found = self.steps(times) - (len(self.values) - 1)
        if len(found) and found.min() < 1:
            early = int((found < 1).sum())
            raise BadInput(
                f"{early} of {len(times)} rows to forecast are not later than the training rows; split by time=[...]"
            )
        return found


def of_train(train: Matrix, season: int | None = None) -> Series:
    """The series of the training rows, whose order does not matter. season: by default `season_of` the values.

    The step is the median of the differences of the times. Raises NotEnoughRows below 3 rows, and BadInput for two
    rows of one step (several series in one table: forecast each alone) or a season that the rows do not hold once.
    """
    order = np.argsort(train.times, kind="stable")
    times, y = train.times[order], train.y[order]
    if len(times) < 3:
        raise NotEnoughRows(f"{len(times)} rows are no series to forecast; give 3 or more")
    step = max(1, int(np.median(np.diff(times))))
    rows = (times - times[0] + step // 2) // step
    twice = int((np.diff(rows) == 0).sum())
    if twice:
        raise BadInput(
            f"{twice} rows share their time (step: {step / 1e6:g} s) with another; a forecast takes one series with "
            "one row a step: choose the rows of one, or sum them up"
        )
    values = np.interp(np.arange(rows[-1] + 1), rows, y)
    if season is not None and not 1 <= season <= len(values):
        raise BadInput(f"season is {season} steps; it must be between 1 and the {len(values)} steps of the series")
    length = season_of(values, step) if season is None else season
    places = np.empty_like(rows)
    places[order] = rows
    return Series(values, int(times[0]), step, length, float(y.mean()), places, 1 - len(rows) / len(values))


def season_of(values: Floats, step_us: int) -> int:
    """The number of steps after which the values repeat best, 1 where they do not.

    Tried are a day, a week and a year in steps, 4, 7, 12, 24 and 52, as far as the values hold them twice: the one
    with the highest autocorrelation of the values less a line, the shorter one where they are nearly alike.
    """
    by_clock = [round(days * _DAY_US / step_us) for days in (1, 7, 365.25) if days * _DAY_US >= 2 * step_us]
    tried = sorted({each for each in [*by_clock, 4, 7, 12, 24, 52] if 2 <= each <= len(values) // 2})
    steps = np.arange(len(values))
    level = values - np.polyval(np.polyfit(steps, values, 1), steps)
    if not tried or np.ptp(level) < 1e-12 * max(1.0, float(np.abs(values).max())):
        return 1
    best, found = 1, _LEAST_CORRELATION - _LEAST_GAIN
    for length in tried:
        correlation = float(np.corrcoef(level[:-length], level[length:])[0, 1])
        if correlation > found + _LEAST_GAIN:
            best, found = length, correlation
    # Where neighbours are more alike than seasons are, it is a slow wander, not a season.
    return best if best == 1 or _returns(level, best) else 1


def _returns(level: Floats, length: int) -> bool:
    """Whether the autocorrelation rises again towards the season."""
    between = [max(1, length // 2), max(1, length // 3)]
    valley = min(float(np.corrcoef(level[:-lag], level[lag:])[0, 1]) for lag in between)
    return float(np.corrcoef(level[:-length], level[length:])[0, 1]) > valley
