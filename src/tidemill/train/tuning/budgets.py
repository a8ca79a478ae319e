"""What a tuning may spend: time on the clock, or money for the time of its trials."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.core.errors import BadInput


@dataclass(frozen=True, slots=True)
class Budget:
    """At most so much; None is no limit. No trial is begun after it is spent; those that go on end.

    time_s: seconds since the call. cost: of all trials of the study, earlier calls' too, in the currency of
    price_per_hour: what a trial costs while it goes on.
    """

    time_s: float | None = None
    cost: float | None = None
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.time_s is not None and not self.time_s > 0:
            raise BadInput(f"time_s is {self.time_s!r}; give seconds above 0, for example 600")
        if (self.cost is None) != (self.price_per_hour is None):
            raise BadInput("cost needs price_per_hour, and the other way round: cost=5.0, price_per_hour=1.2")
        if self.cost is not None and not (self.cost > 0 and (self.price_per_hour or 0) > 0):
            raise BadInput(f"cost {self.cost!r} at {self.price_per_hour!r} an hour: both must be above 0")

    def is_spent(self, elapsed_s: float, trials_s: float) -> bool:
        """Whether no further trial may begin, after so long, and so many seconds of trials.

        >>> Budget(cost=1.0, price_per_hour=3600.0).is_spent(0.0, 1.0)
        True
        """
        if self.time_s is not None and elapsed_s >= self.time_s:
            return True
        return self.cost is not None and trials_s / 3600 * (self.price_per_hour or 0.0) >= self.cost
