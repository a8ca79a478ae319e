"""Scores as sums over rows: what each row adds, and how the sums become the score.

Most scores are a function of a few sums (of losses, of the cells of a confusion matrix, of bins). Written so, one
definition gives the score, its weighted form, its spread by linearisation, and thousands of bootstrap draws at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tidemill.core.scores.checking import Codes, Floats


@dataclass(frozen=True, slots=True)
class Parts:
    """What n rows add: columns, shape (c, n); and, where sums are kept apart by cell, each row's cell, shape (n,).

    Totals have shape (cells, c). Without `codes` there is one cell.
    """

    columns: Floats
    codes: Codes | None = None
    cells: int = 1

    def totals(self, weights: Floats | None = None) -> Floats:
        """The sums over rows, shape (cells, c), each row counted `weights` times."""
        columns = self.columns if weights is None else self.columns * weights
        if self.codes is None:
            sums: Floats = columns.sum(axis=1)[None, :]  # along contiguous rows: numpy then adds pairwise
            return sums
        return np.stack([np.bincount(self.codes, each, self.cells) for each in columns], axis=1)


Finish = Callable[[Floats], Floats]  # (..., cells, c) -> (...): one score for each set of totals


def ratio(totals: Floats) -> Floats:
    """Second sum over first, per set of totals; NaN where the first is 0."""
    below, above = totals[..., 0, 0], totals[..., 0, 1]
    out: Floats = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)
    return out


def mean_parts(values: Floats) -> Parts:
    """Parts of the mean of one value a row, for `ratio`."""
    return Parts(np.stack([np.ones(len(values)), values]))


def whole(totals: Floats, finish: Finish) -> float:
    """The one score of one set of totals, as a float."""
    return float(finish(totals))
