"""Tables as the bytes of an Arrow file, and back (Apache Arrow, Columnar Format, IPC file format)."""

from __future__ import annotations

import io
import sys
from typing import Any

NAMES = ("arrow", "lazy", "series")


def encode(value: Any) -> tuple[str, bytes] | None:  # Any: whatever a step returned
    """The name of the kind of table and its bytes; None for what is no table, or has columns of Python objects."""
    polars = sys.modules.get("polars")
    if polars is not None:
        if type(value) is polars.LazyFrame:
            return _named("lazy", _ipc(value.collect()))
        if type(value) is polars.DataFrame:
            return _named("arrow", _ipc(value))
        if type(value) is polars.Series:
            return _named("series", _ipc(value.to_frame()))
    return None


def decode(name: str, data: bytes) -> Any:
    """The table."""
    import polars as pl

    frame = pl.read_ipc(io.BytesIO(data))
    if name == "lazy":
        return frame.lazy()
    return frame.to_series() if name == "series" else frame


def _named(name: str, data: bytes | None) -> tuple[str, bytes] | None:
    return None if data is None else (name, data)


def _ipc(frame: Any) -> bytes | None:
    import polars as pl

    if any(each.base_type() == pl.Object for each in frame.dtypes):
        return None
    into = io.BytesIO()
    # In one chunk and with texts end to end: what lies between them, left by a filter, is not content.
    frame.rechunk().write_ipc(into, compat_level=pl.CompatLevel.oldest())
    return into.getvalue()
