"""The scores of a classifier under the names that training uses; they live in the core, where monitoring finds them."""

from __future__ import annotations

from tidemill.core.scores import (
    SCORES,
    accuracy,
    all_scores,
    auc,
    brier,
    calibration,
    expected_calibration_error,
    log_loss,
    score_named,
)

__all__ = [
    "SCORES",
    "accuracy",
    "all_scores",
    "auc",
    "brier",
    "calibration",
    "expected_calibration_error",
    "log_loss",
    "score_named",
]
