"""Metrics over time: read, smoothed, and thinned to what a drawing has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from tidemill.core.errors import BadInput
from tidemill.core.graphs.committing import reading
from tidemill.core.workspace import Workspace
from tidemill.track.searching.found import read as rows_of
from tidemill.track.searching.pieces import Piece

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Across = Literal["step", "time", "wall"]
ACROSS: tuple[Across, ...] = ("step", "time", "wall")
Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Logged:
    """The values of a metric of a run, in the order of (step, time): shapes (n,). at: ISO texts."""

    steps: NDArray[np.int64]
    at: Sequence[str]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)


def read(ws: Workspace, run_ids: Sequence[str], key: str | None = None) -> dict[str, dict[str, Logged]]:
    """What these runs logged, by run and metric. key: of one metric only."""
    import numpy as np

    found: dict[str, dict[str, Logged]] = {}
    with reading(ws) as link:
        for run_id in run_ids:
            keys = [row[0] for row in rows_of(link, Piece(_KEYS, (run_id, run_id)))] if key is None else [key]
            for name in keys:
                rows = rows_of(link, Piece(_VALUES, (run_id, name)))
                if rows:
                    steps, at, values = zip(*rows, strict=True)
                    numbers = np.fromiter(map(float, values), float, len(values))  # SQLite's NaN is a text
                    found.setdefault(run_id, {})[name] = Logged(np.array(steps, np.int64), at, numbers)
    return found


def line(logged: Logged, across: Across, *, start_s: float, smooth: float, most: int) -> list[Place]:
    """A metric as points of a drawing: smoothed, then thinned to `most`; values that are not finite are left out.

    across: "step"; "time", seconds since start_s; or "wall", seconds since 1970. smooth: see `smoothed`.
    """
    import numpy as np

    if across not in ACROSS:
        raise BadInput(f"axis {across!r} is not known; allowed: {', '.join(ACROSS)}")
    x = logged.steps.astype(float)
    if across != "step":
        x = np.fromiter((datetime.fromisoformat(at).timestamp() for at in logged.at), float, len(logged))
        x = x - start_s if across == "time" else x
    kept = np.flatnonzero(np.isfinite(logged.values))
    kept = kept[np.argsort(x[kept], kind="stable")]
    x, y = x[kept], logged.values[kept]
    if smooth:
        y = np.array(smoothed(y.tolist(), smooth))
    places = _thinned(x, y, most)
    return list(zip(x[places].tolist(), y[places].tolist(), strict=True))


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Exponential moving average, corrected for its start: m_i / (1 - w^i), m_i = w m_(i-1) + (1 - w) x_i, m_0 = 0.

    weight: w, from 0 (the values as they are) to below 1. Raises BadInput for another.
    Source of the correction: Kingma and Ba, Adam, 2015, section 3.

    >>> smoothed([1.0, 1.0, 3.0], 0.5)
    [1.0, 1.0, 2.142857142857143]
    """
    if not 0 <= weight < 1:
        raise BadInput(f"smoothing {weight!r} is out of range; allowed: 0 (none) to below 1, such as 0.6")
    if weight == 0:
        return list(values)
    made, mean, left = [], 0.0, 1.0
    for value in values:
        mean = weight * mean + (1 - weight) * value
        left *= weight
        made.append(mean / (1 - left))
    return made


def thinned(points: Sequence[Place], most: int) -> list[Place]:
    """At most `most` of the points, which are in the order of x: of each of most / 2 columns of equal width the lowest
    and the highest, so that no peak is lost.

    >>> thinned([(0, 1.0), (1, 9.0), (2, 2.0), (3, 3.0), (4, 0.0), (5, 5.0)], 4)
    [(0, 1.0), (1, 9.0), (4, 0.0), (5, 5.0)]
    """
    import numpy as np

    x, y = np.array(points, dtype=float).reshape(-1, 2).T
    return [points[place] for place in _thinned(x, y, most)]


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """The places of the points that are kept."""
    import numpy as np

    if len(x) <= most:
        return np.arange(len(x))
    columns = max(1, most // 2)
    column = np.minimum(columns - 1, ((x - x[0]) / ((x[-1] - x[0]) or 1.0) * columns).astype(int))
    order = np.lexsort((y, column))  # within each column from the lowest to the highest
    first = np.flatnonzero(np.diff(column[order], prepend=-1))
    last = np.append(first[1:] - 1, len(order) - 1)
    return np.unique(order[np.concatenate((first, last))])


_VALUES = "SELECT step, at, value FROM points WHERE run_id = ? AND key = ? ORDER BY step, at, value"
_KEYS = """WITH RECURSIVE k(key) AS (
  SELECT min(key) FROM points WHERE run_id = ?
  UNION ALL SELECT (SELECT min(p.key) FROM points p WHERE p.run_id = ? AND p.key > k.key) FROM k
    WHERE k.key IS NOT NULL)
SELECT key FROM k WHERE key IS NOT NULL"""  # one look-up a name, however many values there are
