"""Rows whose truth is known, and a workspace to fit them in."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import open_workspace

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


@pytest.fixture
def train():
    return make_rows(1)


@pytest.fixture
def valid():
    return make_rows(2, 400)


@pytest.fixture
def ws(tmp_path):
    opened = open_workspace(tmp_path / "w.mill")
    yield opened
    opened.close()


@pytest.fixture
def flights(ws):
    meta = {"table": "flights", "table_version": 0, "rows": 1000, "columns": {}, "key": "id"}
    with recorded(ws, "data.import", "flights") as run:
        return DatasetVersion(run.emit("dataset", "flights", digest="0" * 32, meta=meta))
