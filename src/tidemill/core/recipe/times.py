"""Operations on times: dates. A time is microseconds since 1970; all parts are integer arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tidemill.core.errors import BadInput
from tidemill.core.recipe.definition import Code, Kind, State, Step, Values

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
PARTS = ("hour", "minute_of_day", "weekday", "day", "month", "day_of_year")


def dates(*columns: str, parts: tuple[str, ...] = ("hour", "weekday", "month")) -> Step:
    """Parts of a time, as numbers: hour 0..23, minute_of_day 0..1439, weekday 1..7 (Monday is 1), day 1..31, month
    1..12, day_of_year 1..366. A time with a zone counts in UTC; missing gives NaN."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise BadInput(f"dates has no part {unknown[0]!r}; allowed are {', '.join(PARTS)}")
    return Step("dates", columns, {"parts": list(parts)})


def part_of(us: Any, part: str) -> Any:  # Any: an int or an int64 array: the same arithmetic for both
    """The part of a time in microseconds. Calendar: days_to_civil of H. Hinnant, "chrono-compatible algorithms"."""
    if part == "hour":
        return us // (60 * MINUTE_US) % 24
    if part == "minute_of_day":
        return us // MINUTE_US % 1440
    days = us // DAY_US
    if part == "weekday":
        return (days + 3) % 7 + 1
    shifted = days + 719_468
    era = shifted // 146_097
    day_of_era = shifted - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    from_march = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * from_march + 2) // 153
    if part == "day":
        return from_march - (153 * march_month + 2) // 5 + 1
    month = (march_month + 2) % 12 + 1
    if part == "month":
        return month
    year = year_of_era + era * 400 + (month <= 2) * 1
    leap = ((year % 4 == 0) * 1) * ((year % 100 != 0) * 1) + (year % 400 == 0) * 1
    after_february = (from_march + 59 + leap) * ((month > 2) * 1)
    return after_february + (from_march - 306) * ((month <= 2) * 1) + 1


class Dates:
    """See dates()."""

    takes: tuple[Kind, ...] = ("time",)

    def learn(self, values: Values, kind: Kind, options: Mapping[str, Any]) -> State:  # noqa: ARG002
        """Nothing to learn."""
        return {}

    def makes(self, column: str, options: Mapping[str, Any], state: State) -> list[str]:  # noqa: ARG002
        """column.part."""
        return [f"{column}.{part}" for part in options["parts"]]

    def batch(self, values: Values, kind: Kind, options: Mapping[str, Any], state: State) -> list[Values]:  # noqa: ARG002
        """The parts of each time."""
        us = values.fill_null(0).to_numpy()
        missing = values.is_null().to_numpy()
        return [np.where(missing, np.nan, part_of(us, part).astype(np.float64)) for part in options["parts"]]

    def row(self, value: str, kind: Kind, options: Mapping[str, Any], state: State, code: Code) -> list[str]:  # noqa: ARG002
        """The parts of one time."""
        function = code.constant(part_of)
        return [
            f"NAN if {value} is None else float({function}({value}, {code.constant(part)}))"
            for part in options["parts"]
        ]

    def kind_made(self, kind: Kind) -> Kind:  # noqa: ARG002
        """Numbers."""
        return "number"
