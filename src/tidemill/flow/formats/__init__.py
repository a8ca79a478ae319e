"""Formats of values: how what a step gave becomes bytes, and a value again."""

from __future__ import annotations

import io
import json
import sys
from typing import Any


def encode(value: Any) -> tuple[str, bytes] | None:
    """The name of the format and the bytes; None where no format takes the value."""
    if isinstance(value, bytes):
        return "bytes", value
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(value, polars.DataFrame):
        into = io.BytesIO()
        value.write_ipc(into)
        return "arrow", into.getvalue()
    try:
        return "json", json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError):
        return None


def decode(name: str, data: bytes) -> Any:
    """The value."""
    if name == "bytes":
        return data
    if name == "arrow":
        import polars as pl

        return pl.read_ipc(io.BytesIO(data))
    return json.loads(data)
