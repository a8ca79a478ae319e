"""The keys of a stream of rows: whether one comes twice, in 8 bytes a row."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidemill.data.transfer.spool import writable

SEED = 0x71DE
Words = np.ndarray[Any, np.dtype[np.uint64]]


class Keys:
    """The keys of a stream: 8 bytes each in memory, the keys themselves in a temporary folder (in `spool`)."""

    def __init__(self, spool: Path | None = None) -> None:
        self._words: list[Words] = []
        self._parts = 0
        self._folder = tempfile.TemporaryDirectory(prefix="tidemill-", dir=spool)

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def add(self, column: pl.Series) -> None:
        """The keys of one more batch, in which none repeats. Raises NoRoom."""
        with writable(self._folder.name):
            column.to_frame().write_ipc(self._part(self._parts), compression="lz4")
        self._words.append(_words(column))
        self._parts += 1

    def repeated(self) -> pl.Series:
        """The keys that came twice, exactly: equal words only say where to look."""
        words = self._sorted()
        twice = words[1:][words[1:] == words[:-1]]
        if not len(twice):
            return pl.Series(dtype=pl.Null)
        suspects = self._of(twice)
        return suspects.filter(suspects.is_duplicated()).unique(maintain_order=True)

    def met(self, others: Iterable[pl.Series]) -> pl.Series:
        """Those of the other keys, which come in batches, that came in the stream too, exactly."""
        words = self._sorted()
        suspects = [column.filter(pl.Series(_within(_words(column), words))) for column in others]
        found = pl.concat(suspects) if suspects else pl.Series(dtype=pl.Null)
        if not len(found):
            return found
        mine = self._of(np.unique(_words(found)))
        return found.filter(found.is_in(mine.implode()))

    def _sorted(self) -> Words:
        if not self._words:
            return np.zeros(0, np.uint64)
        words = np.concatenate(self._words)
        words.sort()
        self._words = [words]
        return words

    def _of(self, words: Words) -> pl.Series:
        """The keys of these words, which are sorted."""
        found = []
        for part in range(self._parts):
            column = pl.read_ipc(self._part(part)).to_series()
            found.append(column.filter(pl.Series(_within(_words(column), words))))
        return pl.concat(found)

    def _part(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number:06}.arrow"


def _words(column: pl.Series) -> Words:
    return column.hash(seed=SEED).to_numpy()


def _within(words: Words, known: Words) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of the words are among the known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(words), np.bool_)
    found: np.ndarray[Any, np.dtype[np.bool_]] = (
        known[np.minimum(np.searchsorted(known, words), len(known) - 1)] == words
    )
    return found
