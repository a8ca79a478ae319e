"""Pruners: what decides, from the scores that trials report as they go on, which to give up early."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.core.errors import BadInput, nearest

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

PRUNERS = {
    "none": "no trial is given up",
    "median": "below the median of the trials before it at the same step, after five whole trials",
    "halving": "not among the best quarter at steps 1, 4, 16 ... (Jamieson & Talwalkar, AISTATS 2016; Li et al. 2018)",
    "hyperband": "several brackets of halving that begin later and later (Li et al., Hyperband, JMLR 18, 2018)",
}


def pruner_named(name: str) -> BasePruner:
    """Optuna's pruner of that name. Raises BadInput naming the nearest."""
    if name not in PRUNERS:
        raise BadInput(f"no pruner {name!r}; known are {', '.join(PRUNERS)}.{nearest(name, PRUNERS)}")
    from optuna import pruners

    match name:
        case "median":
            return pruners.MedianPruner(n_startup_trials=5)
        case "halving":
            return pruners.SuccessiveHalvingPruner()
        case "hyperband":
            return pruners.HyperbandPruner()
    return pruners.NopPruner()
