"""How good a deployment's answers were over time, as SVG: scores, and above them what was decided when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from markupsafe import Markup, escape

from tidemill.api.views.shaping import Shown
from tidemill.web.axes import Axis, day_ticks, ticks

WORDS = ("deployed", "rebuilt", "rejected", "promoted", "rolled back")  # a lane each, from the top
PANELS = (("auc", "AUC, higher is better"), ("log_loss", "Log loss, lower is better"))
LANE = 17


def plot(performance: Shown, *, width: int) -> Markup:
    """The plot `width` pixels wide; empty where nothing is proved yet.

    performance: of views.deployment. Lines are scores over the monitor's window, day by day; thick strokes calendar
    months; the dashed line is the champion's AUC on its test rows.
    """
    days, months, marks = performance["days"], performance["months"], performance["marks"]
    alerts = performance["alert_days"]
    if not days and not months:
        return Markup()
    first, last = _span(days, months, marks)
    wide = width > 600
    left, right = (96 if wide else 40), width - 14
    x = Axis(first.toordinal(), last.toordinal(), left, right)
    lanes = [word for word in WORDS if any(mark["what"] == word for mark in marks)]
    height = 150 if wide else 120
    top = 8 + LANE * (len(lanes) + bool(alerts)) + 26
    bottoms = [top + height + number * (height + 36) for number in range(len(PANELS))]
    parts = [_lanes(marks, alerts, lanes, x, bottoms[-1], wide=wide)]
    for (score, title), bottom in zip(PANELS, bottoms, strict=True):
        parts.append(_panel(score, title, days, months, x, bottom - height, bottom))
    for at, label in day_ticks(first, last, at_most=12 if wide else 5):
        pixel = x.at(at.toordinal())
        parts += [f'<text class="tick" x="{pixel}" y="{bottoms[-1] + 18}" text-anchor="middle">{label}</text>']
    title = "Performance over time, with rebuilds, promotions and rollbacks marked"
    size = f'width="{width}" height="{bottoms[-1] + 28}" viewBox="0 0 {width} {bottoms[-1] + 28}"'
    return Markup(f'<svg class="plot" role="img" aria-label="{title}" {size}>{"".join(parts)}</svg>')  # noqa: S704  built here, texts escaped


def symbol(what: str) -> Markup:
    """The sign of a mark, for legends and lists."""
    size = 'width="14" height="14" viewBox="-7 -7 14 14"'
    return Markup(f'<svg class="sign" aria-hidden="true" {size}>{_sign(what)}</svg>')  # noqa: S704  a sign of ours


def _sign(what: str) -> str:
    shape = {
        "deployed": '<circle r="4.5"/>',
        "rebuilt": '<circle r="4" class="hollow"/>',
        "promoted": '<path d="M0-5.5 5.5 4.5h-11z"/>',
        "rolled back": '<path d="M0 5.5 5.5-4.5h-11z"/>',
        "rejected": '<path class="stroke" d="M-4-4 4 4M4-4-4 4"/>',
        "alert": '<path class="stroke" d="M0-4.5V4.5"/>',
    }[what]
    return f'<g class="mark {what.replace(" ", "-")}">{shape}</g>'


def _lanes(
    marks: Sequence[Shown], alerts: Sequence[Shown], lanes: Sequence[str], x: Axis, bottom: float, *, wide: bool
) -> str:
    """A lane of signs for each kind of decision and for alerts; a line down the panels at a change of champion."""
    parts = []
    rows = [*lanes, *(["alert"] if alerts else [])]
    for number, what in enumerate(rows):
        y = 14 + LANE * number
        parts.append(f'<path class="lane" d="M{x.start} {y}H{x.end}"/>')
        if wide:
            name = "alerts" if what == "alert" else what
            parts.append(f'<text class="tick" x="{x.start - 8}" y="{y + 4}" text-anchor="end">{name}</text>')
        for mark in alerts if what == "alert" else marks:
            if what not in ("alert", mark["what"]):
                continue
            pixel = x.at(_day(mark["at"]).toordinal())
            if not x.start <= pixel <= x.end:
                continue
            told = escape(f"{mark['at'][:10]} {mark['what']}: {mark['text']}")
            if what in ("promoted", "rolled back", "deployed"):
                shown = what.replace(" ", "-")
                parts.append(f'<path class="fall {shown}" d="M{pixel} {y}V{bottom}"/>')
            parts.append(f'<g transform="translate({pixel} {y})"><title>{told}</title>{_sign(what)}</g>')
    return "".join(parts)


def _panel(
    score: str, title: str, days: Sequence[Shown], months: Sequence[Shown], x: Axis, top: float, bottom: float
) -> str:
    values = [line[score] for line in (*days, *months) if line.get(score) is not None]
    if score == "auc":
        values += [line["reference_auc"] for line in days if line.get("reference_auc") is not None]
    if not values:
        return ""
    marks = ticks(min(values), max(values), about=4)
    y = Axis(marks[0], marks[-1], bottom, top)
    parts = [f'<text class="title" x="{x.start}" y="{top - 8}">{title}</text>']
    for mark in marks:
        pixel = y.at(mark)
        parts.append(f'<path class="grid" d="M{x.start} {pixel}H{x.end}"/>')
        parts.append(f'<text class="tick" x="{x.start - 8}" y="{pixel + 4}" text-anchor="end">{mark:.10g}</text>')
    for line in months:
        begin = date.fromisoformat(f"{line['period']}-01")
        end = (begin + timedelta(days=32)).replace(day=1)
        if line.get(score) is None:
            continue
        from_, to = x.at(max(begin.toordinal(), x.low)), x.at(min(end.toordinal(), x.high)) - 2
        told = escape(f"{line['period']}: {score.replace('_', ' ')} {line[score]:.4f} on {line['n']:,.0f} answers")
        parts.append(f'<path class="month" d="M{from_} {y.at(line[score])}H{to}"><title>{told}</title></path>')
    if score == "auc":
        parts.append(_line("reference", [(each["day"], each.get("reference_auc")) for each in days], x, y))
    parts.append(_line("daily", [(each["day"], each.get(score)) for each in days], x, y))
    return "".join(parts)


def _line(name: str, points: Sequence[tuple[str, float | None]], x: Axis, y: Axis) -> str:
    """A path through the points; a gap of more than three days, or a missing value, is left open."""
    steps, before = [], None
    for day, value in points:
        if value is None:
            before = None
            continue
        at = _day(day)
        go_on = before is not None and (at - before).days <= 3
        steps.append(f"{'L' if go_on else 'M'}{x.at(at.toordinal() + 1)} {y.at(value)}")
        before = at
    return f'<path class="{name}" d="{"".join(steps)}"/>' if steps else ""


def _span(days: Sequence[Shown], months: Sequence[Shown], marks: Sequence[Mapping[str, Any]]) -> tuple[date, date]:
    """From the first to the last day of anything that is drawn."""
    seen = [_day(line["day"]) for line in days] + [date.fromisoformat(f"{line['period']}-01") for line in months]
    seen += [_day(mark["at"]) for mark in marks]
    if days:
        end = max(_day(line["day"]) for line in days) + timedelta(days=1)
    else:
        end = (date.fromisoformat(f"{months[-1]['period']}-01") + timedelta(days=32)).replace(day=1)
    return min(seen), max(end, *seen)


def _day(text: str) -> date:
    return date.fromisoformat(text[:10])
