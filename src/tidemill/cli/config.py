"""`tidemill config`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, settings, show, table
from tidemill.core.settings import Settings


@click.group()
def config() -> None:
    """Settings and where they come from."""


@config.command("show")
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@as_json
@click.pass_context
def show_(ctx: click.Context, origin: bool, json_: bool) -> None:
    """All settings with their values."""
    found = settings(ctx)
    rows = [
        {"setting": name, "value": str(getattr(found, name))}
        | ({"origin": found.origins.get(name, "default")} if origin else {})
        for name in Settings.names()
    ]
    columns = {"setting": "setting", "value": "value"} | ({"origin": "origin"} if origin else {})
    show(rows, json_=json_, people=lambda: table(rows, columns), then="tidemill doctor")
