"""`tidemill init`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, settings, show


@click.command()
@as_json
@click.pass_context
def init(ctx: click.Context, json_: bool) -> None:
    """Make the workspace, if it is not there."""
    from tidemill.core.workspace import open_workspace

    chosen = settings(ctx)
    open_workspace(chosen.workspace, settings=chosen, create=True).close()
    show({"workspace": str(chosen.workspace)}, json_=json_, people=lambda: click.echo(f"{chosen.workspace} is there"),
         then="tidemill dataset import NAME FILE --key COLUMN")  # fmt: skip
