"""Templates and what they share: the frame of a page, its navigation, and how values are shown to people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request

from tidemill import __version__
from tidemill.api.auth import SECURITY
from tidemill.api.views.shaping import Shown
from tidemill.core.ids import digest
from tidemill.web import (
    calibration,
    dag,
    evaluating,
    gantt,
    histogram,
    leaderboards,
    markdown,
    performance,
    studying,
    tracing,
    tracking,
    tracking_plots,
    waterfall,
)

NAV = (
    ("/", "Overview"),
    ("/experiments", "Experiments"),
    ("/runs", "Runs"),
    ("/pipelines", "Pipelines"),
    ("/datasets", "Datasets"),
    ("/features", "Features"),
    ("/leaderboards", "Leaderboards"),
    ("/models", "Models"),
    ("/deployments", "Deployments"),
    ("/alerts", "Alerts"),
    ("/audit", "Audit"),
)
# What a browser may show as it is: pictures only; SVG can hold scripts.
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif")
STATIC = {
    "tidemill.css": "text/css",
    "flows.css": "text/css",
    "tracking.css": "text/css",
    "tracking.js": "text/javascript",
    "curves.js": "text/javascript",
    "mill.svg": "image/svg+xml",
}
# Pages that follow a run as it goes on and read its curves, by scripts of ours, and play its sounds; nothing from
# elsewhere, nothing inline.
# Files of runs are served from here too, but never with a script's type, and nosniff holds browsers to that.
SCRIPTED = ("run.html", "compare.html")
POLICY = SECURITY["content-security-policy"] + "; script-src 'self'; connect-src 'self'; media-src 'self'"


class Pages:
    """Renders the templates of one workspace."""

    def __init__(self, workspace: str) -> None:
        folder = files("tidemill.web") / "static"
        self.static = {name: (kind, (folder / name).read_bytes()) for name, kind in STATIC.items()}
        self._environment = Environment(
            loader=PackageLoader("tidemill.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            "workspace": workspace,
            "version": __version__,
            "nav": NAV,
            "asset": {name: f"/static/{name}?v={digest(data)[:12]}" for name, (_, data) in self.static.items()},
            "performance_plot": performance.plot,
            "mark_symbol": performance.symbol,
            "mark_words": performance.WORDS,
            "calibration_plot": calibration.plot,
            "dag": dag,
            "drawn": evaluating,
            "gantt": gantt,
            "histogram": histogram.plot,
            "standings": leaderboards.standings,
            "pictures": PICTURES,
            "study": studying,
            "trace_plot": tracing.plot,
            "tracking": tracking,
            "tracked_plots": tracking_plots,
            "waterfall": waterfall,
        }
        self._environment.filters |= {
            "when": when,
            "day": day,
            "number": number,
            "score": score,
            "exact": exact,
            "breaks": breaks,
            "count": count,
            "percent": percent,
            "seconds": seconds,
            "short": short,
            "value": value,
            "markdown": markdown.html,
            "figure": leaderboards.figure,
            "size": leaderboards.size,
            "micros": leaderboards.micros,
            "bytes": tracking.size,
        }

    def render(self, template: str, request: Request, shown: Shown) -> str:
        """The page of what was read."""
        path = request.url.path
        query = f"?{request.url.query}" if request.url.query else ""
        json_path = "/index.json" if path == "/" else f"{path}.json"
        found = self._environment.get_template(template)
        return found.render(
            page=shown,
            path=path,
            here=path + query,
            json_href=json_path + query,
            query=_query(request),
            fields=dict(request.query_params),
        )

    def error(self, request: Request, status: int, text: str, *, ask: bool = False) -> str:
        """A page that says what went wrong and what to do. ask: with a form that asks for the same for a purpose."""
        found = self._environment.get_template("error.html")
        fields = dict(request.query_params) if ask and request.method == "GET" else None
        return found.render(path=request.url.path, json_href="", status=status, text=text, fields=fields)

    def sign_in(self, request: Request, text: str) -> str:
        """The page that asks for the token."""
        after = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if request.url.path in ("/login", "/logout") or request.method != "GET":
            after = "/"
        return self._environment.get_template("sign_in.html").render(
            path="/login", json_href="", text=text, after=after
        )


def _query(request: Request) -> Any:  # Any: a function, called by templates
    """A function that gives this page's query with some fields changed, None removing one."""

    def changed(**fields: object) -> str:
        kept: Mapping[str, object] = {**request.query_params, **fields}
        return f"?{urlencode({name: value for name, value in kept.items() if value not in (None, '')})}"

    return changed


