"""Calibration as SVG: the observed share against the predicted one, bin by bin."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from tidemill.api.views.shaping import Shown
from tidemill.web.axes import Axis

SIZE = 280


def plot(lines: Sequence[Shown]) -> Markup:
    """Bins {predicted, observed, rows} as circles of an area by their rows; on the diagonal a model is calibrated."""
    bins = [line for line in lines if line.get("rows") and line.get("predicted") is not None]
    if not bins:
        return Markup()
    x, y = Axis(0, 1, 40, SIZE - 10), Axis(0, 1, SIZE - 36, 10)
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<path class="grid" d="M{x.start} {y.at(share)}H{x.end}M{x.at(share)} {y.start}V{y.end}"/>')
        parts.append(f'<text class="tick" x="34" y="{y.at(share) + 4}" text-anchor="end">{share:g}</text>')
        parts.append(f'<text class="tick" x="{x.at(share)}" y="{SIZE - 20}" text-anchor="middle">{share:g}</text>')
    parts.append(f'<path class="reference" d="M{x.at(0)} {y.at(0)}L{x.at(1)} {y.at(1)}"/>')
    most = max(line["rows"] for line in bins)
    points = [(x.at(line["predicted"]), y.at(line["observed"])) for line in bins]
    parts.append(f'<path class="daily" d="M{"L".join(f"{across} {up}" for across, up in points)}"/>')
    for line, (across, up) in zip(bins, points, strict=True):
        radius = round(2.5 + 6 * math.sqrt(line["rows"] / most), 1)
        told = f"predicted {line['predicted']:.3f}, observed {line['observed']:.3f}, {line['rows']:,.0f} rows"
        parts.append(f'<circle class="dot" cx="{across}" cy="{up}" r="{radius}"><title>{told}</title></circle>')
    parts.append(f'<text class="tick" x="{(x.start + x.end) / 2}" y="{SIZE - 4}" text-anchor="middle">predicted</text>')
    parts.append(f'<text class="tick" x="{x.start + 6}" y="22">observed</text>')
    size = f'width="{SIZE}" height="{SIZE}" viewBox="0 0 {SIZE} {SIZE}"'
    return Markup(f'<svg class="plot" role="img" aria-label="Calibration" {size}>{"".join(parts)}</svg>')  # noqa: S704  numbers only
