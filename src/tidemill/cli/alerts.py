"""`tidemill alerts`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, project, show, table


@click.group()
def alerts() -> None:
    """What the monitors saw."""


@alerts.command("list")
@click.option("--deployment")
@as_json
@click.pass_context
def list_(ctx: click.Context, deployment: str | None, json_: bool) -> None:
    """All alerts in order, with who has seen them."""
    rows = [
        {
            "id": raised.id,
            "at": raised.at.isoformat(),
            "deployment": raised.deployment,
            "what": raised.what,
            "text": raised.text,
            "acknowledged": raised.acknowledged,
            "evidence": dict(raised.evidence),
        }
        for raised in project(ctx).deployments.alerts(deployment)
    ]
    columns = {"id": "id", "at": "at", "what": "what", "text": "text", "acknowledged": "seen by"}
    show(rows, json_=json_, people=lambda: table(rows, columns), then="tidemill alerts acknowledge ID")


@alerts.command()
@click.argument("id_")
@click.option("--note", default="", help="What you found or did.")
@as_json
@click.pass_context
def acknowledge(ctx: click.Context, id_: str, note: str, json_: bool) -> None:
    """Say that you have seen it."""
    raised = project(ctx).deployments.acknowledge(id_, note=note)
    value = {"id": raised.id, "acknowledged": raised.acknowledged, "note": raised.note}
    show(value, json_=json_, people=lambda: click.echo(f"{raised.id} seen by {raised.acknowledged}"),
         then="tidemill alerts list")  # fmt: skip
