"""Drawings of runs as SVG: curves of metrics, parallel coordinates, a scatter plot, shares as bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from tidemill.track.comparison import number
from tidemill.web.axes import Axis, ticks
from tidemill.web.layers import cut

COLOURS = 8
HUES = 5  # of parallel coordinates: from the worst fifth to the best
At = Callable[[float], float]


def curves(
    lines: Sequence[tuple[str, Sequence[Sequence[float]], str]],
    *,
    width: int,
    height: int = 200,
    across: str = "step",
    log: bool = False,
    told: str = "",
) -> Markup:
    """Lines over one axis. lines: name, [x, y] points, class ("line c3"). log: of the values; only those above 0."""
    shown = [(name, [p for p in points if not log or p[1] > 0], kind) for name, points, kind in lines]
    every = [point for _, points, _ in shown for point in points]
    if not every:
        return Markup('<p class="none">nothing to draw{}</p>').format(" above 0" if log else "")
    y, levels, up = _values([each[1] for each in every], height - 26, 10, log=log)
    low, high = min(each[0] for each in every), max(each[0] for each in every)
    x = Axis(low, high, 52, width - 10)
    parts = [f'<path class="grid" d="M52 {y(value):.1f}H{width - 10}"/>' for value, _ in levels]
    parts += [f'<text class="tick" x="47" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>'
              for value, text in levels]  # fmt: skip
    for value, text in _across(low, high, across, about=3 if width < 500 else 7):
        at = min(max(x.at(value), 52.0), width - 12.0)
        anchor = "start" if at < 75 else "end" if at > width - 40 else "middle"
        parts.append(f'<text class="tick" x="{at}" y="{height - 8}" text-anchor="{anchor}">{escape(text)}</text>')
    for name, points, kind in shown:
        if len(points) == 1:
            parts.append(f'<circle class="{kind} single" cx="{x.at(points[0][0])}" cy="{y(points[0][1]):.1f}" r="3">'
                         f"{_title(name)}</circle>")  # fmt: skip
        elif points:
            path = "L".join(f"{x.at(px)} {y(py):.1f}" for px, py in points)
            parts.append(f'<path class="{kind}" d="M{path}">{_title(name)}</path>')
    axes = f'data-x="{_axis(x)}" data-y="{_axis(up)}" data-across="{escape(across)}" data-log="{"yes" if log else ""}"'
    return _svg(parts, width, height, told, axes)


def parallel(
    columns: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], *, width: int, best: str
) -> Markup:
    """Each run as a line through its values; the last column gives the shade, the best fifth is drawn last."""
    if len(columns) < 2 or not runs:
        return Markup()
    height, top, left = 300, 30, 34
    step = (width - 2 * left) / (len(columns) - 1)
    scales = [_scale(column["values"], height - 22, top) for column in columns]
    parts = []
    for place, (column, (_, marks)) in enumerate(zip(columns, scales, strict=True)):
        x = round(left + place * step, 1)
        parts.append(f'<path class="axis" d="M{x} {top}V{height - 22}"/>')
        name = column["column"].partition(".")[2]
        y = 12 if place % 2 == 0 or width > 600 else 24
        anchor = "start" if place == 0 else "end" if place == len(columns) - 1 else "middle"
        at = 2 if place == 0 else width - 2 if place == len(columns) - 1 else x
        room = max(5, int(step / (7 if width > 600 else 3.6)))
        parts.append(f'<text class="title" x="{at}" y="{y}" text-anchor="{anchor}">{escape(cut(name, room))}'
                     f"{_title(column['column'])}</text>")  # fmt: skip
        last = place == len(columns) - 1
        for mark, text in marks:
            end = f'x="{x + (-4 if last else 4)}" y="{mark + 4:.1f}" text-anchor="{"end" if last else "start"}"'
            parts.append(f'<text class="tick" {end}>{escape(cut(text, max(4, int(step / 8))))}</text>')
    hues = _hues([run["metric"] for run in runs], best)
    lines = []
    for place, run in enumerate(runs):
        points = [
            f"{left + at * step:.1f} {scales[at][0](column['values'][place]):.1f}"
            for at, column in enumerate(columns)
            if column["values"][place] is not None
        ]
        if len(points) > 1:
            told = f"{run['name']}: " + ", ".join(
                f"{each['column']} {_short(each['values'][place])}" for each in columns
            )
            hue = hues[place]
            line = f'<path class="way q{hue}" d="M{"L".join(points)}">{_title(told)}</path>'
            lines.append((hue, f'<a href="/runs/{escape(run["id"])}">{line}</a>'))
    return _svg(_under([line for _, line in sorted(lines, key=lambda each: each[0])], parts), width, height,
                "parallel coordinates: each line is a run")  # fmt: skip


def scatter(plot: Mapping[str, Any], *, width: int, height: int = 320) -> Markup:
    """One column against another."""
    points = plot["points"]
    if not points:
        return Markup('<p class="none">no run has both</p>')
    across, marks = _scale([each[0] for each in points], 58, width - 18)
    up, levels = _scale([each[1] for each in points], height - 42, 22)
    parts = []
    for at, text in levels:
        parts.append(f'<path class="grid" d="M52 {at:.1f}H{width - 12}"/>')
        parts.append(f'<text class="tick" x="47" y="{at + 4:.1f}" text-anchor="end">{escape(cut(text, 7))}</text>')
    for at, text in marks:
        parts.append(f'<text class="tick" x="{at:.1f}" y="{height - 24}" text-anchor="middle">{escape(cut(text, 9))}'
                     "</text>")  # fmt: skip
    for a, b, run_id, name in points:
        told = f"{name}: {plot['x']} {_short(a)}, {plot['y']} {_short(b)}"
        circle = f'<circle class="dot" cx="{across(a):.1f}" cy="{up(b):.1f}" r="4">{_title(told)}</circle>'
        parts.append(f'<a href="/runs/{escape(run_id)}">{circle}</a>')
    room = width // 9
    parts.append(f'<text class="title" x="{(width + 34) / 2}" y="{height - 6}" text-anchor="middle">'
                 f"{escape(cut(plot['x'], room))}</text>")  # fmt: skip
    parts.append(f'<text class="title" x="2" y="12">{escape(cut(plot["y"], room))}</text>')
    return _svg(parts, width, height, f"{plot['y']} against {plot['x']}")


def _under(lines: Sequence[str], parts: Sequence[str]) -> list[str]:
    return [*lines, *parts]


def _hues(values: Sequence[float | None], best: str) -> list[int]:
    """A shade by rank: 0 where there is none, 1 the worst fifth, HUES the best."""
    ranked = sorted({each for each in values if each is not None}, reverse=best == "min")
    places = {value: 1 + min(HUES - 1, int(place / max(1, len(ranked)) * HUES)) for place, value in enumerate(ranked)}
    return [0 if each is None else places[each] for each in values]


def _values(
    values: Sequence[float], bottom: float, top: float, *, log: bool
) -> tuple[At, list[tuple[float, str]], Axis]:
    """Where a value stands, what the axis says, and the axis (of logarithms where `log`)."""
    if log:
        low, high = math.log10(min(values)), math.log10(max(values))
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        axis = Axis(low, high, bottom, top)
        first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
        powers = range(first, last + 1, max(1, (last - first + 1) // 5))
        marks = [(10.0**power, f"{10.0**power:g}") for power in powers]
        if len(marks) < 2:
            marks = [(10**at, f"{10**at:.3g}") for at in (low, (low + high) / 2, high)]
        return lambda value: axis.at(math.log10(value)), marks, axis
    steps = ticks(min(values), max(values))
    linear = Axis(steps[0], steps[-1], bottom, top)
    return linear.at, [(step, f"{step:.4g}") for step in steps], linear


def _across(low: float, high: float, across: str, *, about: int) -> list[tuple[float, str]]:
    """What the axis below says."""
    if high <= low:
        return [(low, _moment(low, across, 0.0))]
    steps = [each for each in ticks(low, high, about=about) if low <= each <= high]
    return [(each, _moment(each, across, high - low)) for each in steps]


def _moment(value: float, across: str, span: float) -> str:
    if across == "wall":
        at = datetime.fromtimestamp(value, UTC)
        return f"{at:%H:%M:%S}" if span < 600 else f"{at:%H:%M}" if span < 86_400 else f"{at:%d %b %H:%M}"
    if across == "time":
        return f"{value:g} s" if span < 300 else f"{value / 60:.4g} min" if span < 18_000 else f"{value / 3600:.4g} h"
    return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.3g}"


def _scale(values: Sequence[Any], start: float, end: float) -> tuple[Callable[[Any], float], list[tuple[float, str]]]:
    """Numbers by size, or by logarithm where they span a factor of 100; words side by side, in order."""
    found = [each for each in values if each is not None]
    figures = [each if isinstance(each, int | float) else number(each) for each in found]
    if found and all(each is not None for each in figures):
        sure = [float(each) for each in figures if each is not None]
        log = min(sure) > 0 and max(sure) / min(sure) >= 100
        at, marks, _ = _values(sure, start, end, log=log)

        def figure(value: Any) -> float:
            exact = value if isinstance(value, int | float) else number(value)
            return at(float(exact or 0.0))

        return figure, [(at(value), text) for value, text in marks]
    words = sorted({str(each) for each in found})
    step = (end - start) / max(1, len(words))
    places = {word: start + step * (place + 0.5) for place, word in enumerate(words)}
    every = max(1, math.ceil(len(words) / 12))
    return lambda value: places[str(value)], [(at, word) for word, at in list(places.items())[::every]]


def _short(value: Any) -> str:
    return "–" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)[:60]


def _title(text: str) -> Markup:
    return Markup("<title>{}</title>").format(text)


def _axis(axis: Axis) -> str:
    return f"{axis.low!r} {axis.high!r} {axis.start!r} {axis.end!r}"


def _svg(parts: Sequence[str], width: int, height: int, told: str, more: str = "") -> Markup:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return Markup(f'<svg class="plot" role="img" aria-label="{escape(told)}" {size} {more}>{"".join(parts)}</svg>')  # noqa: S704  texts escaped
