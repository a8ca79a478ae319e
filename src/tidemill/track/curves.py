"""Metrics over time: read, smoothed, and thinned to what a drawing has room for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from tidemill.core.errors import BadInput
from tidemill.core.graphs.committing import reading
from tidemill.core.graphs.tracked import say
from tidemill.core.workspace import Workspace

Across = Literal["step", "time", "wall"]
ACROSS: tuple[Across, ...] = ("step", "time", "wall")
AT_ONCE = 500  # runs of a statement
Place = tuple[float, float]


class Value(NamedTuple):
    """A logged value. at_s: seconds since 1970."""

    step: int
    at_s: float
    value: float


def read(ws: Workspace, run_ids: Sequence[str], key: str | None = None) -> dict[str, dict[str, list[Value]]]:
    """What these runs logged, by run and metric, in the order of (step, time). key: of one metric only."""
    found: dict[str, dict[str, list[Value]]] = {}
    for start in range(0, len(run_ids), AT_ONCE):
        some = list(run_ids[start : start + AT_ONCE])
        asked = f"SELECT run_id, key, step, at, value FROM points WHERE run_id IN ({', '.join('?' * len(some))})"  # noqa: S608  no text of users
        asked += " AND key = ?" if key is not None else ""
        values = (*some, key) if key is not None else tuple(some)
        with reading(ws) as link:
            rows = link.exec_driver_sql(say(link, f"{asked} ORDER BY run_id, key, step, at, value"), values)
            for run_id, name, step, at, value in rows:
                at_s = datetime.fromisoformat(at).timestamp()
                found.setdefault(run_id, {}).setdefault(name, []).append(Value(step, at_s, float(value)))
    return found


def line(values: Sequence[Value], across: Across, *, start_s: float, smooth: float, most: int) -> list[Place]:
    """A metric as points of a drawing: smoothed, then thinned to `most`; values that are not finite are left out.

    across: "step"; "time", seconds since start_s; or "wall", seconds since 1970.
    """
    if across not in ACROSS:
        raise BadInput(f"axis {across!r} is not known; allowed: {', '.join(ACROSS)}")
    ordered = values if across == "step" else sorted(values, key=lambda each: each.at_s)
    kept = [each for each in ordered if math.isfinite(each.value)]
    y = smoothed([each.value for each in kept], smooth)
    if across == "step":
        x = [float(each.step) for each in kept]
    else:
        x = [each.at_s - (start_s if across == "time" else 0.0) for each in kept]
    return thinned(list(zip(x, y, strict=True)), most)


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
    if len(points) <= most:
        return list(points)
    columns = max(1, most // 2)
    low, high = points[0][0], points[-1][0]
    wide = (high - low) or 1.0
    found: dict[int, tuple[int, int]] = {}  # of each column: where its lowest and its highest point are
    for place, (x, y) in enumerate(points):
        column = min(columns - 1, int((x - low) / wide * columns))
        least, top = found.get(column, (place, place))
        found[column] = (place if y < points[least][1] else least, place if y > points[top][1] else top)
    return [points[place] for column in sorted(found) for place in sorted(set(found[column]))]
