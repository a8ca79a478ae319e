"""A column's distribution as SVG: bars of its histogram, or of its most common values."""

from __future__ import annotations

from html import escape

from markupsafe import Markup

from tidemill.api.views.shaping import Shown

WIDTH, HEIGHT, BARS = 240, 56, 12


def plot(facts: Shown) -> Markup:
    """Bars of {"histogram": {"edges", "counts"}}, or of {"top": [{"value", "rows"}]}; empty where there is neither."""
    histogram = facts.get("histogram")
    if histogram and histogram["counts"]:
        edges, counts = histogram["edges"], histogram["counts"]
        told = [f"{_text(edges[n])} to {_text(edges[n + 1])}: {count:,}" for n, count in enumerate(counts)]
    elif facts.get("top"):
        counts = [each["rows"] for each in facts["top"][:BARS]]
        told = [f"{_text(each['value'])}: {each['rows']:,}" for each in facts["top"][:BARS]]
    else:
        return Markup()
    most, step = max(counts) or 1, WIDTH / max(len(counts), 6)
    bars = []
    for n, (count, title) in enumerate(zip(counts, told, strict=True)):
        high = max(1.0, round(count / most * (HEIGHT - 2), 1)) if count else 0
        place = f'x="{round(n * step, 1)}" y="{round(HEIGHT - high, 1)}" width="{round(step - 1, 1)}" height="{high}"'
        bars.append(f'<rect class="bar" {place}><title>{escape(title)}</title></rect>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return Markup(f'<svg class="histogram" role="img" aria-label="Distribution" {size}>{"".join(bars)}</svg>')  # noqa: S704  texts are escaped


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
