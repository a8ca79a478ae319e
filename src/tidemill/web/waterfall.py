"""The spans of a trace along the time, as SVG: a lane a span, each below its parent."""

from __future__ import annotations

from markupsafe import Markup, escape

from tidemill.api.views.shaping import Shown
from tidemill.web.axes import ticks
from tidemill.web.layers import cut

LANES = 120
HIGH, TOP = 20, 24
INDENT, DEEPEST = 10, 8  # pixels a level, and how many levels move a name


def plot(page: Shown, *, width: int) -> Markup:
    """The drawing; empty where there are no spans. page: of views.traced."""
    shown = page["spans"][:LANES]
    if not shown:
        return Markup()
    label = 260 if width > 600 else 130
    left, right = label + 8, width - 14
    height = TOP + HIGH * len(shown) + 8
    whole_ms = max(page["took_ms"], 1e-6)
    parts = []
    for at_ms in ticks(0.0, whole_ms, about=3 if width < 600 else 6):
        if 0 <= at_ms <= whole_ms:
            x = left + at_ms / whole_ms * (right - left)
            parts.append(f'<path class="grid" d="M{x:.1f} {TOP - 4}V{height}"/>')
            parts.append(f'<text class="tick" x="{x:.1f}" y="14" text-anchor="middle">{length(at_ms)}</text>')
    for row, span in enumerate(shown):
        y = TOP + row * HIGH
        x0 = 4 + INDENT * min(span["depth"], DEEPEST)
        x1 = left + min(1.0, span["start_ms"] / whole_ms) * (right - left)
        x2 = left + min(1.0, (span["start_ms"] + span["took_ms"]) / whole_ms) * (right - left)
        told = escape(f"{span['name']} ({span['type']}) {span['status']}: {length(span['took_ms'])}")
        text = f'<text class="lane-name" x="{x0}" y="{y + 14}">{escape(cut(span["name"], (label - x0) // 7))}</text>'
        state = "failed" if span["status"] == "ERROR" else "done"
        place = f'x="{x1:.1f}" y="{y + 3}" width="{max(1.5, x2 - x1):.1f}" height="{HIGH - 6}" rx="2"'
        bar = f'<rect class="span {state}" {place}></rect>'
        parts.append(f'<a href="#span-{escape(span["id"])}"><title>{told}</title>{text}{bar}</a>')
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    title = f"The spans of {escape(page['name'] or page['id'])} along the time"
    return Markup(f'<svg class="plot gantt" role="group" aria-label="{title}" {size}>{"".join(parts)}</svg>')  # noqa: S704  texts escaped


def left_out(page: Shown) -> int:
    """How many spans are not drawn."""
    return max(0, int(page["in_all"]) - LANES)


def length(ms: float) -> str:
    """Milliseconds as people read them.

    >>> length(0), length(0.25), length(12.3), length(1500), length(90_000)
    ('0', '0.25 ms', '12.3 ms', '1.5 s', '90 s')
    """
    return "0" if ms == 0 else f"{ms:.3g} ms" if ms < 1000 else f"{ms / 1000:.4g} s"
