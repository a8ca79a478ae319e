"""Where to cut probabilities into yes and no: by what mistakes cost, or by a precision or recall that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.scores.checking import Floats, block_ends, checked, weights_of
from tidemill.train.scoring.intervals import wilson


@dataclass(frozen=True, slots=True)
class Threshold:
    """A cut: rows with p >= threshold are called positive (infinity: none is).

    Shares of the rows given: selected, precision (None where none is selected), recall (None where none is positive),
    each with its Wilson interval at 95 %. cost: a row, at this cut; cost_never, cost_always: where no or every row is
    called positive. calibrated: the cut that would be cheapest if p were calibrated.
    """

    threshold: float
    cost: float
    cost_never: float
    cost_always: float
    calibrated: float
    selected: float
    precision: float | None
    precision_interval: tuple[float, float]
    recall: float | None
    recall_interval: tuple[float, float]
    rows: int

    def as_json(self) -> dict[str, Any]:  # Any: numbers and pairs
        """The threshold as a JSON object; a threshold that no row reaches is null."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {**found, "threshold": self.threshold if np.isfinite(self.threshold) else None}


def cheapest(
    y: ArrayLike,
    p: ArrayLike,
    *,
    false_positive: float = 1.0,
    false_negative: float = 1.0,
    true_positive: float = 0.0,
    true_negative: float = 0.0,
    weights: ArrayLike | None = None,
) -> Threshold:
    """The cut of least mean cost on these rows; among equally cheap ones the highest.

    y: 0 or 1, p: finite, weights: 0 or more, all of shape (n,). Costs are of one row, in any unit; a gain is negative.
    Choose on validation rows: on the rows that it was chosen on, the cost looks better than it will be. Compare with
    `calibrated`: far off, p is not calibrated, or there are too few rows.

    Raises BadInput unless being wrong costs more than being right, for either class.
    Source: Elkan, The foundations of cost-sensitive learning, IJCAI 2001.

    >>> cheapest([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.8], false_negative=10).threshold
    0.3
    """
    if false_positive <= true_negative or false_negative <= true_positive:
        raise BadInput(
            f"a false positive costs {false_positive:g} and a true negative {true_negative:g}, a false negative "
            f"{false_negative:g} and a true positive {true_positive:g}; being wrong must cost more than being right"
        )
    cuts, cells = _cells(y, p, weights)
    costs = cells @ np.array([true_negative, false_positive, false_negative, true_positive]) / cells.sum(axis=1)
    best = int(np.argmin(costs))
    wrong, missed = false_positive - true_negative, false_negative - true_positive
    return _threshold(cuts, cells, costs, best, wrong / (wrong + missed), len(np.asarray(y)))


def reaching(
    y: ArrayLike,
    p: ArrayLike,
    *,
    precision: float | None = None,
    recall: float | None = None,
    weights: ArrayLike | None = None,
) -> Threshold:
    """The cut of highest recall with at least this precision, or of highest precision with at least this recall.

    Shapes as in `cheapest`; costs are those of 1 a mistake. Raises BadInput unless exactly one of both is given, 0..1;
    NotEnoughRows where no cut reaches it (it names the best), or no row is positive.

    >>> reaching([0, 1, 0, 1], [0.1, 0.4, 0.5, 0.8], recall=0.5).threshold
    0.8
    """
    asked = precision if recall is None else recall
    if (precision is None) == (recall is None) or asked is None or not 0 <= asked <= 1:
        raise BadInput(
            f"precision is {precision} and recall {recall}; give one of them, 0 to 1, for example recall=0.9"
        )
    cuts, cells = _cells(y, p, weights)
    hits, said, true = cells[1:, 3], cells[1:, 1] + cells[1:, 3], cells[0, 2]
    if true == 0:
        raise NotEnoughRows(f"none of {len(np.asarray(y))} rows is positive; choose a threshold on more rows")
    precisions = np.divide(hits, said, out=np.zeros(len(said)), where=said > 0)
    recalls = hits / true
    reached, wanted = (recalls, precisions) if precision is None else (precisions, recalls)
    enough = np.flatnonzero(reached >= asked)
    if len(enough) == 0:
        raise NotEnoughRows(f"no threshold has a precision of {asked:g}; the best is {reached.max():.3g}")
    best = 1 + int(enough[np.argmax(wanted[enough])])
    costs = (cells[:, 1] + cells[:, 2]) / cells.sum(axis=1)
    return _threshold(cuts, cells, costs, best, 0.5, len(np.asarray(y)))


def _cells(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """Every cut from "no row" down, and its true negatives, false positives, false negatives and true positives."""
    truth, score = checked(y, p)
    given = weights_of(weights, len(truth))
    order = np.argsort(-score, kind="stable")
    heavy = np.ones(len(truth)) if given is None else given[order]
    ends = block_ends(score[order])
    hits = np.concatenate([[0.0], np.cumsum(heavy * truth[order])[ends]])
    said = np.concatenate([[0.0], np.cumsum(heavy)[ends]])
    false = said - hits
    cells = np.stack([false[-1] - false, false, hits[-1] - hits, hits], axis=1)
    return np.concatenate([[np.inf], score[order][ends]]), cells


def _threshold(cuts: Floats, cells: Floats, costs: Floats, best: int, calibrated: float, rows: int) -> Threshold:
    hits, said, true = cells[best, 3], cells[best, 1] + cells[best, 3], cells[0, 2]
    scale = rows / cells[best].sum()  # weighted rows stand for as many as there are
    return Threshold(
        float(cuts[best]),
        float(costs[best]),
        float(costs[0]),
        float(costs[-1]),
        calibrated,
        float(said / cells[best].sum()),
        float(hits / said) if said > 0 else None,
        wilson(hits * scale, said * scale),
        float(hits / true) if true > 0 else None,
        wilson(hits * scale, true * scale),
        rows,
    )
