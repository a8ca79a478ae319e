"""Constraints of a tuning: what the best trial must keep to, written as "log_loss <= 0.5" or "fit_s <= 10"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.core.errors import BadInput, nearest


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric, at least ("min") or at most ("max") a bound."""

    name: str
    side: str
    bound: float
    text: str

    def excess(self, metrics: Mapping[str, float]) -> float:
        """By how much it is broken; 0 or less is kept to. An undefined metric breaks it.

        >>> round(limit_of("auc >= 0.7", ["auc"]).excess({"auc": 0.6}), 3)
        0.1
        """
        if self.name not in metrics:
            return float("inf")
        over = metrics[self.name] - self.bound
        return over if self.side == "max" else -over


def limit_of(text: str, known: Sequence[str]) -> Limit:
    """Read "name <= number" or "name >= number". Raises BadInput for another form or an unknown name."""
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*(\S+)\s*", text)
    try:
        if match is None:
            raise ValueError
        name, sign, bound = match[1], match[2], float(match[3])
    except ValueError:
        raise BadInput(
            f"constraint {text!r} is not understood; write 'name <= number', such as 'fit_s <= 10'"
        ) from None
    if name not in known:
        raise BadInput(f"constraint {text!r}: no metric {name!r}; known are {', '.join(known)}.{nearest(name, known)}")
    return Limit(name, "max" if sign == "<=" else "min", bound, text)
