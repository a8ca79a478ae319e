"""The keys of a stream of rows: whether one comes twice, in 8 bytes a row."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SEED = 0x71DE


class Keys:
    """The keys of a stream: 8 bytes each in memory, the keys themselves in a temporary folder."""

    def __init__(self) -> None:
        self._words: list[np.ndarray[Any, np.dtype[np.uint64]]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="tidemill-")

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def add(self, column: pl.Series) -> None:
        """The keys of one more batch, in which none repeats."""
        column.to_frame().write_ipc(self._part(len(self._words)), compression="lz4")
        self._words.append(column.hash(seed=SEED).to_numpy())

    def repeated(self) -> pl.Series:
        """The keys that came twice, exactly: equal words only say where to look."""
        if len(self._words) < 2:
            return pl.Series(dtype=pl.Null)
        words = np.concatenate(self._words)
        parts = len(self._words)
        self._words.clear()
        words.sort()
        twice = words[1:][words[1:] == words[:-1]]
        if not len(twice):
            return pl.Series(dtype=pl.Null)
        found = []
        for part in range(parts):
            column = pl.read_ipc(self._part(part)).to_series()
            found.append(column.filter(pl.Series(np.isin(column.hash(seed=SEED).to_numpy(), twice))))
        suspects = pl.concat(found)
        return suspects.filter(suspects.is_duplicated()).unique(maintain_order=True)

    def _part(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number:06}.arrow"
