"""`tidemill audit`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, project, show, table


@click.group()
def audit() -> None:
    """The append-only, hash-chained log under every change."""


@audit.command()
@as_json
@click.pass_context
def verify(ctx: click.Context, json_: bool) -> None:
    """Walk the whole chain and compare it with the records; exit code 1 when anything is wrong."""
    opened = project(ctx)
    faults = [{"where": fault.where, "what": fault.what} for fault in opened.verify()]
    newest = opened.ws.graph.events(last=1)
    count = newest[0].seq if newest else 0

    def people() -> None:
        if faults:
            table(faults, {"where": "where", "what": "what is wrong"})
            click.echo(f"{len(faults)} faults in {count:,} events")
        else:
            click.echo(f"{count:,} events: the chain is whole and every record is as it was written")

    value = {"events": count, "head": newest[0].hash if newest else None, "faults": faults}
    show(value, json_=json_, people=people, then="tidemill audit log --last 20")
    ctx.exit(1 if faults else 0)


@audit.command()
@click.option("--subject", help='Of one subject, or of all that begin with "model/*".')
@click.option("--last", type=click.IntRange(1), default=20, show_default=True)
@as_json
@click.pass_context
def log(ctx: click.Context, subject: str | None, last: int, json_: bool) -> None:
    """Who changed what, newest last."""
    rows = [
        {"seq": event.seq, "at": event.at.isoformat(), "actor": event.actor, "kind": event.kind}
        | {"subject": event.subject, "body": dict(event.body)}
        for event in project(ctx).ws.graph.events(subject, last=last)
    ]
    columns = {"seq": "#", "at": "at", "actor": "who", "kind": "what", "subject": "of"}
    show(rows, json_=json_, people=lambda: table(rows, columns), then="tidemill audit verify")
