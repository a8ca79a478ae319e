"""Drawings of an evaluation: what was said against what came, and values with their intervals on one scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from tidemill.api.views.shaping import Shown
from tidemill.web.axes import Axis, ticks

SIZE = 280
WIDTH, HEIGHT, MARGIN = 132, 18, 5


def calibration(lines: Sequence[Shown], task: str) -> Markup:
    """Bins {predicted, observed, observed_low, observed_high, rows}: circles of an area by their rows, with intervals.

    On the diagonal a model is calibrated. Probabilities are drawn from 0 to 1, values as far as they go.
    """
    bins = [line for line in lines if line["rows"]]
    if not bins:
        return Markup()
    if task == "regression":
        ends = [line[name] for line in bins for name in ("predicted", "observed_low", "observed_high")]
        marks = ticks(min(ends), max(ends))
    else:
        marks = [0.0, 0.25, 0.5, 0.75, 1.0]
    x, y = Axis(marks[0], marks[-1], 50, SIZE - 14), Axis(marks[0], marks[-1], SIZE - 36, 10)
    parts = []
    for place, mark in enumerate(marks):
        parts.append(f'<path class="grid" d="M{x.start} {y.at(mark)}H{x.end}M{x.at(mark)} {y.start}V{y.end}"/>')
        parts.append(f'<text class="tick" x="44" y="{y.at(mark) + 4}" text-anchor="end">{_tick(mark)}</text>')
        if len(marks) < 6 or place % 2 == 0:
            parts.append(
                f'<text class="tick" x="{x.at(mark)}" y="{SIZE - 20}" text-anchor="middle">{_tick(mark)}</text>'
            )
    parts.append(f'<path class="reference" d="M{x.start} {y.start}L{x.end} {y.end}"/>')
    most = max(line["rows"] for line in bins)
    points = [(x.at(line["predicted"]), y.at(line["observed"])) for line in bins]
    parts.append(f'<path class="daily" d="M{"L".join(f"{across} {up}" for across, up in points)}"/>')
    for line, (across, up) in zip(bins, points, strict=True):
        low, high = y.at(line["observed_low"]), y.at(line["observed_high"])
        radius = round(2.5 + 5 * math.sqrt(line["rows"] / most), 1)
        told = (
            f"predicted {_short(line['predicted'])}, observed {_short(line['observed'])} "
            f"({_short(line['observed_low'])} to {_short(line['observed_high'])}), {line['rows']:,} rows"
        )
        parts.append(f'<path class="whisker" d="M{across} {low}V{high}M{across - 3} {low}h6M{across - 3} {high}h6"/>')
        parts.append(f'<circle class="dot" cx="{across}" cy="{up}" r="{radius}"><title>{told}</title></circle>')
    parts.append(f'<text class="tick" x="{(x.start + x.end) / 2}" y="{SIZE - 4}" text-anchor="middle">predicted</text>')
    parts.append(f'<text class="tick" x="{x.start + 6}" y="22">observed</text>')
    return _svg("Calibration", SIZE, SIZE, parts)


def scale(values: Iterable[float | None], *, zero: bool = False) -> tuple[float, float]:
    """The ends of a scale that holds all of these; with `zero` also 0."""
    known = [float(each) for each in values if each is not None] + ([0.0] if zero else [])
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def bar(value: float, low: float | None, high: float | None, ends: tuple[float, float]) -> Markup:
    """A bar from 0 to the value, with its interval."""
    axis = Axis(*ends, MARGIN, WIDTH - MARGIN)
    left, right = sorted((axis.at(0.0), axis.at(value)))
    parts = [f'<rect class="bar" x="{left}" y="4" width="{max(right - left, 1):.1f}" height="{HEIGHT - 8}"/>']
    parts += [f'<path class="lane" d="M{axis.at(0.0)} 0V{HEIGHT}"/>', _whisker(axis, low, high)]
    return _svg(_told(value, low, high), WIDTH, HEIGHT, parts)


def dot(
    value: float, low: float | None, high: float | None, ends: tuple[float, float], beside: float | None = None
) -> Markup:
    """A point with its interval; beside: where the whole stands."""
    axis = Axis(*ends, MARGIN, WIDTH - MARGIN)
    parts = [f'<path class="lane" d="M{axis.start} {HEIGHT / 2}H{axis.end}"/>']
    if beside is not None:
        parts.append(f'<path class="reference" d="M{axis.at(beside)} 0V{HEIGHT}"/>')
    parts += [_whisker(axis, low, high), f'<circle class="dot" cx="{axis.at(value)}" cy="{HEIGHT / 2}" r="4"/>']
    return _svg(_told(value, low, high), WIDTH, HEIGHT, parts)


def _whisker(axis: Axis, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    left, right, middle = axis.at(low), axis.at(high), HEIGHT / 2
    return f'<path class="whisker" d="M{left} {middle}H{right}M{left} {middle - 3}v6M{right} {middle - 3}v6"/>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def _told(value: float, low: float | None, high: float | None) -> str:
    return _short(value) + ("" if low is None or high is None else f" ({_short(low)} to {_short(high)})")


def _tick(mark: float) -> str:
    return f"{mark:g}" if abs(mark) < 1e4 else f"{mark:.2g}"


def _svg(label: str, width: int, height: int, parts: Iterable[str]) -> Markup:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return Markup(f'<svg class="plot" role="img" aria-label="{label}" {size}>{"".join(parts)}</svg>')  # noqa: S704  numbers only
