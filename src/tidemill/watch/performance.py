"""How good the answers were, by day or month, as far as the truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core import scores
from tidemill.core.errors import BadInput
from tidemill.core.workspace import Workspace
from tidemill.watch import log, truth

if TYPE_CHECKING:
    import polars as pl

ZERO = timedelta(0)


def daily(
    ws: Workspace,
    deployment: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    roles: Sequence[str] = log.ANSWERED,
    shift: timedelta = ZERO,
) -> list[dict[str, Any]]:
    """Scores day by day: see `by_period`."""
    frame = truth.joined(ws, deployment, since=since, until=until, roles=roles)
    return by_period(frame, "1d", shift=shift)


def monthly(
    ws: Workspace,
    deployment: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    roles: Sequence[str] = log.ANSWERED,
    shift: timedelta = ZERO,
) -> list[dict[str, Any]]:
    """Scores month by month: see `by_period`."""
    frame = truth.joined(ws, deployment, since=since, until=until, roles=roles)
    return by_period(frame, "1mo", shift=shift)


def by_period(frame: pl.DataFrame, every: str, *, shift: timedelta = ZERO) -> list[dict[str, Any]]:
    """A line {period, n, auc, log_loss, brier, predicted, observed} for each period of `at` that has rows.

    frame: columns at, score, value (0 or 1), as `truth.joined` gives. every: "1d", "1w" or "1mo". shift: added to `at`
    before it is cut into periods (UTC is cut otherwise): timedelta(hours=-5) for days in New York's winter. auc is
    None where all rows have the same value.
    """
    import polars as pl

    if every not in ("1d", "1w", "1mo"):
        raise BadInput(f"period {every!r} is not known; allowed are '1d', '1w' and '1mo'")
    cut = frame.with_columns((pl.col("at") + shift).dt.truncate(every).alias("_period"))
    lines = []
    for (period,), rows in cut.group_by("_period", maintain_order=True):
        assert isinstance(period, datetime)
        shown = f"{period:%Y-%m}" if every == "1mo" else f"{period:%Y-%m-%d}"
        lines.append({"period": shown, **scored(rows["value"].to_numpy(), rows["score"].to_numpy())})
    return sorted(lines, key=lambda line: line["period"])


def scored(y: ArrayLike, p: ArrayLike) -> dict[str, Any]:
    """n, auc, log_loss, brier, mean predicted and observed share of rows y (0 or 1) with probabilities p."""
    area = scores.auc(y, p)
    return {
        "n": len(np.asarray(y)),
        "auc": area if math.isfinite(area) else None,
        "log_loss": scores.log_loss(y, p),
        "brier": scores.brier(y, p),
        "predicted": float(np.mean(np.asarray(p, dtype=np.float64))),
        "observed": float(np.mean(np.asarray(y, dtype=np.float64))),
    }


def auc_error(auc: float, positives: int, negatives: int) -> float:
    """Standard error of an AUC from that many rows of each class.

    Source: Hanley & McNeil, The meaning and use of the area under a ROC curve, Radiology 143, 1982, formula 2.

    >>> auc_error(0.5, 1, 1)
    0.5
    """
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    total = auc * (1 - auc) + (positives - 1) * (first - auc**2) + (negatives - 1) * (second - auc**2)
    return math.sqrt(max(total, 0.0) / (positives * negatives))


def fallen(y: ArrayLike, p: ArrayLike, reference_auc: float) -> dict[str, float]:
    """Whether the AUC of these rows lies below a reference: drop, its standard error, z and one-sided p-value.

    Rows are taken as independent; days share their weather, so p-values are too small by a factor that the floor on the
    drop (Monitor.min_drop) makes harmless. A set of one class gives p = 1.
    """
    truth_values = np.asarray(y, dtype=np.float64)
    positives = int(truth_values.sum())
    negatives = len(truth_values) - positives
    if positives == 0 or negatives == 0:
        return {"auc": float("nan"), "drop": 0.0, "error": 0.0, "z": 0.0, "p": 1.0}
    area = scores.auc(truth_values, p)
    error = auc_error(area, positives, negatives)
    drop = reference_auc - area
    z = drop / error if error > 0 else 0.0
    return {"auc": area, "drop": drop, "error": error, "z": z, "p": 1.0 - NormalDist().cdf(z)}
