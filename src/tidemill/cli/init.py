"""`tidemill init`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, settings, show


@click.command()
@as_json
@click.pass_context
def init(ctx: click.Context, json_: bool) -> None:
    """Make the workspace, if it is not there."""
    from tidemill.core.errors import NotFound
    from tidemill.core.workspace import open_workspace

    chosen = settings(ctx)
    try:
        found = open_workspace(chosen.workspace, settings=chosen, create=False)
        made = not found.graph.events(last=1) and "://" in found.url  # a database's tables are made by the first look
        found.close()
    except NotFound:
        open_workspace(chosen.workspace, settings=chosen, create=True).close()
        made = True
    said = f"{chosen.workspace} made" if made else f"{chosen.workspace} was there already; nothing changed"
    show({"workspace": str(chosen.workspace), "made": made}, json_=json_, people=lambda: click.echo(said),
         then="tidemill dataset import NAME FILE --key COLUMN")  # fmt: skip
