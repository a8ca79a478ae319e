"""One streamed import: what it was asked, what it has seen, and its batches as the dataset takes them."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl
from polars.exceptions import PolarsError

from tidemill.core.errors import BadInput, WrongType, nearest
from tidemill.core.schema import fitted, storable
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
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
            values = batch[column]
            if values.dtype == pl.String and values.null_count() < len(values):
                values = _times(values, self.where)
            if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is None:
                if self.zone is None:
                    raise WrongType(
                        f"column {column!r} of {self.where} has times without a zone; say which zone they are in: "
                        "zone='UTC'"
                    )
                values = _in_zone(values, self.zone, self.where)
            batch = batch.with_columns(values.alias(column))
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


def _times(values: pl.Series, where: str) -> pl.Series:
    """Text as times, in UTC where it names an offset."""
    try:
        read = values.str.to_datetime(time_unit="us", strict=False)
    except pl.exceptions.ComputeError:  # not even the first of them is one
        read = pl.Series(values.name, [None] * len(values), pl.Datetime("us"))
    if read.null_count() > values.null_count():
        bad = values.filter(read.is_null() & values.is_not_null())[0]
        raise WrongType(f"column {values.name!r} of {where} holds {bad!r}, which is no time; mend it")
    return read


def _in_zone(values: pl.Series, zone: str, where: str) -> pl.Series:
    """The times of that zone's clocks, in UTC. BadInput for no such zone, or times that it had twice or not at all."""
    try:
        return values.dt.replace_time_zone(zone).dt.convert_time_zone("UTC")
    except PolarsError as error:
        known = zoneinfo.available_timezones()
        if zone not in known:
            raise BadInput(
                f"time zone {zone!r} is not known; write one such as UTC or Europe/London.{nearest(zone, known)}"
            ) from None
        raise BadInput(
            f"column {values.name!r} of {where}: {str(error).splitlines()[0]}; give times with their offset from UTC, "
            "such as 2013-11-03T01:30-05:00"
        ) from error
