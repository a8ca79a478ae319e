"""A leaderboard drawn: each candidate's score with its interval, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from markupsafe import Markup, escape

from tidemill.api.views.shaping import Shown
from tidemill.web.axes import Axis, ticks
from tidemill.web.layers import cut

ROW = 28
FAR = 20.0  # a candidate so many times as far from the best as the middle one is at the edge, with an arrow
NAMES_FROM = 600  # from this width on names stand left of the scale; below it above their whiskers


def standings(board: Shown, *, width: int) -> Markup:
    """One row a candidate that has a score, best first: a dot and the whiskers of its interval; ties in one colour.

    board: as JSON (`Leaderboard.as_json`). The dashed line is the best baseline.
    """
    lines = [line for line in board["lines"] if line["standing"] and line["standing"]["value"] is not None]
    if not lines:
        return Markup()
    beside = width >= NAMES_FROM
    left, high = (230 if beside else 12), (ROW if beside else ROW + 14)
    ends = _ends(lines)
    marks = ticks(*ends, about=8 if beside else 4)
    x = Axis(marks[0], marks[-1], left, width - 16)
    bottom = high * len(lines) + 6
    parts = []
    for mark in marks:
        parts.append(f'<path class="grid" d="M{x.at(mark)} 4V{bottom}"/>')
        parts.append(f'<text class="tick" x="{x.at(mark)}" y="{bottom + 16}" text-anchor="middle">{mark:.6g}</text>')
    base = next((line["standing"]["value"] for line in lines if line["baseline"]), None)
    if base is not None and marks[0] <= base <= marks[-1]:
        middles = [high * place + high - ROW / 2 + 3 for place in range(len(lines))]
        # Between names above whiskers it is broken, so that it crosses none.
        path = f"M{x.at(base)} 4V{bottom}" if beside else "".join(f"M{x.at(base)} {y - 8}v16" for y in middles)
        parts.append(f'<path class="reference" d="{path}"/>')
    for place, line in enumerate(lines):
        parts += _row(board, line, x, high * place + high - ROW / 2 + 3, beside=beside)
    side = "more" if board["direction"] == "max" else "less"
    told = f"{_words(board['score'])} ({side} is better)"
    parts.append(
        f'<text class="title" x="{(x.start + x.end) / 2}" y="{bottom + 36}" text-anchor="middle">{escape(told)}</text>'
    )
    return _svg(parts, width, bottom + 44, f"{_words(board['score'])} of each candidate, with intervals")


def figure(found: float | None) -> str:
    """A score of a column of scores, as `print(board)` shows it.

    >>> figure(0.858), figure(1234.56), figure(None)
    ('0.8580', '1,234.6', '–')
    """
    if found is None:
        return "–"
    return f"{found:.4f}" if abs(found) < 100 else f"{found:,.1f}"


def size(found: int | None) -> str:
    """A size in bytes.

    >>> size(4200), size(3_500_000), size(None)
    ('4.2 kB', '3.5 MB', '–')
    """
    if found is None:
        return "–"
    return f"{found / 1e6:.1f} MB" if found >= 1e6 else f"{found / 1e3:.1f} kB"


def micros(found: float | None) -> str:
    """A time in microseconds.

    >>> micros(58.2), micros(2_400.0), micros(None)
    ('58 µs', '2.4 ms', '–')
    """
    if found is None:
        return "–"
    return f"{found / 1e3:.1f} ms" if found >= 1e3 else f"{found:.0f} µs"


def _row(board: Shown, line: Shown, x: Axis, y: float, *, beside: bool) -> list[str]:
    found = line["standing"]
    name = f"{line['place']} {cut(line['name'], 24 if beside else 34)}"
    at, anchor = ((x.start - 14, y + 4), "end") if beside else ((x.start, y - 12), "start")
    style = "title" if line["rank"] == 1 else "tick"
    parts = [f'<text class="{style}" x="{at[0]}" y="{at[1]}" text-anchor="{anchor}">{escape(name)}</text>']
    parts.append(f'<path class="lane" d="M{x.start} {y}H{x.end}"/>')
    value, low, high = found["value"], found["low"], found["high"]
    told = f"{line['name']}: {_words(board['score'])} {value:.4g}"
    if low is not None and high is not None:
        told += f", {board['level'] * 100:g} % interval {low:.4g} to {high:.4g}"
        from_, to = (x.at(min(max(each, x.low), x.high)) for each in (low, high))
        parts.append(f'<path class="whisker" d="M{from_} {y}H{to}"/>')
        for end, pixel in ((low, from_), (high, to)):
            if x.low <= end <= x.high:
                parts.append(f'<path class="whisker" d="M{pixel} {y - 5}v10"/>')
    title = f"<title>{escape(told)}</title>"
    if not x.low <= value <= x.high:
        edge, way = (x.end, -9) if value > x.high else (x.start, 9)
        parts.append(f'<path class="mark" d="M{edge} {y}l{way} -6v12z">{title}</path>')
        return parts
    mark = "dot best" if line["rank"] == 1 else "dot beaten" if line["baseline"] else "dot"
    parts.append(f'<circle class="{mark}" cx="{x.at(value)}" cy="{y}" r="5">{title}</circle>')
    return parts


def _ends(lines: Sequence[Shown]) -> tuple[float, float]:
    """A scale that holds every score and interval, but for what is absurdly far from the best."""
    best = lines[0]["standing"]["value"]
    spans = [_known(line) for line in lines]
    reach = FAR * median(max(abs(each - best) for each in span) for span in spans)
    shown = [best]
    for line, span in zip(lines, spans, strict=True):
        if not reach or abs(line["standing"]["value"] - best) <= reach:
            shown += [min(max(each, best - reach), best + reach) if reach else each for each in span]
    return min(shown), max(shown)


def _known(line: Shown) -> list[float]:
    found = line["standing"]
    return [each for each in (found["value"], found["low"], found["high"]) if each is not None]


def _words(score: str) -> str:
    return score.replace("_", " ")


def _svg(parts: Sequence[str], width: int, height: float, told: str) -> Markup:
    size = f'width="{width}" height="{height:g}" viewBox="0 0 {width} {height:g}"'
    return Markup(f'<svg class="plot" role="img" aria-label="{escape(told)}" {size}>{"".join(parts)}</svg>')  # noqa: S704  texts escaped
