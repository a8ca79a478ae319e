"""Samplers: what proposes the next trial's parameters; the extension point "sampler" takes others."""

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
