"""Delta tables that are there already: a folder with a `_delta_log`, at its newest version."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from tidemill.data.transfer.sources.source import Asked, Source, lazy_source, unreadable

LOG = "_delta_log"


def opens(url: str) -> bool:
    """Whether this is a Delta table in a folder."""
    return "://" not in url and (Path(url) / LOG).is_dir()


def open_(url: str, asked: Asked) -> Source:
    """The rows of the newest version, which stays the one that is read, whatever is committed meanwhile."""
    return of_table(url, asked, None)


def of_table(url: str, asked: Asked, options: dict[str, str] | None) -> Source:
    """The same for a table wherever it is."""
    try:
        table = DeltaTable(url, storage_options=options)
        rows = pl.scan_delta(table)
        count = int(rows.select(pl.len()).collect().item())
        size = sum(int(each) for each in pl.DataFrame(table.get_add_actions(flatten=True))["size_bytes"])
    except (DeltaError, OSError) as error:
        raise unreadable(url, error) from error
    return lazy_source(f"{url}@{table.version()}", rows, asked, count=count, size_bytes=size)
