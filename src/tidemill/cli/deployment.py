"""`tidemill deployment`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, project, show, table


@click.group()
def deployment() -> None:
    """Who answers, and how well."""


@deployment.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, json_: bool) -> None:
    """All deployments with their traffic."""
    from tidemill.api import views

    found = views.deployments(project(ctx))["deployments"]
    rows = [
        {"name": each["name"], "revisions": each["newest"]["version"], "server": each["server"]["state"],
         **(each["traffic"] or {})}
        for each in found
    ]  # fmt: skip
    columns = {"name": "deployment", "revisions": "revisions", "server": "server", "champion": "champion"}
    columns |= {"canary": "canary", "share": "share", "shadow": "shadow"}
    show(found, json_=json_, people=lambda: table(rows, columns), then="tidemill deployment show NAME")


@deployment.command("show")
@click.argument("name")
@as_json
@click.pass_context
def show_(ctx: click.Context, name: str, json_: bool) -> None:
    """Performance month by month, and what the loop decided."""
    from tidemill.api import views

    value = views.deployment(project(ctx), name)

    def people() -> None:
        columns = {"period": "month", "n": "rows", "auc": "AUC", "log_loss": "log loss", "brier": "Brier"}
        for what, rows, shown in (
            ("performance", value["performance"]["months"], columns),
            ("decisions", value["decisions"], {"at": "at", "kind": "decision", "text": "why"}),
        ):
            if rows:
                table(rows, shown)
            else:
                click.echo(f"no {what} recorded yet")
            click.echo()

    show(value, json_=json_, people=people, then="tidemill alerts list")
