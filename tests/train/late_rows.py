"""Rows whose truth is known: whether a flight is late."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

START = datetime(2013, 1, 1, tzinfo=UTC)


def make_rows(seed, n=600):
    """n rows: late depends on distance and carrier, and on chance."""
    dice = np.random.default_rng(seed)
    distance = dice.normal(1000, 300, n)
    unknown = dice.random(n) < 0.05
    carrier = dice.choice(["AA", "UA", "DL"], n)
    logit = (distance - 1000) / 250 + np.where(carrier == "UA", 1.0, -0.5)
    return pl.DataFrame(
        {
            "id": [f"{seed}-{row}" for row in range(n)],
            "at": [START + timedelta(hours=row) for row in range(n)],
            "distance": [None if lost else value for value, lost in zip(distance, unknown, strict=True)],
            "carrier": carrier,
            "late": dice.random(n) < 1 / (1 + np.exp(-logit)),
        }
    )
