"""What the templates of experiments need: addresses of a table's state, shades, sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

SHADES = 8


def query(state: Mapping[str, Any], **changes: Any) -> str:
    """The query of a state with some fields changed; empty ones are left out. Lists are a field each.

    >>> query({"filter": "a = 1", "columns": ["x", "y"]}, filter="", order="b ASC")
    '?columns=x&columns=y&order=b+ASC'
    """
    kept = {name: value for name, value in {**state, **changes}.items() if value not in (None, "", [], ())}
    return f"?{urlencode(kept, doseq=True)}"


def shade(count: float, most: float) -> int:
    """The shade of a cell, 0 (none) to SHADES.

    >>> shade(0, 10), shade(1, 10), shade(10, 10)
    (0, 1, 8)
    """
    return 0 if count <= 0 else max(1, round(count / most * SHADES))


def turned(column: Mapping[str, Any], order: str) -> tuple[str | None, str]:
    """The order that a click on a column's head asks for, and how it is ordered now, as aria-sort says it.

    Metrics begin with the largest, names with the first.
    """
    first, second = ("desc", "asc") if column["entity"] == "metrics" else ("asc", "desc")
    words = {column["asc"]: "ascending", column["desc"]: "descending"}
    if column["asc"] is None:
        return None, "none"
    return (column[second] if order == column[first] else column[first]), words.get(order, "none")


def heads() -> Sequence[Mapping[str, str]]:
    """The columns that every table has, as `column_line` has the others."""
    return [
        {"name": name, "entity": "metrics" if key == "start_time" else "", "asc": f"{key} ASC", "desc": f"{key} DESC"}
        for name, key in (("Run", "run_name"), ("Status", "status"), ("Began", "start_time"))
    ]


def coloured(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, Sequence[Sequence[float]], str]]:
    """Curves with a class for each: a colour of its own to eight, then one for all."""
    few = len(lines) <= SHADES
    return [(each["name"], each["line"], f"line c{place}" if few else "line many") for place, each in enumerate(lines)]


def size(found: float) -> str:
    """A number of bytes.

    >>> size(22), size(39_100), size(2_500_000)
    ('22 B', '39.1 kB', '2.5 MB')
    """
    if found < 1000:
        return f"{found:.0f} B"
    place = min(2, int(math.log10(found) // 3) - 1)
    return f"{found / 1000 ** (place + 1):.1f} {('kB', 'MB', 'GB')[place]}"
