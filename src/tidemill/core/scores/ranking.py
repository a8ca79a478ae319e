"""Scores of rankings: whether what is relevant to a query stands at the top of its list.

y: how relevant each item is, 0 or more, shape (n,); p: its score, higher is nearer to the top, shape (n,); groups: the
query of each item, shape (n,), by default one query. Items of equal p count as in every order equally often. Each
query counts alike; one without a relevant item counts 0. All raise BadInput, WrongType and NotEnoughRows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput
from tidemill.core.scores.checking import Codes, Floats, block_ends, numbers


def ndcg(y: ArrayLike, p: ArrayLike, *, groups: ArrayLike | None = None, k: int | None = None) -> float:
    """Normalised discounted cumulative gain of the first k (default all), 0..1: gain y, discount log2(place + 1).

    Sources: Järvelin & Kekäläinen, Cumulated gain-based evaluation of IR techniques, 2002; ties averaged as in
    McSherry & Najork, Computing information retrieval performance measures efficiently in the presence of tied scores,
    ECIR 2008.

    >>> ndcg([0, 1, 2], [0.1, 0.2, 0.3])
    1.0
    """
    return float(query_ndcg(y, p, groups, k).mean())


def mean_average_precision(y: ArrayLike, p: ArrayLike, *, groups: ArrayLike | None = None) -> float:
    """Mean over queries of the average precision, 0..1; y: 0 or 1.

    Items of equal p are taken together, as one step of the precision-recall curve.

    >>> mean_average_precision([1, 0, 1], [0.9, 0.5, 0.1])
    0.8333333333333333
    """
    return float(query_average_precision(y, p, groups).mean())


def mean_reciprocal_rank(y: ArrayLike, p: ArrayLike, *, groups: ArrayLike | None = None) -> float:
    """Mean over queries of 1 / the place of the first relevant item, 0..1; y above 0 is relevant.

    Where it is one of t items of equal p, r of them relevant, its place among them is taken as (t + 1) / (r + 1), the
    mean over their orders. Source: Voorhees, The TREC-8 question answering track report, 1999.

    >>> mean_reciprocal_rank([0, 1, 0], [0.9, 0.5, 0.1])
    0.5
    """
    return float(query_reciprocal_rank(y, p, groups).mean())


def query_ndcg(y: ArrayLike, p: ArrayLike, groups: ArrayLike | None = None, k: int | None = None) -> Floats:
    """Each query's NDCG, shape (queries,), in the order of the sorted groups."""
    gain, score, query = _queries(y, p, groups)
    if k is not None and k < 1:
        raise BadInput(f"k is {k}; it must be 1 or more, or left out for the whole list")
    counts = np.bincount(query)
    longest = int(counts.max())
    # 1 / log2 is taken as log(2) / log: the last digits are then those of scikit-learn.
    discount = 1 / (np.log(np.arange(longest) + 2) / np.log(2))
    if k is not None:
        discount[k:] = 0
    reach = np.concatenate([[0.0], np.cumsum(discount)])
    order = np.lexsort((-score, query))
    starts, ends, of = _blocks(query[order], score[order])
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])[of]
    mean_gain = np.add.reduceat(gain[order], starts) / (ends + 1 - starts)
    got = np.bincount(of, mean_gain * (reach[ends + 1 - first] - reach[starts - first]))
    best_order = np.lexsort((-gain, query))
    place = np.arange(len(gain)) - np.concatenate([[0], np.cumsum(counts)[:-1]])[query[best_order]]
    best = np.bincount(query[best_order], gain[best_order] * discount[place])
    return np.divide(got, best, out=np.zeros(len(best)), where=best > 0)


def query_average_precision(y: ArrayLike, p: ArrayLike, groups: ArrayLike | None = None) -> Floats:
    """Each query's average precision, shape (queries,), in the order of the sorted groups."""
    relevant, score, query = _queries(y, p, groups)
    known = (relevant == 0) | (relevant == 1)
    if not known.all():
        raise BadInput(f"y holds {relevant[~known][0]:g} at row {int(np.argmin(known))}; allowed are 0 and 1")
    order = np.lexsort((-score, query))
    starts, ends, of = _blocks(query[order], score[order])
    counts, totals = np.bincount(query), np.bincount(query, relevant)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])[of]
    seen = np.concatenate([[0.0], np.cumsum(relevant[order])])
    above = seen[ends + 1] - seen[first]
    area = np.bincount(of, above / (ends + 1 - first) * (seen[ends + 1] - seen[starts]))
    return np.divide(area, totals, out=np.zeros(len(totals)), where=totals > 0)


def query_reciprocal_rank(y: ArrayLike, p: ArrayLike, groups: ArrayLike | None = None) -> Floats:
    """Each query's reciprocal rank, shape (queries,), in the order of the sorted groups."""
    gain, score, query = _queries(y, p, groups)
    order = np.lexsort((-score, query))
    starts, ends, of = _blocks(query[order], score[order])
    counts = np.bincount(query)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])[of]
    hits = np.add.reduceat((gain[order] > 0).astype(np.float64), starts)
    place = starts - first + (ends + 2 - starts) / (hits + 1)
    found = np.flatnonzero(hits > 0)
    out = np.zeros(len(counts))
    # Blocks stand from the top down: written from the bottom up, the first hit of a query stays.
    out[of[found][::-1]] = 1 / place[found][::-1]
    return out


def _queries(y: ArrayLike, p: ArrayLike, groups: ArrayLike | None) -> tuple[Floats, Floats, Codes]:
    gain, score = numbers(y, p)
    if gain.min() < 0:
        raise BadInput(f"y holds {gain.min():g}; relevance is 0 or more")
    if groups is None:
        return gain, score, np.zeros(len(gain), dtype=np.int64)
    given = np.asarray(groups)
    if given.shape != gain.shape:
        raise BadInput(f"groups has shape {given.shape} for {len(gain)} rows; give the query of each row")
    return gain, score, np.unique(given, return_inverse=True)[1].astype(np.int64)


def _blocks(query: Codes, score: Floats) -> tuple[Codes, Codes, Codes]:
    """First and last place of each run of one query and score, and its query."""
    ends = block_ends(query, score)
    starts = np.concatenate([[0], ends[:-1] + 1])
    return starts, ends, query[ends]
