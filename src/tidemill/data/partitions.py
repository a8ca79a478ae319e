"""The rows of a dataset version in parts, as a small value: a worker process or another machine reads its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from tidemill.core.errors import BadInput, require_columns
from tidemill.core.ids import json_digest
from tidemill.core.settings import Settings
from tidemill.core.types import Artifact, DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets

_open: dict[tuple[str, str], Workspace] = {}


@dataclass(frozen=True, slots=True)
class RowPartitions:
    """`count` parts of consecutive rows, which differ by one row at most. Pickles; reads without the other parts.

    workspace, settings: where a reader finds the rows; from another machine that is PostgreSQL and tables in S3 or on a
    shared disk. version: the artifact's id.
    """

    workspace: str
    settings: Settings
    version: str
    rows: int
    columns: tuple[str, ...]
    count: int
    digest: str

    def __len__(self) -> int:
        return self.count

    def read(self, number: int) -> pl.DataFrame:
        """The rows of part `number`, 0 to count - 1, in the order in which the version has them."""
        if not 0 <= number < self.count:
            raise BadInput(f"no part {number}; there are {self.count}, counted from 0")
        ws = _opened(self.workspace, self.settings)
        found = ws.graph.get(self.version)
        assert isinstance(found, Artifact)
        first, end = self.rows * number // self.count, self.rows * (number + 1) // self.count
        # the whole was checked when the parts were made; here it would be read once a worker
        rows = datasets.scan(ws, DatasetVersion(found), columns=self.columns, verify=False)
        return rows.slice(first, end - first).collect()


def partitions(
    ws: Workspace, version: DatasetVersion, count: int, *, columns: Sequence[str] | None = None
) -> RowPartitions:
    """The version's rows in `count` parts; columns: only these. The rows are checked against their digest here, once.

    Raises BadInput for a number of parts that is not 1 to the number of rows, UnknownColumn, Corrupt.
    """
    if not 1 <= count <= version.rows:
        raise BadInput(f"{version.name!r} has {version.rows} rows; allowed are 1 to {version.rows} parts, not {count}")
    if ws.clock is not None:
        raise BadInput("partitions are of a whole version; take them from the workspace without a clock")
    # a version's own list is in the order of the table when it was just written, of the alphabet when it was read
    wanted = tuple(datasets.scan(ws, version).collect_schema().names() if columns is None else columns)
    require_columns(wanted, version.columns, where=f"dataset {version.name!r}")
    datasets.scan(ws, version, columns=wanted).select(pl.len()).collect()
    name = json_digest(["partitions", version.digest, version.id, list(wanted), count])
    settings = replace(ws.settings, tables=ws.tables.root)
    return RowPartitions(ws.url, settings, version.id, version.rows, wanted, count, name)


def _opened(url: str, settings: Settings) -> Workspace:
    """Opened once a worker."""
    held = (url, settings.tables)
    if held not in _open:
        _open[held] = open_workspace(url, settings=settings, create=False)
    return _open[held]
