"""`tidemill role`: who may see personal columns."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, project, show, table


@click.group()
def role() -> None:
    """Roles: "pii" sees personal columns, "pii@people" those of dataset people; others see them masked.

    Only who has role "admin" gives and takes roles; while nobody was given it, who did the first thing here.
    """


@role.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, json_: bool) -> None:
    """Who has which roles."""
    rows = [{"who": actor, "roles": roles} for actor, roles in project(ctx).governance.roles().items()]
    show(rows, json_=json_, people=lambda: table(rows, {"who": "who", "roles": "roles"}),
         then="tidemill role grant WHO ROLE")  # fmt: skip


@role.command()
@click.argument("who")
@click.argument("name")
@as_json
@click.pass_context
def grant(ctx: click.Context, who: str, name: str, json_: bool) -> None:
    """Give WHO a role."""
    governance = project(ctx).governance
    governance.grant(who, name)
    _show(who, governance.roles().get(who, []), json_=json_)


@role.command()
@click.argument("who")
@click.argument("name")
@as_json
@click.pass_context
def revoke(ctx: click.Context, who: str, name: str, json_: bool) -> None:
    """Take a role away."""
    governance = project(ctx).governance
    governance.revoke(who, name)
    _show(who, governance.roles().get(who, []), json_=json_)


def _show(who: str, roles: list[str], *, json_: bool) -> None:
    show({"who": who, "roles": roles}, json_=json_,
         people=lambda: click.echo(f"{who}: {', '.join(roles) or 'no role'}"),
         then="tidemill audit log --subject 'role/*'")  # fmt: skip
