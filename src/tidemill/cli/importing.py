"""`tidemill dataset import|export`: rows from other places and to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import click

from tidemill.cli.show import as_json, made_of, of_version, on_branch, progress, project, show, text
from tidemill.cli.versions import show_version
from tidemill.core.types import DatasetVersion


@click.command("import")
@click.argument("name")
@click.argument("url")
@click.option("--key", required=True, help="Column that identifies a row.")
@click.option("--event-time", help="Column: when it happened.")
@click.option("--known-time", help="Column: from when on it could be known.")
@click.option("--zone", help="Time zone of clocks that have none, for example UTC or America/New_York.")
@click.option("--mode", type=click.Choice(["append", "replace"]), default="append", show_default=True)
@click.option("--query", help="The SELECT whose rows are imported, where URL is a database's.")
@click.option("--incremental", metavar="COLUMN", help="Import rows from this column's largest imported value on.")
@click.option("--column", "columns", multiple=True, help="Only these columns; repeat it.")
@made_of
@on_branch
@click.option("--message", default="")
@as_json
@click.pass_context
def import_(
    ctx: click.Context,
    name: str,
    url: str,
    key: str,
    event_time: str | None,
    known_time: str | None,
    zone: str | None,
    mode: Literal["append", "replace"],
    query: str | None,
    incremental: str | None,
    columns: tuple[str, ...],
    made_of: tuple[str, ...],
    branch: str,
    message: str,
    json_: bool,
) -> None:
    """Import the rows at URL, streamed: the dataset's next version.

    URL: a CSV (.gz, .zip), JSON lines, Parquet or Arrow file, a folder of such files, a Delta table's folder, one of
    these at s3://, or a database as SQLAlchemy names it, with --query.
    """
    mill = project(ctx)
    kept_out: list[Any] = []
    begun = mill.now
    with progress(f"importing {name}: rows") as tell:
        version = mill.data.import_from(
            name, url, key=key, event_time=event_time, known_time=known_time, zone=zone, mode=mode, query=query,
            incremental=incremental, columns=columns or None, branch=branch, message=message, made_of=made_of,
            progress=tell, told=kept_out.append,
        )  # fmt: skip
    show_import(version, kept_out, begun=begun, json_=json_)


@click.command()
@click.argument("name")
@click.argument("target")
@of_version
@click.option("--table", help="The table to make, where TARGET is a database's URL.")
@click.option("--column", "columns", multiple=True, help="Only these columns; repeat it.")
@click.option("--purpose", help="What for; checked where the dataset has a policy.")
@as_json
@click.pass_context
def export(
    ctx: click.Context,
    name: str,
    target: str,
    ref: str | None,
    table: str | None,
    columns: tuple[str, ...],
    purpose: str | None,
    json_: bool,
) -> None:
    """Write a version to TARGET: .csv, .jsonl, .parquet, .arrow, a folder (Delta table), s3://..., or a database.

    Personal columns are masked unless you have the role "pii"; the read is in the audit log.
    """
    with progress(f"exporting {name}: rows") as tell:
        made = project(ctx).data.export(
            name, target, ref=ref, table=table, columns=columns or None, purpose=purpose, progress=tell
        )
    size = "" if made["size_bytes"] is None else f", {made['size_bytes']:,} bytes"
    show(made, json_=json_, people=lambda: click.echo(f"{made['target']}: {text(made['rows'])} rows{size}"),
         then=f"tidemill audit who --subject dataset/{name}")  # fmt: skip


def show_import(version: DatasetVersion, kept_out: list[Any], *, begun: datetime, json_: bool) -> None:
    """The version, what the contract said of rows that did not keep it, and whether it was there before `begun`."""
    said = [{"rows": each.rows, "reasons": dict(each.reasons), "warned": dict(each.warned)} for each in kept_out]
    for each in kept_out:
        click.echo(each.text, err=True)
    name = version.name
    if version.artifact.created_at < begun:
        click.echo(f"nothing new: {name}@{version.version} has these rows already", err=True)
    then = f"tidemill dataset quarantine {name}" if any(each.rows for each in kept_out) else ""
    show_version(version, json_=json_, then=then or f"tidemill dataset show {name}", more={"quarantined": said})
