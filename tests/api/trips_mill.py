"""Rows, a fit and a running server for the tests of the API: plain functions, imported by name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import uvicorn

import tidemill as tm

TOKEN = "a token of this test only, 0123456789"
FIRST = datetime(2013, 4, 1, tzinfo=UTC)


def trips(rows: int = 900) -> pl.DataFrame:
    """Rows whose label hangs on one number."""
    random = np.random.default_rng(5)
    distance = random.uniform(0, 100, rows)
    begun = [FIRST - timedelta(hours=rows - place) for place in range(rows)]
    return pl.DataFrame(
        {
            "trip": [f"t{place}" for place in range(rows)],
            "begun": begun,
            "distance": distance,
            "borough": [("Bronx", "Queens")[place % 2] for place in range(rows)],
            "late": (distance + random.normal(0, 20, rows) > 50).astype(int),
        }
    )


def linear(train: tm.Matrix, strength: float = 1.0) -> object:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength).fit(train.X, train.y)


@contextmanager
def listening(app: object) -> Iterator[str]:
    """Serve an application from a thread; yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", access_log=False))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the server ended at its start"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
