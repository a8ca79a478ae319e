"""One streamed import: what it was asked, what it has seen, and its batches as the dataset takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from tidemill.core.errors import BadInput
from tidemill.core.schema import fitted, storable
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import clocks
from tidemill.data.transfer.increments import as_json
from tidemill.data.transfer.sources.source import Source

Progress = Callable[[int, int | None], None]


@dataclass(slots=True)
class Plan:
    """What one streamed import was asked, and what it has seen so far."""

    ws: Workspace
    name: str
    source: Source
    key: str
    event_time: str | None
    known_time: str | None
    mode: Literal["append", "replace"]
    incremental: str | None
    zone: str | None
    message: str
    branch: str
    since: tuple[str, Any] | None
    progress: Progress | None
    ordered: bool = False
    rows: int = 0
    largest: Any = None
    first_known: str | None = None
    schema: dict[str, pl.DataType] = field(default_factory=dict)
    made_of: Sequence[DatasetVersion] = ()

    @property
    def where(self) -> str:
        """The rows, as messages name them."""
        return f"the rows for dataset {self.name!r}"

    @property
    def times(self) -> list[str]:
        """The clocks."""
        return [column for column in (self.event_time, self.known_time) if column is not None]

    def clocked(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The clocks as times in UTC, where they are text or have no zone of their own."""
        for column in self.times:
            batch = batch.with_columns(clocks.utc(batch[column], zone=self.zone, where=self.where))
        return batch

    def fit(self, batch: pl.DataFrame) -> pl.DataFrame:
        """In the types of the dataset, or of the first batch."""
        if not self.schema:
            made = storable(batch, where=self.where)
            self.schema = dict(made.schema)
            return made
        return fitted(batch, self.schema, table=f"dataset {self.name!r}", where=self.where)

    def note(self, batch: pl.DataFrame) -> None:
        """The largest value of the incremental column, as the source gives it."""
        if self.incremental is None:
            return
        values = batch[self.incremental]
        if values.null_count():
            raise BadInput(
                f"column {self.incremental!r} of {self.where} has {values.null_count()} nulls; an incremental column "
                "has a value in each row, for example a time of change"
            )
        most = values.max()
        self.largest = most if self.largest is None else max(self.largest, most)

    def more(self) -> dict[str, Any]:
        """What the version's record says beyond the rest."""
        if self.incremental is None or self.largest is None:
            return {}
        return {"incremental": {"column": self.incremental, **as_json(self.largest)}}
