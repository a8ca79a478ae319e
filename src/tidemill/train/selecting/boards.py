"""A leaderboard as a record: its lines, its findings, as JSON and as a table of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tidemill.core.errors import NotFound, WrongFormat, nearest
from tidemill.train.leakage import Finding
from tidemill.train.selecting.judging import Standing

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Line:
    """One candidate. rank: 1 for the best and all that are tied with it; None for one that failed or has no score.

    scores: all of the task that are defined for the rows. fit_s: wall seconds of the fit; latency_us: the median time
    of a question about one row; size_bytes: of the model, pickled in memory; None where it was not measured.
    run: id of its "train.candidate" run. note: the first warning of the fit. cached: taken from an earlier run.
    """

    name: str
    baseline: bool
    rank: int | None
    standing: Standing | None
    scores: Mapping[str, float]
    fit_s: float | None
    size_bytes: int | None
    latency_us: float | None
    run: str | None
    params: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    error: str = ""
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Candidates by their score on the same held-out rows, the best first.

    kind, score, direction: what was asked. train_rows, rows: how many to fit on, and held out. units: what was taken as
    independent (rows, or groups). looks: how often the held-out rows were looked at, this time included, and for how
    many models. findings: leaks between the training and the held-out rows. run: id of the "train.leaderboard" run.
    """

    name: str
    kind: str
    task: str
    target: str | None
    score: str
    direction: str
    level: float
    train_rows: int
    rows: int
    units: int
    lines: tuple[Line, ...]
    findings: tuple[Finding, ...]
    looks: Mapping[str, Any]
    run: str = ""

    @property
    def best(self) -> Line:
        """The first line."""
        return self.lines[0]

    @property
    def tied(self) -> tuple[Line, ...]:
        """The lines that may be as good as the best one, it included: choose the smallest or the quickest of them."""
        return tuple(line for line in self.lines if line.rank == 1)

    def line(self, name: str) -> Line:
        """The line of that candidate. Raises NotFound naming the nearest."""
        for line in self.lines:
            if line.name == name:
                return line
        known = [line.name for line in self.lines]
        raise NotFound(f"no candidate {name!r} here; there are {', '.join(known)}.{nearest(name, known)}")

    def as_json(self) -> dict[str, Any]:
        """As a JSON object, the format first."""
        told = {name: getattr(self, name) for name in self.__slots__ if name not in ("lines", "findings", "looks")}
        return {
            "format": FORMAT,
            **told,
            "looks": dict(self.looks),
            "lines": [_finite(asdict(line)) for line in self.lines],
            "findings": [finding.as_json() for finding in self.findings],
        }

    @property
    def text(self) -> str:
        """As a table for people."""
        return _text(self)

    def __str__(self) -> str:
        return self.text


def from_json(value: Mapping[str, Any]) -> Leaderboard:
    """From what `as_json` gave. Raises WrongFormat for that of a newer tidemill."""
    if value.get("format") != FORMAT:
        raise WrongFormat(f"a leaderboard of format {value.get('format')!r}; this tidemill reads {FORMAT}: update it")
    given = {name: value[name] for name in Leaderboard.__slots__ if name not in ("lines", "findings")}
    lines = [{**line, "standing": _standing(line["standing"])} for line in value["lines"]]
    findings = [{**each, "pairs": tuple((pair[0], pair[1]) for pair in each["pairs"])} for each in value["findings"]]
    return Leaderboard(
        **given, lines=tuple(Line(**line) for line in lines), findings=tuple(Finding(**each) for each in findings)
    )


def ranked(order: Sequence[str], standings: Mapping[str, Standing]) -> dict[str, int | None]:
    """The rank of each name: 1 for the best and its ties, then the place. None where the score is not defined."""
    ranks: dict[str, int | None] = {}
    for place, name in enumerate(order, start=1):
        found = standings[name]
        known = found.value == found.value  # not NaN
        ranks[name] = (1 if place == 1 or found.tied else place) if known else None
    return ranks


def place_of(board: Leaderboard, line: Line) -> str:
    """A line's rank as people read it: "1=" where it shares it, "-" where it has none."""
    if line.rank is None:
        return "-"
    return f"{line.rank}=" if line.rank == 1 and len(board.tied) > 1 else str(line.rank)


def _standing(value: Mapping[str, Any] | None) -> Standing | None:
    return None if value is None else Standing(**{**value, "value": _nan(value["value"])})


def _nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _finite(value: Any) -> Any:  # Any: a JSON value
    """NaN and infinite numbers as null."""
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value


def _text(board: Leaderboard) -> str:
    head = ["#", "model", board.score, f"{board.level:.0%} interval", "to the best", "fit", "size", "one row", ""]
    body = [_cells(board, line) for line in board.lines]
    widths = [max(len(row[place]) for row in [head, *body]) for place in range(len(head))]
    left = (1, 8)
    lines = [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *body]
    ]
    told = f"{board.train_rows:,} rows to fit on, {board.rows:,} held out"
    told += "" if board.units == board.rows else f" in {board.units:,} groups that count as independent"
    ways = sorted({line.standing.method for line in board.lines if line.standing and line.standing.low is not None})
    ties = len(board.tied)
    lines += [
        "",
        f"{told}. {board.score}: {'more' if board.direction == 'max' else 'less'} is better"
        + (f"; intervals: {', '.join(ways)}." if ways else "."),
    ]
    if ties > 1:
        lines.append(f"{ties} models share rank 1: on these rows their differences may be chance.")
    lines += [f"{finding.severity}: {finding.text}" for finding in board.findings]
    if board.looks:
        lines.append(str(board.looks["text"]))
    return "\n".join(lines)


def _cells(board: Leaderboard, line: Line) -> list[str]:
    standing = line.standing
    name = f"{line.name} (baseline)" if line.baseline else line.name
    if standing is None:
        return ["-", name, "", "", "", "", "", "", f"failed: {line.error}"]
    shown = place_of(board, line)
    value = "none" if line.rank is None else _number(standing.value)
    interval = "" if standing.low is None else f"{_number(standing.low)} to {_number(standing.high)}"
    notes = []
    if standing.over_baseline is False:
        notes.append("not better than the baseline")
    if line.note:
        notes.append(f"warned: {line.note[:80]}")
    beside = "" if standing.difference is None else f"{standing.difference:+.3g}"
    if standing.p_value is not None:
        beside += " (p < 0.001)" if standing.p_value < 0.001 else f" (p = {standing.p_value:.2g})"
    return [
        shown,
        name,
        value,
        interval,
        beside,
        "" if line.fit_s is None else f"{line.fit_s:.2f} s",
        "" if line.size_bytes is None else _size(line.size_bytes),
        "" if line.latency_us is None else _time(line.latency_us),
        "; ".join(notes),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


def _time(us: float) -> str:
    return f"{us / 1e3:.1f} ms" if us >= 1e3 else f"{us:.0f} us"
