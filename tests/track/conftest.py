"""A workspace, and an import, a fit that failed, and a run inside a run, as runs of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    yield made
    made.close()


@pytest.fixture
def people(ws: Workspace) -> DatasetVersion:
    frame = pl.DataFrame({"person": ["p1", "p2"], "email": ["ada@example.org", "bob@example.org"], "age": [36, 79]})
    return datasets.add(ws, "people", frame, key="person")


@pytest.fixture
def story(ws: Workspace, people: DatasetVersion) -> Workspace:
    """people@1 imported; a tuning with a trial that learns a model; a fit that fails."""
    with (
        recorded(ws, "train.tune", "search", inputs=[("people", people)]) as outer,
        recorded(ws, "train.fit", "tree", inputs=[("people", people)], params={"depth": 3}, parent=outer.run.id) as run,
    ):
        run.result({"auc": 0.9, "loss": float("inf"), "odd": float("nan")})
        run.emit_json("model", "churn", {"leaves": 3}, meta={"rows": "x"}, slot="model")
    with pytest.raises(ValueError, match="no luck"), recorded(ws, "train.fit", "bush", inputs=[("people", people)]):
        raise ValueError("no luck")
    return ws
