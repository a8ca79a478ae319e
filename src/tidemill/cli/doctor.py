"""`tidemill doctor`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, settings, show, table


@click.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, json_: bool) -> None:
    """Whether this machine and this workspace are in order; exit code 1 when something is not."""
    from tidemill.core.health import findings

    rows = [finding._asdict() for finding in findings(settings(ctx))]
    for row in rows:
        row["then"] = "" if row["fine"] else row["then"]
    fine = all(row["fine"] for row in rows)
    columns = {"what": "what", "fine": "fine", "found": "found", "then": "what to do"}
    show(rows, json_=json_, people=lambda: table(rows, columns), then="tidemill up" if fine else "tidemill demo")
    ctx.exit(0 if fine else 1)
