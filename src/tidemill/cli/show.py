"""What every verb shares: opening the project, and showing people a table or programs JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tidemill.core.settings import Settings

if TYPE_CHECKING:
    from tidemill.project import Project

PIPED_LETTERS = 160  # a line into a file or another program has no edge
TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:[\d.]+)?(Z|\+00:00)")

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON value instead of a table.")


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


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """A table of these columns (key of the row: heading); numbers right-aligned."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        click.echo("(none)")
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    cells = {key: [text(row.get(key)) for row in rows] for key in columns}
    widest = max(columns, key=lambda key: max(map(len, cells[key])))
    for key, heading in columns.items():
        numeric = all(isinstance(row.get(key), int | float | None) for row in rows)
        # Ids and names stay whole, so that they can be copied; the longest text is folded.
        drawn.add_column(heading, justify="right" if numeric else "left", overflow="fold", no_wrap=key != widest)
    for row in zip(*cells.values(), strict=True):
        drawn.add_row(*row)
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_LETTERS
    Console(highlight=False, markup=False, width=width).print(drawn)


def text(value: Any) -> str:
    """One cell: numbers with four digits, times to the minute (UTC), midnight as its day."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text(each)}" for name, each in value.items())
    return TIME.sub(r"\1 \2", str(value)).removesuffix(" 00:00")
