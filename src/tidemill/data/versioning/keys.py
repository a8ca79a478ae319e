"""Which of some keys a dataset has already, without reading it again for each append."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import polars as pl

from tidemill.core.tables import Tables
from tidemill.core.types import Pinned
from tidemill.data.versioning import layers

Words = np.ndarray[Any, np.dtype[np.uint64]]

# 8 bytes a key: of more rows than this only those between the least and the greatest of the new keys are looked at
MOST_ROWS = 20_000_000
KEPT = 8

_lock = threading.Lock()
_known: OrderedDict[tuple[str, Pinned], list[Words]] = OrderedDict()


def taken(tables: Tables, held: layers.Content, keys: pl.Series) -> pl.Series:
    """Those of the keys that a row of the dataset has.

    The first call in a process reads the key column and keeps a 64-bit word of each key, sorted; later ones look there
    and read rows only for a key whose word is known. Words are of this process: they are never stored.
    """
    asked = keys.alias(held.key)
    if held.base.rows <= MOST_ROWS:
        words = _words(asked)
        order = np.argsort(words)  # in order, a search stays in the cache from one word to the next
        words = words[order]
        maybe = np.zeros(len(words), bool)
        for chunk in _chunks(tables, held):
            places = np.searchsorted(chunk, words)
            maybe |= chunk[np.minimum(places, len(chunk) - 1)] == words
        asked = asked.gather(order[maybe])
        if not len(asked):
            return asked
    between = pl.col(held.key).is_between(
        pl.lit(asked.min()), pl.lit(asked.max())
    )  # a filter that file statistics can answer
    there = layers.scan(tables, held, columns=[held.key], verify=False).filter(between)
    return there.join(asked.to_frame().lazy(), on=held.key, how="semi").collect()[held.key]


def appended(tables: Tables, before: Pinned, after: Pinned, keys: pl.Series) -> None:
    """Tell that the table `after` has the keys of `before` and these."""
    with _lock:
        chunks = _known.pop((tables.root, before), None)
        if chunks is None:
            return
        chunks = [*chunks, np.sort(_words(keys))]
        while len(chunks) > 1 and 2 * len(chunks[-1]) > len(chunks[-2]):  # so that they are few, and merged rarely
            chunks = [*chunks[:-2], np.sort(np.concatenate(chunks[-2:]))]
        _keep((tables.root, after), chunks)


def _chunks(tables: Tables, held: layers.Content) -> list[Words]:
    name = (tables.root, held.base)
    with _lock:
        if name in _known:
            _known.move_to_end(name)
            return _known[name]
    read = tables.scan(held.base, verify=False).select(held.key).collect()[held.key]
    chunks = [np.sort(_words(read))] if len(read) else []
    with _lock:
        _keep(name, chunks)
    return chunks


def _keep(name: tuple[str, Pinned], chunks: list[Words]) -> None:
    _known[name] = chunks
    while len(_known) > KEPT:
        _known.popitem(last=False)


def _words(keys: pl.Series) -> Words:
    return keys.hash(seed=0x7EDE).to_numpy()
