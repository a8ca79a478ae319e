"""Scores and their intervals beside scikit-learn and SciPy, at a million rows: CPU seconds, both sides in one process.

python benchmarks/scores.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

try:
    from benchmarks.peers import Row
except ModuleNotFoundError:  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks.peers import Row

N = 1_000_000
DRAWS = 1000
PEER_DRAWS = 10  # the peer's time is scaled to DRAWS: it is a loop over draws


def cpu_s(call: Callable[[], Any], repeats: int = 3) -> float:
    """The least CPU seconds of a few calls."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return min(found)


def beside(what: str, ours: float, peer: float, name: str, target: str = "") -> Row:
    """A line of both figures."""
    return Row(what, f"{ours:.3f} s", f"{peer:.3f} s ({name})", f"{ours / peer:.3f}", target)


def rows() -> list[Row]:
    """Plain scores, bootstrap intervals, rankings and the search for weak slices."""
    from scipy import stats
    from sklearn import metrics

    from tidemill.core import scores
    from tidemill.train.scoring.intervals import interval
    from tidemill.train.scoring.slice_scores import weak_slices

    dice = np.random.default_rng(0)
    p = dice.random(N)
    y = (dice.random(N) < p).astype(float)
    found = [
        beside(f"{name} of 1M rows", cpu_s(partial(ours, y, p)), cpu_s(partial(theirs, y, p)), "scikit-learn")
        for name, ours, theirs in (
            ("AUC", scores.auc, metrics.roc_auc_score),
            ("PR-AUC", scores.pr_auc, metrics.average_precision_score),
            ("log loss", scores.log_loss, metrics.log_loss),
            ("F1", scores.f1, lambda y, p: metrics.f1_score(y, p >= 0.5)),
        )
    ]
    for name, theirs in (
        ("f1", lambda y, p: metrics.f1_score(y, p >= 0.5)),
        ("log_loss", lambda y, p: metrics.log_loss(y, p)),
        ("pr_auc", metrics.average_precision_score),
    ):
        method = "auto" if name == "pr_auc" else "bootstrap"
        ours = cpu_s(partial(interval, y, p, name, method=method, draws=DRAWS), 1)
        resampled = partial(stats.bootstrap, (y, p), theirs, n_resamples=PEER_DRAWS, method="percentile")
        peer = cpu_s(partial(resampled, paired=True, vectorized=False), 1)
        how = "closed form" if name == "pr_auc" else f"{DRAWS} draws"
        scaled = peer * DRAWS / PEER_DRAWS
        found.append(
            beside(
                f"interval of {name}, 1M rows, {how}", ours, scaled, f"scipy.stats.bootstrap, {DRAWS} draws", "seconds"
            )
        )
    gain, ranked = dice.integers(0, 4, (100_000, 10)), dice.random((100_000, 10))
    query = np.repeat(np.arange(100_000), 10)
    found.append(
        beside(
            "NDCG of 100,000 queries of 10",
            cpu_s(lambda: scores.ndcg(gain.ravel(), ranked.ravel(), groups=query), 2),
            cpu_s(lambda: metrics.ndcg_score(gain, ranked), 1),
            "scikit-learn",
        )
    )
    frame = pl.DataFrame(
        {f"c{width}": dice.integers(0, width, N).astype(str) for width in (2, 3, 5, 8, 12, 20, 40, 80)}
    )
    spent = cpu_s(lambda: weak_slices(frame, y, p, frame.columns), 1)
    tested = weak_slices(frame, y, p, frame.columns).looked_at
    found.append(Row(f"weak slices, 1M rows, 8 columns, {tested} slices", f"{spent:.3f} s", "–", "–", ""))
    return found


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row))
