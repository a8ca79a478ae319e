"""Out-of-fold probabilities: each row scored by a model that has not seen it, for finding suspicious labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.types import Matrix
from tidemill.train.fit import Probabilities, call, positive
from tidemill.train.matrix import matrix
from tidemill.train.ranges import Fit, check_params

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.recipe import Recipe


def out_of_fold(
    fit: Fit,
    frame: pl.DataFrame,
    recipe: Recipe,
    *,
    target: str,
    key: str,
    time: str | None,
    params: Mapping[str, Any],
    folds: int = 5,
    seed: int = 0,
) -> Probabilities:
    """P(positive) of each row, shape (n,), by a model fitted on the other folds.

    Folds are random: labels are judged, not the future foretold, so each row may be compared with its own time's rows.
    The recipe is fitted once on all rows (it never sees the target). Raises NotEnoughRows where a fold's training rows
    hold one class only.
    """
    from tidemill.core import recipe as recipes

    check_params(fit, params)
    if folds < 2:
        raise BadInput(f"folds is {folds}; it must be 2 or more, for example 5")
    whole = matrix(frame, recipes.fit(recipe, frame), target=target, key=key, time=time)
    if len(whole) < 2 * folds:
        raise NotEnoughRows(f"{len(whole)} rows for {folds} folds; give at least {2 * folds}, or fewer folds")
    fold = np.random.default_rng(seed).permutation(np.arange(len(whole)) % folds)
    p = np.empty(len(whole))
    for number in range(folds):
        inside = fold != number
        if len(np.unique(whole.y[inside])) < 2:
            raise NotEnoughRows(f"fold {number + 1} of {folds} leaves one class only to fit on; use fewer folds")
        part = Matrix(whole.X[inside], whole.y[inside], whole.names, whole.keys[inside], whole.times[inside])
        p[~inside] = positive(call(fit, part, params, seed), whole.X[~inside])
    return p
