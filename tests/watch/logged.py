"""What the tests of watch share: the first day, and how a prediction is named."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def prediction_id(key: str, deployment: str = "d") -> str:
    """As serve.lineup names it."""
    return hashlib.sha256(f"{deployment}|{key}".encode()).hexdigest()[:32]
