"""A trace as SVG: what came from what, from the top down, versions and repetitions of one name in one box."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup, escape

from tidemill.api.views.shaping import Shown
from tidemill.web.layers import GAP, HIGH, cut, link, placed

Key = tuple[str, str, str]


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

    boxes: dict[Key, Box]
    links: set[tuple[Key, Key]]
    depth: dict[Key, int]


def plot(trace: Shown, *, width: int) -> Markup:
    """The drawing, `width` pixels wide; empty for a root alone. trace: of views.trace."""
    if not trace["links"]:
        return Markup()
    drawn = _grouped(trace)
    box = min(186, (width - 10 - GAP) // 2)
    depth = {key: drawn.depth.get(key, 0) for key in drawn.boxes}
    places = placed(depth, drawn.links, width, box)
    height = max(y for _, y in places.values()) + HIGH + 22
    parts = [link(places[above], places[below], box) for above, below in sorted(drawn.links)]
    parts += [_box(each, *places[key], box, first=drawn.depth[key] == 0) for key, each in drawn.boxes.items()]
    size = f'width="{width}" height="{height:g}" viewBox="0 0 {width} {height:g}"'
    title = f"Trace of {escape(trace['node']['label'])}: {len(drawn.boxes)} boxes; all nodes are listed below"
    return Markup(f'<svg class="trace" role="group" aria-label="{title}" {size}>{"".join(parts)}</svg>')  # noqa: S704  texts escaped


def _grouped(trace: Shown) -> Drawn:
    """Nodes of one kind and name as one box; its depth is that of its nearest node."""
    members: dict[Key, list[Shown]] = {}
    key_of: dict[str, Key] = {}
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


def _depths(root: Key, links: set[tuple[Key, Key]]) -> dict[Key, int]:
    below: dict[Key, list[Key]] = {}
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


def _box(box: Box, x: float, y: float, wide: int, *, first: bool) -> str:
    corner = HIGH / 2 if box.what == "run" else 5
    inset = 18 if wide > 150 else 13
    letters = (wide - 2 * inset + 6) // 8 + 1  # of 13 px, bold: capitals and digits take 8 to 9
    kind = escape(cut(f"{box.kind} · {box.note}", letters + 4))
    shown = "root" if first else box.what
    return (
        f'<a href="{escape(box.href)}"><title>{escape(box.told)}</title>'
        f'<rect class="box {shown}" x="{x:g}" y="{y:g}" width="{wide}" height="{HIGH}" rx="{corner:g}"/>'
        f'<text class="kind" x="{x + inset:g}" y="{y + 18:g}">{kind}</text>'
        f'<text class="name" x="{x + inset:g}" y="{y + 34:g}">{escape(cut(box.title, letters - 2))}</text></a>'
    )
