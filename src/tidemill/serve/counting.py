"""What a server counts about itself, as Prometheus text.

Source: Prometheus exposition formats, text format 0.0.4.
"""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Counts:
    """Requests by status, rows by role, seconds from the request's arrival until its answer is durable."""

    def __init__(self, deployment: str) -> None:
        self.deployment = deployment
        self.requests: Counter[int] = Counter()
        self.rows: Counter[tuple[int, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.reloads = 0
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def took(self, seconds: float) -> None:
        """Count one answered prediction request."""
        place = next((place for place, bound in enumerate(BOUNDS_S) if seconds <= bound), len(BOUNDS_S))
        self._buckets[place] += 1
        self._sum_s += seconds

    def text(self, *, champion: int) -> str:
        """All of it in the text format."""
        own = f'deployment="{self.deployment}"'
        lines = [
            "# HELP tidemill_requests_total Prediction requests by status.",
            "# TYPE tidemill_requests_total counter",
        ]
        lines += [f'tidemill_requests_total{{{own},status="{key}"}} {n}' for key, n in sorted(self.requests.items())]
        lines += ["# HELP tidemill_rows_total Rows scored by revision and role.", "# TYPE tidemill_rows_total counter"]
        lines += [
            f'tidemill_rows_total{{{own},revision="{revision}",role="{role}"}} {n}'
            for (revision, role), n in sorted(self.rows.items())
        ]
        lines += ["# HELP tidemill_errors_total Failures by kind.", "# TYPE tidemill_errors_total counter"]
        lines += [f'tidemill_errors_total{{{own},kind="{kind}"}} {n}' for kind, n in sorted(self.errors.items())]
        lines += ["# HELP tidemill_reloads_total Traffic changes taken over.", "# TYPE tidemill_reloads_total counter"]
        lines += [f"tidemill_reloads_total{{{own}}} {self.reloads}"]
        lines += ["# HELP tidemill_champion_revision Revision that answers.", "# TYPE tidemill_champion_revision gauge"]
        lines += [f"tidemill_champion_revision{{{own}}} {champion}"]
        name = "tidemill_request_seconds"
        lines += [f"# HELP {name} Seconds from arrival until the answer is durable.", f"# TYPE {name} histogram"]
        totals = list(accumulate(self._buckets))
        for bound, total in zip((*(str(bound) for bound in BOUNDS_S), "+Inf"), totals, strict=True):
            lines.append(f'{name}_bucket{{{own},le="{bound}"}} {total}')
        lines += [f"{name}_sum{{{own}}} {self._sum_s:.6f}", f"{name}_count{{{own}}} {totals[-1]}"]
        return "\n".join(lines) + "\n"
