"""Values as people type them, in the type of the column that they are meant for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tidemill.core.errors import WrongType, require_columns
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.feature_store.views import View
from tidemill.data.quality import contract, sieve
from tidemill.data.transfer import sources
from tidemill.data.versioning import layers


def values(version: DatasetVersion, column: str, said: Sequence[Any]) -> list[Any]:
    """The values in the column's type; those that are no text stay as they are. WrongType for a text that is none."""
    require_columns([column], version.columns, where=f"dataset {version.name!r}")
    kind = contract.WRITTEN.get(version.columns[column], version.columns[column])
    texts = [each for each in said if isinstance(each, str)]
    if kind == "String" or not texts:
        return list(said)
    frame = pl.DataFrame({column: texts})
    made, wrong = sieve.typed_as(frame, contract.Contract({column: kind}), where=f"dataset {version.name!r}")
    for _, lost in wrong:
        raise WrongType(f"{frame.filter(lost)[column][0]!r} is no {kind}, as column {column!r} of {version.name!r} is")
    read = dict(zip(texts, made[column].to_list(), strict=True))
    return [read[each] if isinstance(each, str) else each for each in said]


def read(ws: Workspace, version: DatasetVersion, path: str) -> pl.DataFrame:
    """All rows of a file; a column that the dataset has is read as its type (clocks as they stand).

    Raises what `sources.open_source` raises; WrongType for a text file with values of another type.
    """
    kinds = layers.schema(ws.tables, layers.content(version))
    clocks = (version.event_time, version.known_time)
    types = {column: kind for column, kind in kinds.items() if column not in clocks}
    with sources.open_source(path, types=types) as source:
        rows = list(source.batches())
        return pl.concat(rows) if rows else pl.DataFrame(schema=dict(source.schema))


def entities(ws: Workspace, view: View, said: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The entities with their keys in the types of the datasets that the view reads."""
    made = [dict(each) for each in said]
    for source in view.sources:
        version = datasets.get(ws, source.dataset)
        for column, theirs in zip(source.by, source.keys, strict=True):
            for each in made:
                if column in each:
                    each[column] = values(version, theirs, [each[column]])[0]
    return made
