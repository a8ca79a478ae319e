"""`tidemill trace` and `tidemill impact`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, project, show, table


@click.command()
@click.argument("id_")
@as_json
@click.pass_context
def trace(ctx: click.Context, id_: str, json_: bool) -> None:
    """All that an artifact, run or prediction came from. ID: as shown, or its first 8 digits."""
    _walk(ctx, id_, json_=json_, down=True)


@click.command()
@click.argument("id_")
@click.option("--row", help="ID is a dataset's name: what did this row of it touch?")
@as_json
@click.pass_context
def impact(ctx: click.Context, id_: str, row: str | None, json_: bool) -> None:
    """All that came from an artifact or run; with --row, from one row of a dataset."""
    if row is None:
        _walk(ctx, id_, json_=json_, down=False)
        return
    found = project(ctx).row_impact(id_, row)

    def people() -> None:
        click.echo(f"row {row} of {id_}")
        click.echo(f"  in versions: {', '.join(found['versions'])}")
        click.echo(f"  trained on by: {', '.join(found['models']) or 'no model'}")
        answers = found["answers_about_this_row"]
        table(answers, {"deployment": "deployment", "id": "prediction", "role": "role", "score": "score", "at": "at"})

    show(found, json_=json_, people=people, then="tidemill prediction show PREDICTION")


def _walk(ctx: click.Context, id_: str, *, json_: bool, down: bool) -> None:
    opened = project(ctx)
    trail = opened.trace(id_) if down else opened.impact(id_)
    tree = opened.tree(trail)
    count = f"{len(trail.artifacts)} artifacts, {len(trail.runs)} runs, {len(trail.edges)} edges"

    def people() -> None:
        for line in opened.tree_lines(tree):
            click.echo(line)
        click.echo(count)

    show(tree, json_=json_, people=people, then=f"tidemill {'impact' if down else 'trace'} {id_[:12]}")
