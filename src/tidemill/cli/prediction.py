"""`tidemill prediction`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, project, show, text


@click.group()
def prediction() -> None:
    """One answer and all behind it."""


@prediction.command("show")
@click.argument("id_")
@as_json
@click.pass_context
def show_(ctx: click.Context, id_: str, json_: bool) -> None:
    """The answer of that id, its truth, and its trace down to dataset versions, rows and code."""
    opened = project(ctx)
    value = opened.lineage.prediction(id_)

    def people() -> None:
        for name in ("prediction", "row", "score", "truth", "asked_for", "logged_at", "role", "deployment", "model"):
            click.echo(f"{name:12} {text(value[name])}")
        click.echo(f"{'features':12} {text(value['features'])}\n")
        for line in opened.lineage.lines(value["tree"]):
            click.echo(line)

    show(value, json_=json_, people=people, then=f"tidemill impact DATASET --row {value['row']}")
