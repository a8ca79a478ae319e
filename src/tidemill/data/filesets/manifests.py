"""A manifest: a table with a row per file, joined on the column `path`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from tidemill.core.errors import BadInput, require_columns
from tidemill.data.transfer import sources

PATH = "path"
SHOWN = 5


class Joined(NamedTuple):
    """The files' rows with the manifest's columns, and what found no partner."""

    rows: pl.DataFrame
    rows_without_file: list[str]
    files_without_row: list[str]


def join(files: pl.DataFrame, manifest: Path) -> Joined:
    """Each file's row with the manifest's columns, null where the manifest has no row for it.

    Paths in the manifest count from the folder. Raises UnknownColumn without a column `path`, BadInput for a path that
    is there twice or missing, for a column that files have already, and when no path fits at all.
    """
    table = sources.read(manifest)
    require_columns([PATH], table.columns, where=f"manifest {manifest}")
    taken = [column for column in table.columns if column != PATH and column in files.columns]
    if taken:
        raise BadInput(f"manifest {manifest} has column {taken[0]!r}, which every file has already; rename it")
    table = table.with_columns(pl.col(PATH).cast(pl.String).str.strip_prefix("./"))
    if table[PATH].null_count():
        raise BadInput(f"manifest {manifest} has {table[PATH].null_count()} rows without a path; fill them")
    twice = table[PATH].filter(table[PATH].is_duplicated()).unique(maintain_order=True).to_list()
    if twice:
        raise BadInput(f"manifest {manifest} has {len(twice)} paths more than once, such as {_shown(twice)}; keep one")
    lost = table.join(files, on=PATH, how="anti", maintain_order="left")[PATH].to_list()
    if len(lost) == table.height:
        raise BadInput(
            f"no path of manifest {manifest} is a file, such as {_shown(lost)}; paths count from the folder, which "
            f"has {_shown(files[PATH].to_list())}"
        )
    bare = files.join(table, on=PATH, how="anti", maintain_order="left")[PATH].to_list()
    return Joined(files.join(table, on=PATH, how="left", maintain_order="left"), lost, bare)


def _shown(values: list[Any]) -> str:
    return ", ".join(map(repr, values[:SHOWN]))
