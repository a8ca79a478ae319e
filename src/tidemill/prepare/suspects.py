"""Suspicious labels by confident learning, from out-of-fold probabilities.

Source: Northcutt, Jiang & Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 70, 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.scores import checked


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose label is probably wrong.

    index: its place among the rows. given, suggested: labels, 0 or 1. margin: p(suggested) - p(given), 0..1: how sure.
    """

    index: int
    given: int
    suggested: int
    margin: float


def suspects(y: ArrayLike, p: ArrayLike, *, at_most: int = 100) -> list[Suspect]:
    """The most suspicious labels, the surest first; ties by row.

    y: given labels, 0 or 1, shape (n,); p: P(1) by a model that has not seen the row, shape (n,), 0..1. A row counts
    as confidently of class j where p_j reaches the mean p_j of the rows labelled j (the paper's eq. 1 and 2; where it
    reaches both, of the likelier one). Suspects are the off-diagonal of that confident joint, ranked by margin
    (section 3.2, "prune by noise rate" takes the same order). Raises NotEnoughRows where a class has no row.

    >>> suspects([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.95, 0.9, 0.8, 0.9])
    [Suspect(index=2, given=0, suggested=1, margin=0.9)]
    """
    truth, score = checked(y, p)
    if at_most < 1:
        raise BadInput(f"at_most is {at_most}; it must be 1 or more, for example 100")
    if score.min() < 0 or score.max() > 1:
        raise BadInput(f"p ranges from {score.min():g} to {score.max():g}; give probabilities, 0..1")
    for label in (0, 1):
        if not (truth == label).any():
            raise NotEnoughRows(f"no row is labelled {label}; confident learning needs rows of both labels")
    both = np.column_stack([1 - score, score])
    limits = np.array([both[truth == label, label].mean() for label in (0, 1)])
    confident = both >= limits
    likelier = np.where(confident, both, -1.0).argmax(axis=1)
    given = truth.astype(np.int64)
    off = np.flatnonzero(confident.any(axis=1) & (likelier != given))
    margins = both[off, likelier[off]] - both[off, given[off]]
    # Below 0 the model itself prefers the given label: only the thresholds, moved by imbalance, say otherwise.
    off, margins = off[margins > 0], margins[margins > 0]
    order = np.lexsort((off, -margins))[:at_most]
    return [
        Suspect(int(off[place]), int(given[off[place]]), int(likelier[off[place]]), round(float(margins[place]), 12))
        for place in order.tolist()
    ]
