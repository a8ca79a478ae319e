"""When the steps of an execution ran, as SVG: a lane a box of its graph; long waits are drawn short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from tidemill.api.views.shaping import Shown
from tidemill.web.axes import ticks
from tidemill.web.dag import href
from tidemill.web.layers import cut

LANES = 60
HIGH = 20  # of a lane
TOP = 24
LONG = 0.25  # a wait of more than this share of all the time in which something ran is drawn short
SHORT = 0.04


class Piece(NamedTuple):
    """A stretch of the time axis: from, to (seconds), and where it begins and ends on the drawing (0..1)."""

    start_s: float
    end_s: float
    low: float
    high: float
    wait: bool


def plot(page: Shown, *, width: int) -> Markup:
    """The drawing; empty where nothing ran. page: of views.execution."""
    lanes = [box for box in page["graph"]["boxes"] if box["spans"]]
    if not lanes:
        return Markup()
    shown = lanes[:LANES]
    pieces = _pieces([(span[0], span[1]) for box in shown for span in box["spans"]])
    label = 190 if width > 600 else 104
    left, right = label + 8, width - 14
    height = TOP + HIGH * len(shown) + 8
    parts = _time(pieces, left, right, height, narrow=width < 600)
    for row, box in enumerate(shown):
        y = TOP + row * HIGH
        name = escape(cut(box["title"], label // 8))
        text = f'<text class="lane-name" x="{label}" y="{y + 14}" text-anchor="end">{name}</text>'
        parts.append(f'<a href="{escape(href(page["id"], box))}"><title>{escape(box["title"])}</title>{text}</a>')
        for start_s, end_s, state in box["spans"]:
            x1, x2 = _at(pieces, start_s, left, right), _at(pieces, end_s, left, right)
            told = f"{box['title']} {state}: {start_s:.2f} s to {end_s:.2f} s"
            place = f'x="{x1:.1f}" y="{y + 3}" width="{max(1.5, x2 - x1):.1f}" height="{HIGH - 6}" rx="2"'
            parts.append(f'<rect class="span {state}" {place}><title>{escape(told)}</title></rect>')
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    title = f"When the steps of {escape(page['pipeline'])} ran"
    return Markup(f'<svg class="plot gantt" role="group" aria-label="{title}" {size}>{"".join(parts)}</svg>')  # noqa: S704  texts escaped


def left_out(page: Shown) -> int:
    """How many lanes are not drawn."""
    return max(0, sum(bool(box["spans"]) for box in page["graph"]["boxes"]) - LANES)


def _pieces(spans: Sequence[tuple[float, float]]) -> list[Piece]:
    """The time axis, cut where nothing ran for long."""
    merged: list[list[float]] = []
    for start_s, end_s in sorted(spans):
        if merged and start_s <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end_s)
        else:
            merged.append([start_s, end_s])
    busy_s = max(sum(end_s - start_s for start_s, end_s in merged), 1e-6)
    merged[0][0] = merged[0][0] if merged[0][0] > LONG * busy_s else 0.0
    lengths: list[tuple[float, float, float, bool]] = []
    before_s: float | None = None
    for start_s, end_s in merged:
        if before_s is not None:
            wait_s = start_s - before_s
            long = wait_s > LONG * busy_s
            lengths.append((before_s, start_s, SHORT * busy_s if long else wait_s, long))
        lengths.append((start_s, end_s, end_s - start_s, False))
        before_s = end_s
    whole = max(sum(length for _, _, length, _ in lengths), 1e-9)
    pieces, at = [], 0.0
    for start_s, end_s, length, wait in lengths:
        pieces.append(Piece(start_s, end_s, at / whole, (at + length) / whole, wait))
        at += length
    return pieces


def _at(pieces: Sequence[Piece], second: float, left: float, right: float) -> float:
    piece = next((each for each in pieces if second <= each.end_s), pieces[-1])
    share = piece.low + (second - piece.start_s) / max(piece.end_s - piece.start_s, 1e-9) * (piece.high - piece.low)
    return left + min(1.0, max(0.0, share)) * (right - left)


def _time(pieces: Sequence[Piece], left: float, right: float, height: int, *, narrow: bool) -> list[str]:
    """Ticks in seconds, and where the axis is cut."""
    parts = []
    last = left - 48.0
    for second in _ticks(pieces, 3 if narrow else 7):
        x = _at(pieces, second, left, right)
        if x - last >= 48:
            parts.append(f'<path class="grid" d="M{x:.1f} {TOP - 4}V{height}"/>')
            parts.append(f'<text class="tick" x="{x:.1f}" y="14" text-anchor="middle">{_length(second)}</text>')
            last = x
    for each in pieces:
        if each.wait:
            x = left + (each.low + each.high) / 2 * (right - left)
            waited = f"nothing ran for {_length(each.end_s - each.start_s)}"
            parts.append(f'<path class="cut" d="M{x:.1f} {TOP - 4}V{height}"><title>{waited}</title></path>')
    return parts


def _ticks(pieces: Sequence[Piece], about: int) -> list[float]:
    """Round seconds in the stretches between the cuts, about so many in all."""
    found: list[float] = []
    stretch: list[Piece] = []
    for each in [*pieces, Piece(0, 0, 0, 0, wait=True)]:
        if not each.wait:
            stretch.append(each)
        elif stretch:
            low, high = stretch[0].start_s, stretch[-1].end_s
            share = stretch[-1].high - stretch[0].low
            some = ticks(low, high, about=max(1, round(about * share)))
            found += [second for second in some if low <= second <= high]
            stretch = []
    return found


def waits(page: Shown) -> list[str]:
    """What is drawn short, for the legend."""
    spans = [(span[0], span[1]) for box in page["graph"]["boxes"][:LANES] for span in box["spans"]]
    return [_length(each.end_s - each.start_s) for each in _pieces(spans) if each.wait] if spans else []


def _length(second: float) -> str:
    """A number of seconds, as short as it can be told.

    >>> _length(0.25), _length(90), _length(7200), _length(200_000)
    ('0.25 s', '1.5 min', '2 h', '2.3 d')
    """
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if second >= size * (2 if unit == "d" else 1):
            return f"{round(second / size, 1):g} {unit}"
    return f"{second:g} s" if second < 1 else f"{round(second, 2):g} s"
