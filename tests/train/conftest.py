"""Rows whose truth is known, and a workspace to fit them in."""

import pytest
from late_rows import make_rows

from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import open_workspace


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
