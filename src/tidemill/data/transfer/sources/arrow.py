"""Arrow files (IPC, also called Feather): read in place."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tidemill.data.transfer.sources.source import Asked, Source, lazy_source

ENDINGS = (".arrow", ".feather")


def opens(url: str) -> bool:
    """Whether this is an Arrow file."""
    return "://" not in url and url.lower().endswith(ENDINGS) and not Path(url).is_dir()


def open_(url: str, asked: Asked) -> Source:
    """The rows as the file has them."""
    rows = pl.scan_ipc(url, glob=False)
    count = int(rows.select(pl.len()).collect().item())
    return lazy_source(url, rows, asked, count=count, size_bytes=Path(url).stat().st_size)
