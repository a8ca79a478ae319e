"""Model formats: how a fitted estimator becomes bytes that serve without the library that fitted it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
Scorer = Callable[[FloatArray], FloatArray]


class ModelFormat(Protocol):
    """An extension point ("model_format"): estimator to bytes, and bytes to a scoring function.

    Contract
        Determinism: `export` of the same estimator gives the same bytes.
        Accuracy: a loaded scorer agrees with the estimator to 1e-6 on every finite row, and on NaN where the
        estimator takes missing values.
        Threads: a scorer may be called from any thread at once; it starts none of its own.
        Safety: `load` runs no code out of the bytes (no pickle).
        Errors: BadInput for an estimator that it cannot export, naming it and what it can; Corrupt for bytes that it
        cannot read.
    `tidemill.testing.formats` is the public suite.
    """

    name: str

    def export(self, estimator: Any, n_features: int) -> bytes:  # Any: an estimator of whichever library
        """The estimator as bytes; it takes `n_features` columns."""
        ...

    def load(self, data: bytes) -> Scorer:
        """The scoring function: (n, d) float64 to (n,) float64, P(positive) or the regressed value."""
        ...
