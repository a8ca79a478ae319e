"""Candidates for clustering: each returns a fitted model with `predict`, also for rows that it has not seen."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from tidemill.core.types import Matrix
from tidemill.train.ranges import floats, ints
from tidemill.train.selecting.columns import scaled

Floats = np.ndarray[Any, np.dtype[np.float64]]
MOST_ROWS = 20_000  # neighbourhoods of more rows take more memory and time than a first look is worth


def k_means(train: Matrix, clusters: Annotated[int, ints(2, 30)] = 4, seed: int = 0) -> object:
    """k-means on scaled columns, the best of ten starts."""
    from sklearn.cluster import KMeans

    return scaled(KMeans(min(clusters, len(train)), n_init=10, random_state=seed)).fit(train.X)


def gaussian_mixture(train: Matrix, clusters: Annotated[int, ints(2, 30)] = 4, seed: int = 0) -> object:
    """A mixture of normal distributions on scaled columns, the best of three starts."""
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(min(clusters, len(train)), n_init=3, max_iter=300, reg_covar=1e-4, random_state=seed)
    return scaled(mixture).fit(train.X)


class ByCore:
    """Clusters by dense neighbourhoods: a row belongs to the cluster of the nearest core row in reach, or to -1."""

    def __init__(self, scaler: Any, cores: Floats, labels: Floats, reach: float) -> None:
        """scaler: a fitted pipeline of transformers. cores: scaled core rows; labels: theirs; reach: a distance."""
        from sklearn.neighbors import NearestNeighbors

        self._scaler, self._labels, self._reach = scaler, labels, reach
        self._near = NearestNeighbors(n_neighbors=1).fit(cores) if len(cores) else None

    def predict(self, X: Floats) -> Floats:
        """The cluster of each row, -1 for noise, shape (n,)."""
        if self._near is None or len(X) == 0:
            return np.full(len(X), -1.0)
        far, place = self._near.kneighbors(self._scaler.transform(X))
        return np.where(far[:, 0] <= self._reach, self._labels[place[:, 0]], -1.0)


def dbscan(
    train: Matrix, quantile: Annotated[float, floats(0.5, 0.99)] = 0.9, neighbours: Annotated[int, ints(3, 50)] = 10
) -> ByCore:
    """DBSCAN on scaled columns. quantile: how many of the rows have `neighbours` others within its reach.

    Of more than 20,000 rows it takes an even sample. Source: Ester et al., A density-based algorithm for discovering
    clusters in large spatial databases with noise, KDD 1996; reach by Schubert et al., DBSCAN revisited, 2017.
    """
    from sklearn.cluster import DBSCAN
    from sklearn.neighbors import NearestNeighbors

    scaler, rows = _scaled_rows(train)
    least = min(neighbours, len(rows) - 1)
    far, _ = NearestNeighbors(n_neighbors=least + 1).fit(rows).kneighbors(rows)  # the nearest is the row itself
    reach = max(float(np.quantile(far[:, -1], quantile)), 1e-9)
    found = DBSCAN(eps=reach, min_samples=least + 1).fit(rows)
    cores = found.core_sample_indices_
    return ByCore(scaler, rows[cores], found.labels_[cores].astype(np.float64), reach)


def hdbscan(train: Matrix, smallest: Annotated[int, ints(5, 500)] = 25) -> ByCore:
    """HDBSCAN on scaled columns. smallest: rows of the smallest cluster.

    A new row belongs to the cluster of the nearest clustered row if that is no farther than 95 % of the clustered
    rows are from theirs. Of more than 20,000 rows it takes an even sample.
    Source: Campello, Moulavi & Sander, Density-based clustering based on hierarchical density estimates, PAKDD 2013.
    """
    from sklearn.cluster import HDBSCAN
    from sklearn.neighbors import NearestNeighbors

    scaler, rows = _scaled_rows(train)
    labels = HDBSCAN(min_cluster_size=max(2, min(smallest, len(rows) // 2)), copy=True).fit(rows).labels_
    inside = labels >= 0
    if inside.sum() < 2:
        return ByCore(scaler, rows[:0], np.empty(0), 0.0)
    far, _ = NearestNeighbors(n_neighbors=2).fit(rows[inside]).kneighbors(rows[inside])
    reach = max(float(np.quantile(far[:, 1], 0.95)), 1e-9)
    return ByCore(scaler, rows[inside], labels[inside].astype(np.float64), reach)


def _scaled_rows(train: Matrix) -> tuple[Any, Floats]:
    """A fitted scaler, and the scaled rows, at most 20,000, spread evenly."""
    places = np.unique(np.linspace(0, len(train) - 1, min(len(train), MOST_ROWS)).astype(np.int64))
    scaler = scaled("passthrough").fit(train.X)
    return scaler, scaler.transform(train.X[places])
