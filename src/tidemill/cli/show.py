"""What every verb shares: opening the project, and showing people a table or programs JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from tidemill.core.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from tidemill.project import Project

PIPED_LETTERS = 160  # a line into a file or another program has no edge
TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:[\d.]+)?(Z|\+00:00)")

SHOWN_S = 0.2  # seconds between two states of a progress line on a terminal
TOLD_S = 5.0  # seconds between two progress lines in a file

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON value instead of a table.")


class Moment(click.ParamType[datetime]):
    """A time: "2026-01-31" or ISO 8601 with a zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        from tidemill.core.ids import parse_time

        try:
            return value if isinstance(value, datetime) else parse_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Period(click.ParamType[timedelta]):
    """A length of time: "90s", "30m", "12h", "2d" or "1w"."""

    name = "period"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from tidemill.data.quality.contract import seconds

        try:
            return value if isinstance(value, timedelta) else timedelta(seconds=seconds(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def of_version(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb of NAME that is asked for a version of it: as NAME@REF, or by --version REF."""

    @wraps(verb)
    def called(*, name: str, ref: str | None, **rest: Any) -> None:  # Any: what click gives
        from tidemill.data.versioning.versions import split

        alone, meant = split(name, ref)
        verb(name=alone, ref=meant, **rest)

    text = "Number, tag, branch or digest, also as NAME@REF; default: the newest."
    return click.option("--version", "ref", metavar="REF", help=text)(called)


made_of = click.option(
    "--made-of",
    multiple=True,
    metavar="NAME[@REF]",
    help="The rows were made from this by hand: tags follow; repeat it.",
)


def on_branch(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb that writes to a branch of NAME: NAME@BRANCH, or --branch BRANCH."""

    @wraps(verb)
    def called(*, name: str, branch: str | None, **rest: Any) -> None:  # Any: what click gives
        from tidemill.data.versioning.versions import split

        alone, meant = split(name, branch)
        verb(name=alone, branch=meant or "main", **rest)

    return click.option("--branch", help="Also as NAME@BRANCH; default: main.")(called)


for_purpose = click.option("--purpose", help="What for; checked where the dataset has a policy.")


def settings(ctx: click.Context) -> Settings:
    """Settings with this command's flags on top."""
    from tidemill.core import logs

    found = Settings.load(flags=ctx.find_root().obj)
    logs.set_up(found)
    return found


def project(ctx: click.Context) -> Project:
    """The workspace that the flags and settings name; it must exist."""
    from tidemill.core.workspace import open_workspace
    from tidemill.project import Project

    chosen = settings(ctx)
    opened = Project(open_workspace(chosen.workspace, settings=chosen, create=False))
    ctx.call_on_close(opened.close)
    return opened


def show(
    value: Any,  # Any: a JSON value
    *,
    json_: bool,
    people: Callable[[], None],
    then: str = "",
) -> None:
    """JSON for programs; for people what `people` prints, and the next command."""
    if json_:
        click.echo(json.dumps(value, indent=1, default=str))
        return
    people()
    if then:
        chosen = click.get_current_context().find_root().obj["workspace"]
        named = f"tidemill -w {shlex.quote(chosen)} " if chosen else "tidemill "
        click.echo(f"\nnext: {named}{then.removeprefix('tidemill ')}", err=True)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A line on standard error that says how far long work is: the body calls it with done and in all (or None)."""
    live, begun, said = sys.stderr.isatty(), time.monotonic(), 0.0

    def tell(done: int, whole: int | None) -> None:
        nonlocal said
        now = time.monotonic() - begun
        if now - said < (SHOWN_S if live else TOLD_S):
            return
        said = now
        share = f" of {whole:,} ({100 * done / whole:.0f} %)" if whole else ""
        line = f"{what}: {done:,}{share}, {now:.0f} s"
        click.echo(f"\r\x1b[K{line}" if live else line, err=True, nl=not live)

    try:
        yield tell
    finally:
        if live and said:
            click.echo("\r\x1b[K", err=True, nl=False)


def json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as JSON values."""
    from tidemill.data.versioning.diffs import plain

    return [{name: plain(value) for name, value in row.items()} for row in frame.iter_rows(named=True)]


def facts(value: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    for name, each in value.items():
        click.echo(f"{name.replace('_', ' '):16} {text(each)}")


def counted(count: int, what: str) -> str:
    """ "1 row", "1,000 rows"."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, exact: bool = False) -> None:
    """A table of these columns (key of the row: heading); numbers right-aligned.

    exact: the rows are a user's data: numbers are shown as they can be typed, and columns that do not fit are named.
    """
    from rich.console import Console
    from rich.table import Table

    if not rows:
        click.echo("(none)")
        return
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_LETTERS
    console = Console(highlight=False, markup=False, width=width)
    write = _exact if exact else text
    cells = {key: [write(row.get(key)) for row in rows] for key in columns}
    shown = _fitting(cells, columns, console.width) if exact else list(columns)
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    widest = max(shown, key=lambda key: max(map(len, cells[key])))
    for key in shown:
        numeric = all(isinstance(row.get(key), int | float | None) for row in rows)
        # Ids and names stay whole, so that they can be copied; the longest text is folded.
        drawn.add_column(columns[key], justify="right" if numeric else "left", overflow="fold", no_wrap=key != widest)
    for row in zip(*(cells[key] for key in shown), strict=True):
        drawn.add_row(*row)
    console.print(drawn)
    rest = [heading for key, heading in columns.items() if key not in shown]
    if rest:
        click.echo(f"not shown: {', '.join(rest)} (--json has all)")


def _fitting(cells: Mapping[str, Sequence[str]], columns: Mapping[str, str], width: int) -> list[str]:
    """The first columns that fit beside each other, at least two."""
    fitting: list[str] = []
    taken = -2  # two letters between columns
    for key, values in cells.items():
        taken += max(len(columns[key]), *map(len, values)) + 2
        if taken > width and len(fitting) >= 2:
            break
        fitting.append(key)
    return fitting


def _exact(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.12g}" if number and isinstance(value, float) else str(value) if number else text(value)


def text(value: Any) -> str:
    """One cell: numbers with four digits, times to the minute (UTC), midnight as its day."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text(each)}" for name, each in value.items())
    return TIME.sub(r"\1 \2", str(value)).removesuffix(" 00:00")
