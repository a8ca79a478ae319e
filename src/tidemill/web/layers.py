"""Layers of boxes from the top down, and the lines between them: where each box of a drawing stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

HIGH, GAP, BETWEEN = 44, 14, 40  # of a box; between boxes of a row; between layers

Key = TypeVar("Key", bound=Any)  # Any: what can be compared and hashed has no name in typing
Place = tuple[float, float]


def placed(
    depth: Mapping[Key, int], links: Iterable[tuple[Key, Key]], width: int, box: int, *, between: int = BETWEEN
) -> dict[Key, Place]:
    """Left upper corners: a layer for each depth, wrapped into rows, ordered by the mean place of what leads there.

    Source: Sugiyama, Tagawa & Toda, Methods for visual understanding of hierarchical systems, 1981 (barycentres).
    """
    layers: dict[int, list[Key]] = {}
    above: dict[Key, list[Key]] = {}
    for key, deep in depth.items():
        layers.setdefault(deep, []).append(key)
    below: dict[Key, list[Key]] = {}
    for start, end in links:
        above.setdefault(end, []).append(start)
        below.setdefault(start, []).append(end)
    for key in [key for key in depth if key not in above]:  # beside what leads to the same
        beside = [each for end in below.get(key, ()) for each in above[end] if depth[each] == depth[key]]
        above[key] = [start for each in beside if each != key for start in above.get(each, ())]
    order = {key: place for place, key in enumerate(depth)}
    places: dict[Key, Place] = {}
    in_row = max(1, (width - 10 + GAP) // (box + GAP))
    y = 5.0
    for number in sorted(layers):
        ordered = sorted(layers[number], key=partial(_weight, above, dict(places), order))
        for first in range(0, len(ordered), in_row):
            row = ordered[first : first + in_row]
            left = (width - len(row) * (box + GAP) + GAP) / 2
            places |= {key: (left + place * (box + GAP), y) for place, key in enumerate(row)}
            y += HIGH + GAP
        y += between - GAP
    return places


def _weight(
    above: Mapping[Key, list[Key]], places: Mapping[Key, Place], order: Mapping[Key, int], key: Key
) -> tuple[float, int]:
    seen = [places[each][0] for each in above.get(key, ()) if each in places]
    return (sum(seen) / len(seen) if seen else 0.0, order[key])


def longest(keys: Iterable[Key], links: Iterable[tuple[Key, Key]]) -> dict[Key, int]:
    """The depth of each: the longest path that leads there; where none leads, just above what waits for it.

    What is in a circle counts from where it is entered.

    >>> longest("abcde", [("a", "b"), ("b", "c"), ("a", "c"), ("a", "d"), ("e", "c")])
    {'a': 0, 'e': 1, 'b': 1, 'd': 1, 'c': 2}
    """
    then: dict[Key, list[Key]] = {key: [] for key in keys}
    waits = dict.fromkeys(then, 0)
    for above, below in links:
        then[above].append(below)
        waits[below] += 1
    depth: dict[Key, int] = {}
    reached = dict.fromkeys(then, 0)
    ready = [key for key, count in waits.items() if not count]
    while len(depth) < len(then):
        if not ready:  # a circle: go in where the least is waited for
            ready = [min((key for key in then if key not in depth), key=lambda key: (waits[key], reached[key]))]
        for key in ready:
            depth[key] = reached[key]
        following = []
        for key in ready:
            for below in then[key]:
                if below not in depth:
                    reached[below] = max(reached[below], depth[key] + 1)
                    waits[below] -= 1
                    if not waits[below]:
                        following.append(below)
        ready = following
    entered = {below for some in then.values() for below in some}
    for key, some in then.items():
        if key not in entered and some:
            depth[key] = max(0, min(depth[below] for below in some) - 1)
    return depth


def link(start: Place, end: Place, box: int) -> str:
    """A line from a box of that width to another; around below, dashed, where it leads up or beside."""
    x1, x2 = start[0] + box / 2, end[0] + box / 2
    if end[1] > start[1]:
        y1, y2 = start[1] + HIGH, end[1]
        bend = (y2 - y1) / 2
        return f'<path class="link" d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"/>'
    y1, y2 = start[1] + HIGH, end[1] + HIGH
    return f'<path class="link back" d="M{x1:g} {y1:g}C{x1:g} {y1 + 20:g} {x2:g} {y2 + 20:g} {x2:g} {y2:g}"/>'


def cut(text: str, letters: int) -> str:
    """The text, its end left out where it is longer."""
    return text if len(text) <= letters else text[: letters - 1] + "…"
