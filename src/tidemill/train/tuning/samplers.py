"""Samplers: what proposes the next trial's parameters; the extension point "sampler" takes others.

A sampler is a function of a seed that gives one of Optuna's. It is called anew for each trial and each parameter, with
a seed that follows from the search's seed, the trial's number and the parameter's name: so a killed search need not
replay what was drawn. What a sampler must know of earlier trials it finds in the study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator; the first ten trials are random.

    Source: Bergstra, Bardenet, Bengio & Kégl, Algorithms for hyper-parameter optimization, NeurIPS 2011.
    """
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed)


def random(seed: int) -> BaseSampler:
    """Independent uniform draws. Source: Bergstra & Bengio, Random search, JMLR 13, 2012."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)
