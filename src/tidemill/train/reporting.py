"""What a fit says while it goes on: `report(step, model)` in a fit that has a parameter `report`.

    def fit(train: tm.Matrix, report: tm.Report, rate: Annotated[float, tm.log(1e-3, 0.3)] = 0.1) -> Booster:
        for step in range(100):
            booster.update()
            report(step, booster)          # a poor trial ends here

Under a tuning the model is scored on the validation rows; a plain fit, which has none, only logs numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tidemill.core.errors import TidemillError
from tidemill.core.recording import Recorder


class Pruned(TidemillError):
    """A trial was given up early because others were better at the same step."""


class Report:
    """Reports a model, or its score, at a step; raises Pruned where the trial is to be given up."""

    def __init__(
        self,
        run: Recorder | None,
        *,
        score: Callable[[Any], float] | None = None,
        name: str = "score",
        poor: Callable[[int, float], bool] | None = None,
    ) -> None:
        """score: of a model on the validation rows. name: of the logged series. poor: whether to give up now."""
        self._run, self._score, self._name, self._poor = run, score, name, poor

    def __call__(self, step: int, model: Any) -> float:
        """Report a fitted model, or a number: the score. Returns the score, NaN where nothing scores models."""
        if isinstance(model, int | float | np.number):
            value = float(model)
        else:
            value = float("nan") if self._score is None else float(self._score(model))
        if self._run is not None and np.isfinite(value):
            self._run.log(self._name, value, step)
        if self._poor is not None and self._poor(step, value):
            raise Pruned(f"given up at step {step}: {self._name} {value:.6g} is poor beside the other trials")
        return value


class NoCheckpoints:
    """Where no run keeps checkpoints: there is none, and none is kept. See tidemill.train.resuming.Checkpoints."""

    def save(self, step: int, state: Any) -> None:
        """Keep nothing."""

    def newest(self) -> None:
        """None."""
