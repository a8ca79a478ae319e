"""`tidemill audit`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import click

from tidemill.cli.show import Moment, as_json, project, show, table


@click.group()
def audit() -> None:
    """The append-only, hash-chained log under every change."""


@audit.command()
@as_json
@click.pass_context
def verify(ctx: click.Context, json_: bool) -> None:
    """Walk the whole chain and compare it with the records; exit code 1 when anything is wrong."""
    opened = project(ctx)
    faults = [{"where": fault.where, "what": fault.what} for fault in opened.lineage.verify()]
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


@audit.command()
@click.option("--what", type=click.Choice(["read", "changed", "promoted", "erased"]))
@click.option("--subject", help='"dataset/flights", "model/departures@champion", a name, or a beginning with "*".')
@click.option("--actor", help="Only what this person did.")
@click.option("--since", type=Moment())
@click.option("--until", type=Moment())
@click.option("--last", type=click.IntRange(1), default=50, show_default=True)
@as_json
@click.pass_context
def who(
    ctx: click.Context,
    what: Literal["read", "changed", "promoted", "erased"] | None,
    subject: str | None,
    actor: str | None,
    since: datetime | None,
    until: datetime | None,
    last: int,
    json_: bool,
) -> None:
    """Who read, changed, promoted or erased what, newest last."""
    found = project(ctx).governance.who(what=what, subject=subject, actor=actor, since=since, until=until)
    rows = [each | {"record": f"event {each['seq']}" if "seq" in each else f"run {each['run'][:15]}",
                    "more": _more(each)} for each in found[-last:]]  # fmt: skip
    columns = {"at": "at", "actor": "who", "what": "did", "subject": "what", "kind": "how", "record": "record",
               "more": "more"}  # fmt: skip

    def people() -> None:
        if len(found) > last:
            click.echo(f"the last {last:,} of {len(found):,}")
        table(rows, columns)

    show(rows, json_=json_, people=people, then="tidemill audit verify")


def _more(line: dict[str, Any]) -> str:
    version = [f"version {line['version']}"] if "version" in line else []
    return "; ".join([*version, *([line["said"]] if line.get("said") else [])])
