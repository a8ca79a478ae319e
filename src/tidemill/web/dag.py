"""The graph of an execution as SVG: steps from the top down in the order they wait for each other, a map as one box."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from tidemill.api.views.shaping import Shown
from tidemill.web.layers import GAP, HIGH, cut, link, longest, placed

WIDE, NARROW = 176, 140  # a box, where the drawing has room or not
BETWEEN = 30
BAR = 4  # of how a map stands, under its name


def plot(page: Shown, *, width: int) -> Markup:
    """The drawing, `width` pixels wide at most; empty where no step was called yet. page: of views.execution."""
    graph = page["graph"]
    boxes = {each["box"]: each for each in graph["boxes"]}
    if not boxes:
        return Markup()
    links = [(above, below) for above, below in graph["links"]]
    box = min(WIDE if width > 600 else NARROW, (width - 10 - GAP) // 2)
    found = longest(boxes, links)
    depth = {name: found[name] for name in boxes}
    in_row = max(list(depth.values()).count(deep) for deep in set(depth.values()))
    width = min(width, max(2, in_row) * (box + GAP) + 10)
    places = placed(depth, links, width, box, between=BETWEEN)
    height = max(y for _, y in places.values()) + HIGH + 22
    parts = [link(places[above], places[below], box) for above, below in sorted(links)]
    parts += [_box(page["id"], each, *places[name], box) for name, each in boxes.items()]
    size = f'width="{width}" height="{height:g}" viewBox="0 0 {width} {height:g}"'
    title = f"Graph of {escape(page['pipeline'])}: {len(boxes)} boxes; all nodes are listed below"
    return Markup(f'<svg class="trace dag" role="group" aria-label="{title}" {size}>{"".join(parts)}</svg>')  # noqa: S704  texts escaped


def told(counts: Shown) -> str:
    """How many are in which state.

    >>> told({"failed": 1, "done": 98})
    '1 failed · 98 done'
    """
    return " · ".join(f"{count:,} {state}" for state, count in counts.items())


def href(run_id: str, box: Shown) -> str:
    """Where a box leads: its node's page, or the nodes of its map."""
    if box["node"] is not None:
        return f"/pipelines/{run_id}/nodes/{quote(box['node'])}"
    return f"/pipelines/{run_id}?{urlencode({'box': box['box']})}#nodes"


def _box(run_id: str, box: Shown, x: float, y: float, wide: int) -> str:
    many = box["nodes"] > 1
    letters = (wide - 14) // 8
    note = told(box["counts"]) if many else box["state"]
    size = f'width="{wide}" height="{HIGH}" rx="5"'
    parts = [
        f'<a href="{escape(href(run_id, box))}"><title>{escape(box["title"])}: {escape(told(box["counts"]))}</title>'
    ]
    if many:  # a second one behind it
        parts.append(f'<rect class="box {box["state"]}" x="{x + 4:g}" y="{y - 4:g}" {size}/>')
    parts.append(f'<rect class="box {box["state"]}" x="{x:g}" y="{y:g}" {size}/>')
    parts.append(f'<text class="name" x="{x + 10:g}" y="{y + 18:g}">{escape(_short(box["title"], letters))}</text>')
    parts.append(f'<text class="kind" x="{x + 10:g}" y="{y + 34:g}">{escape(cut(note, (wide - 14) // 6))}</text>')
    if many:
        parts.append(_bar(box, x + 5, y + HIGH - BAR - 1.5, wide - 10))
    return "".join(parts) + "</a>"


def _bar(box: Shown, x: float, y: float, wide: float) -> str:
    """How a map stands, as shares of a bar."""
    parts, at = [], x
    for state, count in box["counts"].items():
        share = wide * count / box["nodes"]
        parts.append(f'<rect class="part {state}" x="{at:.1f}" y="{y:g}" width="{share:.1f}" height="{BAR}"/>')
        at += share
    return "".join(parts)


def _short(title: str, letters: int) -> str:
    """A name cut at its front where it is in a pipeline inside: what differs is at its end."""
    if len(title) <= letters:
        return title
    return "…" + title[-(letters - 1) :] if "/" in title else cut(title, letters)
