"""Scores of clusterings: against known classes (y), or by the distances of the rows' features (X) alone.

y, labels: numbers or text, shape (n,); X: finite numbers, shape (n, d). Raises BadInput for other shapes and values,
WrongType for text among the features, NotEnoughRows for no rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.errors import BadInput, NotEnoughRows, WrongType
from tidemill.core.scores.checking import Codes, Floats
from tidemill.core.scores.checking import labels as coded

_AT_ONCE = 4_000_000  # distances held at a time: 32 MB


def adjusted_rand(y: ArrayLike, labels: ArrayLike) -> float:
    """Share of pairs of rows on which two clusterings agree, corrected for chance: 1 alike, 0 as by chance.

    Source: Hubert & Arabie, Comparing partitions, Journal of Classification 2, 1985.

    >>> adjusted_rand([0, 0, 1, 1], ["b", "b", "a", "a"])
    1.0
    """
    table = _contingency(y, labels)
    rows = int(table.sum())
    # Whole numbers of Python: the products leave 64 bits from some ten thousand rows on.
    both = int((table**2).sum())
    of_rows, of_columns = int((table.sum(axis=1) ** 2).sum()), int((table.sum(axis=0) ** 2).sum())
    together, apart = both - rows, rows**2 - of_rows - of_columns + both
    only_first, only_second = of_rows - both, of_columns - both
    if only_first == 0 and only_second == 0:
        return 1.0
    below = (together + only_first) * (only_first + apart) + (together + only_second) * (only_second + apart)
    return 2.0 * (together * apart - only_first * only_second) / below


def normalized_mutual_information(y: ArrayLike, labels: ArrayLike) -> float:
    """Mutual information of two clusterings over the mean of their entropies, 0..1; 1 where both are one cluster.

    Source: Vinh, Epps & Bailey, Information theoretic measures for clusterings comparison, JMLR 11, 2010.

    >>> round(normalized_mutual_information([0, 0, 1, 1], [1, 1, 0, 0]), 12)
    1.0
    """
    table = _contingency(y, labels).astype(np.float64)
    of_rows, of_columns = table.sum(axis=1), table.sum(axis=0)
    if len(of_rows) == len(of_columns) == 1:
        return 1.0
    rows = table.sum()
    at = np.nonzero(table)
    share = table[at] / rows
    shared = float((share * (np.log(table[at] * rows) - np.log(of_rows[at[0]] * of_columns[at[1]]))).sum())
    if shared <= np.finfo(np.float64).eps:
        return 0.0
    entropy = sum(float(-(each / rows * np.log(each / rows)).sum()) for each in (of_rows, of_columns))
    return shared / (entropy / 2)


def silhouette(X: ArrayLike, labels: ArrayLike, *, at_most: int | None = None, seed: int = 0) -> float:
    """Mean over rows of (b - a) / max(a, b), -1..1: a is the mean distance to its cluster, b to the next nearest one.

    Rows alone in their cluster count 0. Time grows with n squared: `at_most` scores a sample of so many rows (seed).
    Raises BadInput unless there are 2 to n - 1 clusters. Source: Rousseeuw, Silhouettes, 1987.

    >>> round(silhouette([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1]), 4)
    0.8997
    """
    features, codes, count = _clusters(X, labels)
    if at_most is not None and at_most < len(codes):
        picked = np.random.default_rng(seed).choice(len(codes), at_most, replace=False)
        features, codes, count = _clusters(features[picked], codes[picked])
    order = np.argsort(codes, kind="stable")
    features, codes = features[order], codes[order]
    sizes = np.bincount(codes, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    total, step = 0.0, max(1, _AT_ONCE // len(codes))
    for low in range(0, len(codes), step):
        mine = codes[low : low + step]
        distances = _distances(features[low : low + step], features)
        distances[np.arange(len(mine)), np.arange(low, low + len(mine))] = 0.0
        sums = np.add.reduceat(distances, starts, axis=1)
        own = sums[np.arange(len(mine)), mine] / np.maximum(sizes[mine] - 1, 1)
        means = sums / sizes
        means[np.arange(len(mine)), mine] = np.inf
        other = means.min(axis=1)
        wider = np.maximum(own, other)
        apart = np.divide(other - own, wider, out=np.zeros(len(mine)), where=wider > 0)
        total += float(apart[sizes[mine] > 1].sum())
    return total / len(codes)


def davies_bouldin(X: ArrayLike, labels: ArrayLike) -> float:
    """Mean over clusters of the worst (spread + spread) / distance of centres; 0 is best.

    Raises BadInput unless there are 2 to n - 1 clusters. Source: Davies & Bouldin, A cluster separation measure, 1979.

    >>> davies_bouldin([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1])
    0.1
    """
    features, codes, count = _clusters(X, labels)
    centres = np.stack([features[codes == code].mean(axis=0) for code in range(count)])
    off = np.sqrt(((features - centres[codes]) ** 2).sum(axis=1))
    spread = np.bincount(codes, off) / np.bincount(codes)
    between = _distances(centres, centres)
    np.fill_diagonal(between, 0.0)
    if np.allclose(spread, 0) or np.allclose(between, 0):
        return 0.0
    between[between == 0] = np.inf
    return float(((spread[:, None] + spread) / between).max(axis=1).mean())


def calinski_harabasz(X: ArrayLike, labels: ArrayLike) -> float:
    """Variance between clusters over variance within, each by its degrees of freedom; more is better, 1 if none within.

    Raises BadInput unless there are 2 to n - 1 clusters. Source: Caliński & Harabasz, A dendrite method, 1974.
    """
    features, codes, count = _clusters(X, labels)
    centres = np.stack([features[codes == code].mean(axis=0) for code in range(count)])
    within = float(((features - centres[codes]) ** 2).sum())
    between = float((np.bincount(codes) * ((centres - features.mean(axis=0)) ** 2).sum(axis=1)).sum())
    return 1.0 if within == 0 else between * (len(codes) - count) / (within * (count - 1))


def _contingency(y: ArrayLike, labels: ArrayLike) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    given = (np.unique(np.asarray(each), return_inverse=True)[1] for each in (y, labels))
    first, second, _ = coded(*given)  # each by its own names: those of two clusterings need not match
    count = int(second.max()) + 1
    return np.bincount(first * count + second, minlength=(int(first.max()) + 1) * count).reshape(-1, count)


def _clusters(X: ArrayLike, labels: ArrayLike) -> tuple[Floats, Codes, int]:
    try:
        features = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongType(f"X must be numbers: {error}; encode text first") from error
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    if features.ndim != 2 or codes.ndim != 1 or len(features) != len(codes):
        raise BadInput(f"X has shape {features.shape} and labels {codes.shape}; they must be (n, d) and (n,)")
    if len(codes) == 0:
        raise NotEnoughRows("no rows to score; give at least three")
    if not np.isfinite(features).all():
        row = int(np.argmin(np.isfinite(features).all(axis=1)))
        raise BadInput(f"X holds NaN or infinity in row {row}; fill such values first")
    if not 2 <= len(names) < len(codes):
        raise BadInput(f"{len(names)} clusters of {len(codes)} rows; this score needs 2 to {len(codes) - 1}")
    return features, codes.astype(np.int64), len(names)


def _distances(left: Floats, right: Floats) -> Floats:
    """Euclidean, shape (left, right): differences are squared one feature at a time, so no digits cancel."""
    squares = np.zeros((len(left), len(right)))
    for column in range(left.shape[1]):
        squares += (left[:, column, None] - right[None, :, column]) ** 2
    return np.sqrt(squares, out=squares)
