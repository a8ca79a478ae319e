"""A trace as SVG: what came from what, from left to right, versions and repetitions of one name in one box."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup, escape

from tidemill.api.views.shaping import Shown

WIDE, HIGH = 190, 44
STEP_X, STEP_Y = WIDE + 56, HIGH + 14
LETTERS = 25  # that fit into a box


class Box(NamedTuple):
    """All nodes of one kind and name."""

    kind: str
    what: str
    title: str
    note: str
    href: str
    told: str


class Drawn(NamedTuple):
    """Boxes by key, links between them (from, to), and the depth of each."""

    boxes: dict[tuple[str, str, str], Box]
    links: set[tuple[tuple[str, str, str], tuple[str, str, str]]]
    depth: dict[tuple[str, str, str], int]


def plot(trace: Shown) -> Markup:
    """The drawing; empty for a root alone. trace: of views.trace."""
    if not trace["links"]:
        return Markup()
    drawn = _grouped(trace)
    places = _placed(drawn)
    width = max(x for x, _ in places.values()) + WIDE + 8
    height = max(y for _, y in places.values()) + HIGH + 8
    parts = [_link(places[above], places[below]) for above, below in sorted(drawn.links)]
    parts += [_box(box, *places[key], first=drawn.depth[key] == 0) for key, box in drawn.boxes.items()]
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    title = f"Trace of {escape(trace['node']['label'])}: {len(drawn.boxes)} boxes; all nodes are listed below"
    return Markup(f'<svg class="trace" role="group" aria-label="{title}" {size}>{"".join(parts)}</svg>')  # noqa: S704  texts escaped


def _grouped(trace: Shown) -> Drawn:
    """Nodes of one kind and name as one box; its depth is that of its nearest node."""
    members: dict[tuple[str, str, str], list[Shown]] = {}
    key_of: dict[str, tuple[str, str, str]] = {}
    for node in trace["nodes"]:
        root = node["id"] == trace["root"]
        key = (node["what"], node["kind"], node["id"] if root else node["name"])
        key_of[node["id"]] = key
        members.setdefault(key, []).append(node)
    links = {(key_of[link["from"]], key_of[link["to"]]) for link in trace["links"]}
    links = {(above, below) for above, below in links if above != below}
    boxes = {key: _describe(nodes) for key, nodes in members.items()}
    return Drawn(boxes, links, _depths(key_of[trace["root"]], links))


def _describe(nodes: Sequence[Shown]) -> Box:
    first = nodes[0]
    kind, name, what = str(first["kind"]), str(first["name"]), str(first["what"])
    if what == "artifact":
        versions = sorted(node["version"] for node in nodes)
        note = f"@{versions[0]}" if len(versions) == 1 else f"{len(versions)} versions, @{versions[0]}–{versions[-1]}"
    else:
        note = first["id"][:8] if len(nodes) == 1 else f"{len(nodes)} runs"
    if what == "run" and len(nodes) > 1:
        href = f"/runs?{urlencode({'kind': kind, 'name': name})}"
    else:
        href = str(first["href"])
    return Box(kind, what, name, note, href, f"{kind} {name}, {note}")


def _depths(
    root: tuple[str, str, str], links: set[tuple[tuple[str, str, str], tuple[str, str, str]]]
) -> dict[tuple[str, str, str], int]:
    below: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
    for above, under in sorted(links):
        below.setdefault(above, []).append(under)
    depth, queue = {root: 0}, deque([root])
    while queue:
        key = queue.popleft()
        for under in below.get(key, ()):
            if under not in depth:
                depth[under] = depth[key] + 1
                queue.append(under)
    return depth


def _placed(drawn: Drawn) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Left upper corners: a column for each depth, within it ordered by the mean place of what leads there.

    Source: Sugiyama, Tagawa & Toda, Methods for visual understanding of hierarchical systems, 1981 (barycentres).
    """
    columns: dict[int, list[tuple[str, str, str]]] = {}
    for key in drawn.boxes:
        columns.setdefault(drawn.depth.get(key, 0), []).append(key)
    row: dict[tuple[str, str, str], float] = {}
    tallest = max(len(column) for column in columns.values())
    for number in sorted(columns):
        keys = columns[number]

        def weight(key: tuple[str, str, str]) -> tuple[float, tuple[str, str, str]]:
            rows = [row[above] for above, below in drawn.links if below == key and above in row]
            return (sum(rows) / len(rows) if rows else 0.0, key)

        for place, key in enumerate(sorted(keys, key=weight)):
            row[key] = place + (tallest - len(keys)) / 2
    return {key: (4 + drawn.depth.get(key, 0) * STEP_X, 4 + row[key] * STEP_Y) for key in drawn.boxes}


def _link(start: tuple[float, float], end: tuple[float, float]) -> str:
    if end[0] > start[0]:
        x1, y1, x2, y2 = start[0] + WIDE, start[1] + HIGH / 2, end[0], end[1] + HIGH / 2
        bend = min(60, (x2 - x1) / 2)
        return f'<path class="link" d="M{x1} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2} {y2:g}"/>'
    # Back to a version before: below the boxes, dashed.
    x1, y1, x2, y2 = start[0] + WIDE / 2, start[1] + HIGH, end[0] + WIDE / 2, end[1] + HIGH
    return f'<path class="link back" d="M{x1} {y1:g}C{x1:g} {y1 + 14:g} {x2:g} {y2 + 14:g} {x2} {y2:g}"/>'


def _box(box: Box, x: float, y: float, *, first: bool) -> str:
    corner = HIGH / 2 if box.what == "run" else 5
    kind = escape(_cut(f"{box.kind} · {box.note}", LETTERS + 3))
    shown = "root" if first else box.what
    return (
        f'<a href="{escape(box.href)}"><title>{escape(box.told)}</title>'
        f'<rect class="box {shown}" x="{x:g}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="{corner:g}"/>'
        f'<text class="kind" x="{x + 16:g}" y="{y + 17:g}">{kind}</text>'
        f'<text class="name" x="{x + 16:g}" y="{y + 34:g}">{escape(_cut(box.title, LETTERS - 3))}</text></a>'
    )


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
