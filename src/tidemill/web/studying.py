"""Drawings of a study as SVG: how its best score came about, one parameter against the score, and what trades off."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup, escape

from tidemill.api.views.shaping import Shown
from tidemill.web.axes import Axis, ticks
from tidemill.web.layers import cut

HIGH = 240
SIZE = 250  # of a slice
LOG_FROM = 50.0  # a parameter whose largest value is so many times its least is drawn by its logarithm
Scale = Callable[[Any], float]  # Any: a number, or one of a parameter's choices


def history(study: Shown, *, width: int) -> Markup:
    """Each trial's first score in order, and the best so far as a line."""
    lines = study["history"]
    if not lines:
        return Markup()
    name = study["scores"][0][0]
    y, levels = _axis([value for _, value, _ in lines], HIGH - 30, 12)
    x = Axis(0, max(study["trials"][-1]["number"], 1), 56, width - 12)
    parts = _grid(y, levels, x.start, x.end)
    for number in (each for each in ticks(x.low, x.high, about=6) if each <= x.high and each == int(each)):
        parts.append(f'<text class="tick" x="{x.at(number)}" y="{HIGH - 12}" text-anchor="middle">{number:g}</text>')
    path = f"M{x.at(lines[0][0])} {y.at(lines[0][2])}"
    path += "".join(f"H{x.at(number)}V{y.at(best)}" for number, _, best in lines[1:]) + f"H{x.end}"
    parts.append(f'<path class="daily" d="{path}"/>')
    for number, value, _ in lines:
        told = f"trial {number}: {name} {value:.5g}"
        mark = "dot best" if number == study["best"] else "dot"
        parts.append(f'<circle class="{mark}" cx="{x.at(number)}" cy="{y.at(value)}" r="4">{_title(told)}</circle>')
    return _svg(parts, width, HIGH, f"{name} of each trial, and the best so far")


def slice_of(name: str, points: Sequence[Sequence[Any]], score: str) -> Markup:
    """One parameter's values against the first score."""
    found = [(value, float(result)) for value, result in points if value is not None]
    if not found:
        return Markup()
    at, marks = _values([value for value, _ in found], 50, SIZE - 12)
    y, levels = _axis([result for _, result in found], SIZE - 40, 14)
    parts = _grid(y, levels, 50, SIZE - 12)
    for x, text in marks:
        parts.append(f'<text class="tick" x="{x:.1f}" y="{SIZE - 24}" text-anchor="middle">{escape(text)}</text>')
    for value, result in found:
        told = f"{name} {value if isinstance(value, str) else f'{value:.4g}'}: {score} {result:.5g}"
        parts.append(f'<circle class="dot" cx="{at(value):.1f}" cy="{y.at(result)}" r="3.5">{_title(told)}</circle>')
    middle = (50 + SIZE - 12) / 2
    parts.append(f'<text class="title" x="{middle}" y="{SIZE - 6}" text-anchor="middle">{escape(cut(name, 28))}</text>')
    return _svg(parts, SIZE, SIZE, f"{score} by {name}")


def front(study: Shown, *, width: int) -> Markup:
    """The first two scores of each trial; those that no other beats in every score are joined."""
    scores = study["scores"]
    if len(scores) < 2:
        return Markup()
    trials = [each for each in study["trials"] if each["values"] is not None and each["state"] == "complete"]
    trials = [each for each in trials if None not in each["values"]]
    if not trials:
        return Markup()
    best = [each for each in trials if each["number"] in set(study["front"])]
    high = 320
    y, levels = _axis([each["values"][1] for each in trials], high - 44, 22)
    across = [each["values"][0] for each in trials]
    steps = ticks(min(across), max(across), about=4 if width < 600 else 8)
    x = Axis(steps[0], steps[-1], 60, width - 18)
    parts = _grid(y, levels, x.start, x.end)
    for step in steps:
        parts.append(f'<text class="tick" x="{x.at(step)}" y="{high - 28}" text-anchor="middle">{step:.4g}</text>')
    line = sorted((x.at(each["values"][0]), y.at(each["values"][1])) for each in best)
    if len(line) > 1 and len(scores) == 2:
        parts.append(f'<path class="daily" d="M{"L".join(f"{left} {up}" for left, up in line)}"/>')
    for each in trials:
        mark = "dot best" if each in best else "dot beaten"
        texts = [f"{name} {value:.5g}" for (name, _), value in zip(scores, each["values"], strict=False)]
        told = f"trial {each['number']}: {', '.join(texts)}"
        place = f'cx="{x.at(each["values"][0])}" cy="{y.at(each["values"][1])}"'
        parts.append(f'<circle class="{mark}" {place} r="5">{_title(told)}</circle>')
    middle = (x.start + x.end) / 2
    parts.append(f'<text class="title" x="{middle}" y="{high - 8}" text-anchor="middle">{_aim(scores[0])}</text>')
    parts.append(f'<text class="title" x="{x.start}" y="13">{_aim(scores[1])}</text>')
    return _svg(parts, width, high, f"{scores[0][0]} against {scores[1][0]}")


def _aim(score: Sequence[str]) -> str:
    name, side = score
    return f"{escape(name)} ({'higher' if side == 'max' else 'lower'} is better)"


def _axis(values: Sequence[float], bottom: float, top: float) -> tuple[Axis, list[float]]:
    """The axis of a score, and where its ticks are."""
    steps = ticks(min(values), max(values))
    return Axis(steps[0], steps[-1], bottom, top), steps


def _grid(y: Axis, steps: Sequence[float], left: float, right: float) -> list[str]:
    parts = []
    for step in steps:
        parts.append(f'<path class="grid" d="M{left} {y.at(step)}H{right}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y.at(step) + 4}" text-anchor="end">{step:.4g}</text>')
    return parts


def _values(values: Sequence[Any], left: float, right: float) -> tuple[Scale, list[tuple[float, str]]]:
    """Where a parameter's value stands, and what the axis says: choices side by side, numbers by size or logarithm."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        choices = sorted({str(value) for value in values})
        step = (right - left) / len(choices)
        places = {choice: left + step * (place + 0.5) for place, choice in enumerate(choices)}
        return lambda value: places[str(value)], [(x, cut(choice, int(step // 7))) for choice, x in places.items()]
    low, high = float(min(values)), float(max(values))
    if low > 0 and high / low >= LOG_FROM:
        by_power = Axis(math.log10(low), math.log10(high), left + 6, right - 6)
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        every = max(1, math.ceil(len(powers) / 4))
        marks = [(by_power.at(power), f"{10.0**power:g}") for power in powers[::every]]
        return lambda value: by_power.at(math.log10(value)), marks
    steps = ticks(low, high, about=3)
    by_size = Axis(steps[0], steps[-1], left + 6, right - 6)
    return lambda value: by_size.at(value), [(by_size.at(step), f"{step:g}") for step in steps]


def _title(text: str) -> Markup:
    return Markup("<title>{}</title>").format(text)


def _svg(parts: Sequence[str], width: int, height: int, told: str) -> Markup:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return Markup(f'<svg class="plot" role="img" aria-label="{escape(told)}" {size}>{"".join(parts)}</svg>')  # noqa: S704  texts escaped
