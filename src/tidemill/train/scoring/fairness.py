"""Whether a classifier treats groups of people alike: each group's shares with intervals, and their gaps.

Which of these should be alike is a decision of people: where groups differ in how often y is 1, equal selection, equal
errors and calibration cannot all hold (Kleinberg, Mullainathan & Raghavan, Inherent trade-offs in the fair
determination of risk scores, 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.core.errors import BadInput, NotEnoughRows, nearest
from tidemill.core.scores.checking import Floats, checked
from tidemill.train.scoring.intervals import Interval, interval, t_interval, wilson


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `rows`, with its Wilson interval; value is None for no rows."""

    hits: int
    rows: int
    value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class GroupScores:
    """One group. All shares are of its rows.

    observed: y = 1; selected: called positive; recall (true positive rate): called positive where y = 1;
    false_alarms (false positive rate): called positive where y = 0; precision: y = 1 where called positive.
    off: mean of y - p (above 0: p is too low for this group), with a Student's t interval off_low..off_high.
    calibration_error: the expected one over ten bins, None for p outside 0..1; it is larger in smaller groups, its
    interval (bootstrap) is not moved by that.
    """

    group: str
    rows: int
    observed: Share
    selected: Share
    recall: Share
    false_alarms: Share
    precision: Share
    off: float
    off_low: float
    off_high: float
    calibration_error: Interval | None


@dataclass(frozen=True, slots=True)
class Gap:
    """A share of one group less that of the reference, with an interval that holds for all gaps of its measure at once.

    measure: "selected", "recall", "false_alarms" or "precision".
    """

    measure: str
    group: str
    difference: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves 0 out."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Fairness:
    """Groups by name, each one's gaps to the reference, and the largest differences between any two groups.

    demographic_parity: of shares selected; selected_ratio: the smallest of them over the largest (four fifths is a rule
    of US hiring); equal_opportunity: of recall; equalised_odds: of recall or false alarms, the larger;
    calibration: of the mean of y - p. None where a group has no row to say. left_out: groups of too few rows.
    """

    reference: str
    threshold: float
    level: float
    groups: tuple[GroupScores, ...]
    gaps: tuple[Gap, ...]
    demographic_parity: float
    selected_ratio: float | None
    equal_opportunity: float | None
    equalised_odds: float | None
    calibration: float
    left_out: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:  # Any: nested numbers and text
        """The whole as a JSON object."""
        return asdict(self)


_MEASURES: dict[str, Callable[[GroupScores], Share]] = {
    "selected": lambda each: each.selected,
    "recall": lambda each: each.recall,
    "false_alarms": lambda each: each.false_alarms,
    "precision": lambda each: each.precision,
}


def fairness(
    y: ArrayLike,
    p: ArrayLike,
    group: ArrayLike,
    *,
    threshold: float = 0.5,
    level: float = 0.95,
    reference: str | None = None,
    min_rows: int = 30,
) -> Fairness:
    """Compare groups of rows. y: 0 or 1, p: finite, group: its name (missing is a group too), all of shape (n,).

    Rows with p >= threshold are called positive. reference: the group that others are compared with, by default the
    largest. Groups below min_rows are left out, and named. Gaps have Newcombe's interval of a difference of shares, at
    a confidence shared among the groups (Bonferroni), so that all of one measure hold together with `level`.

    Raises NotEnoughRows for fewer than two groups; BadInput for shapes, a level outside 0..1, an unknown reference.
    Sources: Hardt, Price & Srebro, Equality of opportunity in supervised learning, NIPS 2016; Newcombe, Interval
    estimation for the difference between independent proportions (method 10), Statistics in Medicine 17, 1998.
    """
    truth, score = checked(y, p)
    texts = np.array([_text(each) for each in _listed(group)], dtype=object)
    if texts.shape != truth.shape:
        raise BadInput(f"group has shape {texts.shape} for {len(truth)} rows; give one group a row")
    if not 0 < level < 1 or min_rows < 2:
        raise BadInput(f"level is {level} and min_rows {min_rows}; allowed are 0 to 1 (0.95) and two rows or more")
    names, places, counts = np.unique(texts, return_inverse=True, return_counts=True)
    kept = [place for place in np.argsort(-counts, kind="stable").tolist() if counts[place] >= min_rows]
    if len(kept) < 2:
        raise NotEnoughRows(
            f"{len(kept)} groups of {min_rows} rows or more, of {len(names)}; give more rows, or a lower min_rows"
        )
    known = [str(names[place]) for place in kept]
    if reference is not None and reference not in known:
        raise BadInput(f"no group {reference!r}; there are {', '.join(known)}.{nearest(reference, known)}")
    base = known[0] if reference is None else reference
    groups = tuple(
        _scores(str(names[place]), truth[places == place], score[places == place], threshold, level) for place in kept
    )
    odds = [_spread(groups, name) for name in ("recall", "false_alarms")]
    shares = [each.selected.hits / each.selected.rows for each in groups]
    return Fairness(
        base,
        threshold,
        level,
        groups,
        _gaps(groups, base, level),
        max(shares) - min(shares),
        min(shares) / max(shares) if max(shares) > 0 else None,
        odds[0],
        None if odds[0] is None or odds[1] is None else max(odds[0], odds[1]),
        max(each.off for each in groups) - min(each.off for each in groups),
        tuple(str(names[place]) for place in range(len(names)) if place not in kept),
    )


def _listed(group: ArrayLike) -> list[Any]:  # Any: names of any type
    given: NDArray[Any] = np.asarray(group)
    return list(given.tolist()) if given.ndim == 1 else []


def _text(name: Any) -> str:  # Any: as above
    return "(missing)" if name is None or (isinstance(name, float) and np.isnan(name)) else str(name)


def _scores(name: str, truth: Floats, p: Floats, threshold: float, level: float) -> GroupScores:
    said, true = p >= threshold, truth == 1

    def share(hits: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Share:
        count, of = int((hits & rows).sum()), int(rows.sum())
        return Share(count, of, count / of if of else None, *wilson(count, of, level))

    off = truth - p
    mean, error = float(off.mean()), float(off.std(ddof=1) / np.sqrt(len(off)))
    everyone = np.ones(len(truth), dtype=bool)
    return GroupScores(
        name,
        len(truth),
        share(true, everyone),
        share(said, everyone),
        share(said, true),
        share(said, ~true),
        share(true, said),
        mean,
        *t_interval(mean, error, len(off) - 1, level),
        interval(truth, p, "calibration_error", level=level) if p.min() >= 0 and p.max() <= 1 else None,
    )


def _gaps(groups: tuple[GroupScores, ...], base: str, level: float) -> tuple[Gap, ...]:
    other = next(each for each in groups if each.group == base)
    each_level = 1 - (1 - level) / (len(groups) - 1)
    found = []
    for measure, of in _MEASURES.items():
        theirs = of(other)
        for group in groups:
            mine = of(group)
            if group is other or mine.value is None or theirs.value is None:
                continue
            low, high = wilson(mine.hits, mine.rows, each_level)
            their_low, their_high = wilson(theirs.hits, theirs.rows, each_level)
            difference = mine.value - theirs.value
            down = np.hypot(mine.value - low, their_high - theirs.value)
            up = np.hypot(high - mine.value, theirs.value - their_low)
            found.append(Gap(measure, group.group, difference, float(difference - down), float(difference + up)))
    return tuple(found)


def _spread(groups: tuple[GroupScores, ...], measure: str) -> float | None:
    values = [_MEASURES[measure](each).value for each in groups]
    known = [value for value in values if value is not None]
    return max(known) - min(known) if len(known) == len(values) else None
