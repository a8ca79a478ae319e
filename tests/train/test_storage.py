"""Optuna's own storage suite over our graphs, and what it doesn't ask: processes that share a study and die."""

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from tidemill.core.workspace import open_workspace
from tidemill.train.storage import GraphStorage


class TestOverSqlite(StorageTestCase):
    @pytest.fixture
    def storage(self, ws):
        made = GraphStorage(ws)
        yield made
        made.close()