# ------------------------------------------------------------------------------------------------ values for people


def when(text: str | None) -> str:
    """A time, to the minute, UTC.

    >>> when("2013-04-22T05:30:00.000000Z")
    '2013-04-22 05:30'
    """
    return "–" if not text else text[:16].replace("T", " ")


def day(text: str | None) -> str:
    """A time's day where it is midnight, else to the minute."""
    shown = when(text)
    return shown.removesuffix(" 00:00")


def number(found: Any, digits: int = 4) -> str:
    """A number with so many significant digits and no exponent where it can be read without.

    >>> number(0.70123), number(1234567.0), number(None)
    ('0.7012', '1,234,567', '–')
    """
    if found is None:
        return "–"
    if isinstance(found, bool) or not isinstance(found, int | float):
        return str(found)
    if abs(found) < 1e-12:
        return "0"
    if isinstance(found, int) or (abs(found) >= 1000 and abs(found) < 1e15):
        return f"{found:,.0f}"
    return f"{found:.{digits}g}"


def score(found: float | None) -> str:
    """A score of a table, with as many decimals as the others of its column.

    >>> score(0.516), score(None)
    ('0.5160', '–')
    """
    return "–" if found is None else f"{found:.4f}"


def exact(found: Any) -> str:
    """A value as it was given, with no digit taken or added: a year is no count.

    >>> exact(2003), exact(0.0871234567), exact(None), exact("EWR"), exact([1, True])
    ('2003', '0.0871234567', '–', 'EWR', '[1, true]')
    """
    if found is None:
        return "–"
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def breaks(found: Any) -> Markup:
    """A name that may be broken where its words meet, rather than anywhere.

    >>> breaks("departures@20"), breaks("ExtraTrees")
    (Markup('departures<wbr>@20'), Markup('Extra<wbr>Trees'))
    """
    return Markup("<wbr>").join(re.split(r"(?=[@_/])|(?<=[a-z])(?=[A-Z])", str(found)))


def count(found: int | None, noun: str = "", plural: str = "") -> str:
    """A count with its noun.

    >>> count(1, "run"), count(1200, "run")
    ('1 run', '1,200 runs')
    """
    if found is None:
        return "–"
    if not noun:
        return f"{found:,}"
    return f"{found:,} {noun if found == 1 else plural or noun + 's'}"


def percent(share: float | None, digits: int = 0) -> str:
    """A share (0..1) as percent."""
    return "–" if share is None else f"{share * 100:.{digits}f} %"


def seconds(found: float | None) -> str:
    """A duration.

    >>> seconds(0.0123), seconds(75.0), seconds(7500)
    ('12 ms', '1 min 15 s', '2 h 05 min')
    """
    if found is None:
        return "–"
    if found < 1:
        return f"{found * 1000:.0f} ms"
    if found < 60:
        return f"{found:.1f} s"
    if found < 3600:
        return f"{found // 60:.0f} min {found % 60:02.0f} s"
    return f"{found // 3600:.0f} h {found % 3600 // 60:02.0f} min"


def short(text: str | None, length: int = 12) -> str:
    """The first digits of an id or digest."""
    return "–" if not text else text[:length]


def value(found: Any) -> str:
    """Any JSON value in one line."""
    if found is None:
        return "–"
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, int | float):
        return number(found)
    if isinstance(found, Mapping):
        return ", ".join(f"{name} {value(each)}" for name, each in found.items()) or "–"
    if isinstance(found, list):
        return ", ".join(value(each) for each in found[:12]) + (" …" if len(found) > 12 else "") or "–"
    if isinstance(found, datetime):
        return when(found.isoformat())
    return str(found)
