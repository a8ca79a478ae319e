"""`tidemill trace`, `tidemill impact` and `tidemill lineage export`."""

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
    found = project(ctx).lineage.row(id_, row)

    def people() -> None:
        click.echo(f"row {row} of {id_}")
        click.echo(f"  in versions: {', '.join(found['versions'])}")
        click.echo(f"  trained on by: {', '.join(found['models']) or 'no model'}")
        answers = found["answers_about_this_row"]
        table(answers, {"deployment": "deployment", "id": "prediction", "role": "role", "score": "score", "at": "at"})

    show(found, json_=json_, people=people, then="tidemill prediction show PREDICTION")


@click.group()
def lineage() -> None:
    """Runs and datasets as other tools read them."""


@lineage.command()
@click.argument("target")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="For a collector; repeat it.")
@click.option("--private", is_flag=True, help="The collector may have a private address.")
@as_json
@click.pass_context
def export(ctx: click.Context, target: str, headers: tuple[str, ...], private: bool, json_: bool) -> None:
    """Tell every run as OpenLineage events: to a file (one event a line), or to a collector at http(s)://..."""
    named = dict(each.split(":", 1) for each in headers if ":" in each)
    if len(named) != len(headers):
        wrong = next(each for each in headers if ":" not in each)
        raise click.UsageError(f"header {wrong!r} is no NAME:VALUE, such as 'Authorization: Bearer ...'")
    stripped = {name.strip(): value.strip() for name, value in named.items()}
    made = project(ctx).governance.openlineage(target, private=private, headers=stripped or None)
    show(made, json_=json_, people=lambda: click.echo(f"{made['events']:,} events of {made['runs']:,} runs: {target}"),
         then="tidemill runs list")  # fmt: skip


def _walk(ctx: click.Context, id_: str, *, json_: bool, down: bool) -> None:
    opened = project(ctx)
    trail = opened.lineage.trace(id_) if down else opened.lineage.impact(id_)
    tree = opened.lineage.tree(trail)
    count = f"{len(trail.artifacts)} artifacts, {len(trail.runs)} runs, {len(trail.edges)} edges"

    def people() -> None:
        for line in opened.lineage.lines(tree):
            click.echo(line)
        click.echo(count)

    show(tree, json_=json_, people=people, then=f"tidemill {'impact' if down else 'trace'} {id_[:12]}")
