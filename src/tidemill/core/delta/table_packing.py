"""How rows in order of a column are written small: that column as differences, everything compressed by Zstandard.

Source: Apache Parquet, Encodings.md (DELTA_BINARY_PACKED, DELTA_BYTE_ARRAY).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl
    from deltalake import WriterProperties


def packing(frame: pl.DataFrame, column: str) -> WriterProperties:
    """For rows in order of `column`: a million numbers in a row take some KB instead of 4 MB, names some bytes each."""
    import polars as pl
    from deltalake import ColumnProperties, WriterProperties

    kind = frame.schema[column]
    columns: dict[str, ColumnProperties] = {}
    if kind.is_integer():
        columns[column] = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
    elif kind in (pl.String, pl.Binary):
        columns[column] = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BYTE_ARRAY")
    return WriterProperties(compression="ZSTD", compression_level=3, column_properties=columns or None)
