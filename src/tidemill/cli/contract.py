"""`tidemill dataset contract show|set|suggest|drop|log`: what the rows of a dataset must be."""

from __future__ import annotations

from pathlib import Path

import click

from tidemill.cli.show import as_json, of_version, project, show, table, text


@click.group()
def contract() -> None:
    """What rows must be: each import is held to it."""


@contract.command("show")
@click.argument("name")
@as_json
@click.pass_context
def show_(ctx: click.Context, name: str, json_: bool) -> None:
    """The contract, a rule a line."""
    mill = project(ctx)
    contracts = mill.contracts
    found = contracts.get(name)
    if found is None:
        mill.data.get(name)  # or NotFound

    def people() -> None:
        if found is None:
            click.echo(f"{name} has no contract")
            return
        click.echo("\n".join(found.rules))
        click.echo(f"# set by {found.by} at {text(None if found.at is None else found.at.isoformat())}")

    then = f"tidemill dataset contract set {name} RULE ..." if found is None else f"tidemill dataset check {name}"
    show(None if found is None else contracts.json(found), json_=json_, people=people, then=then)


@contract.command("set")
@click.argument("name")
@click.argument("rules", nargs=-1)
@click.option("--from", "path", type=click.Path(path_type=Path), help="A file: JSON, or a rule a line.")
@click.option("--add", "extend", is_flag=True, help="Keep the rules that are there.")
@as_json
@click.pass_context
def set_(ctx: click.Context, name: str, rules: tuple[str, ...], path: Path | None, extend: bool, json_: bool) -> None:
    """Set the contract to RULES, each one argument.

    Forms: 'temp type Float64', 'temp not_null', 'id unique', 'temp between -30 120', 'carrier one_of AA UA', 'tail
    matches ^N', 'origin references airports.faa', 'condition arrives >= leaves', 'time fresh 2d'; 'warn' before a rule
    only reports.
    """
    contracts = project(ctx).contracts
    if bool(rules) == (path is not None):
        raise click.UsageError("give rules, such as 'temp between -30 120', or --from FILE")
    if path is not None:
        if not path.is_file():
            raise click.UsageError(f"no file {str(path)!r} with a contract")
        wanted = contracts.read(path.read_text())
    else:
        wanted = contracts.read("\n".join(rules))
    if extend and (there := contracts.get(name)) is not None:
        wanted = contracts.read("\n".join(dict.fromkeys([*there.rules, *wanted.rules])))
    made = contracts.set(name, wanted)
    show(contracts.json(made), json_=json_, people=lambda: click.echo("\n".join(made.rules)),
         then=f"tidemill dataset check {name}")  # fmt: skip


@contract.command()
@click.argument("name")
@of_version
@as_json
@click.pass_context
def suggest(ctx: click.Context, name: str, ref: str | None, json_: bool) -> None:
    """A contract that a version keeps, read off its profile: edit it, then `contract set NAME --from FILE`."""
    mill = project(ctx)
    found = mill.contracts.suggest(mill.data.get(name, ref))
    show(mill.contracts.json(found), json_=json_, people=lambda: click.echo("\n".join(found.rules)),
         then=f"tidemill dataset contract set {name} --from FILE")  # fmt: skip


@contract.command()
@click.argument("name")
@as_json
@click.pass_context
def drop(ctx: click.Context, name: str, json_: bool) -> None:
    """Take the contract away; what it said stays in the log."""
    project(ctx).contracts.drop(name)
    show({"name": name, "contract": None}, json_=json_, people=lambda: click.echo(f"{name} has no contract now"),
         then=f"tidemill dataset contract log {name}")  # fmt: skip


@contract.command()
@click.argument("name")
@as_json
@click.pass_context
def log(ctx: click.Context, name: str, json_: bool) -> None:
    """All contracts that the dataset ever had, newest first."""
    rows = [
        {"seq": each.seq, "at": None if each.at is None else each.at.isoformat(), "by": each.by, "rules": each.rules}
        for each in project(ctx).contracts.history(name)
    ]
    columns = {"seq": "#", "at": "at", "by": "who", "rules": "rules"}
    show(rows, json_=json_, people=lambda: table(rows, columns), then=f"tidemill dataset contract show {name}")
