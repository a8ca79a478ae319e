"""What steps and users' runs kept: whether a value holds something of the person, and a table's file without them.

A step's value goes as a whole: a part of it would be served to later steps as if it were what the step gave. It is
computed again when it is asked for.
"""

from __future__ import annotations

import io
from typing import Any

from tidemill.flow import formats
from tidemill.improve.erasure.redacting import Texts

PARQUET = b"PAR1"


def says(format: str, data: bytes, texts: Texts) -> bool:
    """Whether a step's value holds one of the texts; also where it cannot be read at all."""
    if texts.within(data.decode("utf-8", errors="replace")):
        return True
    try:
        return _says(formats.decode(format, data), texts)
    except Exception:  # a library that is not installed, a format of another version
        return bool(texts.texts)


def table_without(data: bytes, texts: Texts) -> bytes | None:
    """A Parquet file without the rows that hold one of the texts; None where none does."""
    import polars as pl

    frame = pl.read_parquet(io.BytesIO(data))
    stays = [not texts.within(repr(row)) for row in frame.iter_rows()]
    names = {name: texts.out_of(name) for name in frame.columns}
    if all(stays) and all(name == new for name, new in names.items()):
        return None
    out = io.BytesIO()
    frame.filter(pl.Series(stays, dtype=pl.Boolean)).rename(names).write_parquet(out)
    return out.getvalue()


def _says(value: Any, texts: Texts) -> bool:  # Any: whatever a step gave
    kind = type(value)
    if kind.__module__.startswith("polars."):
        frame = value.collect() if hasattr(value, "collect") else value
        frame = frame.to_frame() if hasattr(frame, "to_frame") else frame
        return texts.within(repr(frame.columns)) or any(texts.within(repr(row)) for row in frame.iter_rows())
    if hasattr(value, "tolist"):
        return texts.within(repr(value.tolist()))
    if isinstance(value, dict):
        return any(_says(key, texts) or _says(each, texts) for key, each in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_says(each, texts) for each in value)
    if isinstance(value, bytes):
        return texts.within(value.decode("utf-8", errors="replace"))
    return texts.within(value if isinstance(value, str) else repr(value))
