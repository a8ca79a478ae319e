"""The graph of an execution, drawn together: all elements of a map as one box, with counts by state and times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tidemill.api.views.shaping import Shown

if TYPE_CHECKING:
    from tidemill.flow.states import NodeState

MOST_BOXES = 200
MERGED = 0.002  # of the whole time: two bars nearer than this are one
# Of many states the one that needs a look first.
WORST = ("failed", "running", "parked", "waiting", "cancelled", "skipped", "done", "cached")
_PLACE = re.compile(r"\[(\d+)\]")
_CALL = re.compile(r"#\d+")


def box_of(node: str) -> str:
    """The box that a node is in: its name with each place of a map left open.

    >>> box_of("plus[3]"), box_of("outer/inner[2]/plus#2[0]"), box_of("start")
    ('plus[]', 'outer/inner[]/plus#2[]', 'start')
    """
    return _PLACE.sub("[]", node)


def within(node: str, box: str) -> bool:
    """Whether a node is in that box, be it one of a map or of all calls of a step.

    >>> within("plus#2[3]", "plus#2[]"), within("plus#2[3]", "plus[]"), within("plus", "total")
    (True, True, False)
    """
    own = box_of(node)
    return box in (own, _CALL.sub("", own))


def grouped(nodes: Sequence[NodeState], began: datetime, now: datetime) -> Shown:
    """Boxes and the links between them, in the order of the nodes; at most 200 boxes.

    A box: {box, title, step, nodes, counts by state, state: the one that needs a look first, wall_s of all together,
    node: its only one or None, spans: [start, end, state] in seconds since `began`, of bars that touch one}. Beyond 200
    boxes all calls of one step are one, and beyond that `left_out` counts those that are not shown.
    """
    name = _naming(nodes)
    members: dict[str, list[NodeState]] = {}
    place = {each.node: name(each.node) for each in nodes}
    for each in nodes:
        members.setdefault(place[each.node], []).append(each)
    shown = dict(list(members.items())[:MOST_BOXES])
    links = {(place[dep], place[each.node]): None for each in nodes for dep in each.deps if dep in place}
    whole_s = max([(now - began).total_seconds(), 1e-6])
    return {
        "boxes": [_box(box, some, began, now, whole_s) for box, some in shown.items()],
        "links": [[above, below] for above, below in links if above != below and above in shown and below in shown],
        "left_out": len(members) - len(shown),
        "length_s": whole_s,
    }


def _naming(nodes: Sequence[NodeState]) -> Callable[[str], str]:
    if len({box_of(each.node) for each in nodes}) <= MOST_BOXES:
        return box_of
    return lambda node: _CALL.sub("", box_of(node))


def counts_of(nodes: Iterable[NodeState]) -> dict[str, int]:
    """How many nodes are in which state, what needs a look first."""
    found: dict[str, int] = {}
    for each in nodes:
        found[each.state] = found.get(each.state, 0) + 1
    return {state: found[state] for state in WORST if state in found}


def _box(box: str, some: list[NodeState], began: datetime, now: datetime, whole_s: float) -> Shown:
    counts = counts_of(some)
    return {
        "box": box,
        "title": _title(box, [each.node for each in some]),
        "step": some[0].step,
        "nodes": len(some),
        "counts": counts,
        "state": next(iter(counts)),
        "wall_s": sum(each.wall_s for each in some),
        "node": some[0].node if len(some) == 1 else None,
        "spans": _spans(some, began, now, whole_s),
    }


def _title(box: str, nodes: Sequence[str]) -> str:
    """The name with the places that there are: "plus[0..99]"."""
    if len(nodes) == 1:
        return nodes[0]
    places = [tuple(map(int, _PLACE.findall(node))) for node in nodes]
    if not places[0] or len({len(each) for each in places}) > 1:
        return f"{_CALL.sub('', box)} ×{len(nodes):,}"
    bounds = [(min(each), max(each)) for each in zip(*places, strict=True)]
    texts = iter(f"[{low}]" if low == high else f"[{low}..{high}]" for low, high in bounds)
    return re.sub(r"\[\]", lambda _: next(texts), box)


def _spans(some: list[NodeState], began: datetime, now: datetime, whole_s: float) -> list[list[float | str]]:
    """When its nodes ran, those that touch and ended alike as one."""
    found: dict[str, list[list[float]]] = {}
    ran = [each for each in some if each.started_at is not None]
    for each in sorted(ran, key=lambda each: each.started_at or began):
        start_s = ((each.started_at or began) - began).total_seconds()
        end_s = ((each.ended_at or now) - began).total_seconds()
        state = "running" if each.ended_at is None else each.state
        spans = found.setdefault(state, [])
        if spans and start_s <= spans[-1][1] + MERGED * whole_s:
            spans[-1][1] = max(spans[-1][1], end_s)
        else:
            spans.append([start_s, end_s])
    return sorted(
        ([round(start_s, 4), round(end_s, 4), state] for state, spans in found.items() for start_s, end_s in spans),
        key=lambda span: span[0],
    )
