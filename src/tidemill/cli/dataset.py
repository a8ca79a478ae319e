"""`tidemill dataset`."""

from __future__ import annotations

from typing import Any

import click

from tidemill.cli.show import as_json, project, show, table


@click.group()
def dataset() -> None:
    """Datasets and their versions."""


@dataset.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, json_: bool) -> None:
    """All datasets, newest version each."""
    rows = [_row(version) for version in project(ctx).newest_datasets()]
    show(rows, json_=json_, people=lambda: table(rows, _COLUMNS), then="tidemill dataset show NAME")


@dataset.command("show")
@click.argument("name")
@click.option("--version", type=int)
@as_json
@click.pass_context
def show_(ctx: click.Context, name: str, version: int | None, json_: bool) -> None:
    """One version: its columns and clocks."""
    found = project(ctx).dataset(name, version).base
    columns = [{"column": column, "type": kind} for column, kind in found.columns.items()]
    value = {**_row(found), **dict(found.artifact.meta)}

    def people() -> None:
        click.echo(f"{found.artifact.label}: {found.rows:,} rows, digest {found.digest}")
        click.echo(f"key {found.key}, event time {found.event_time}, known time {found.known_time}")
        table(columns, {"column": "column", "type": "type"})

    show(value, json_=json_, people=people, then=f"tidemill dataset log {name}")


@dataset.command("log")
@click.argument("name")
@as_json
@click.pass_context
def log(ctx: click.Context, name: str, json_: bool) -> None:
    """All versions, newest first."""
    rows = [_row(version) for version in project(ctx).dataset_log(name)]
    show(rows, json_=json_, people=lambda: table(rows, _COLUMNS), then=f"tidemill dataset diff {name} OLD NEW")


@dataset.command("diff")
@click.argument("name")
@click.argument("old", type=int)
@click.argument("new", type=int)
@as_json
@click.pass_context
def diff(ctx: click.Context, name: str, old: int, new: int, json_: bool) -> None:
    """What differs between two versions: columns, and rows by key."""
    found = project(ctx).dataset_diff(name, old, new)

    def people() -> None:
        for what in ("columns_added", "columns_removed", "added", "removed", "changed"):
            shown = ", ".join(map(str, found[what][:5])) + (" ..." if len(found[what]) > 5 else "")
            click.echo(f"{what:16} {len(found[what]):>9,}  {shown}")

    show(found, json_=json_, people=people, then=f"tidemill impact {name} --row KEY")


@dataset.command("add")
@click.argument("name")
@click.argument("path", type=click.Path())
@click.option("--key", required=True, help="Column that identifies a row.")
@click.option("--event-time", help="Column: when it happened.")
@click.option("--known-time", help="Column: from when on it could be known.")
@click.option("--message", default="")
@as_json
@click.pass_context
def add(
    ctx: click.Context,
    name: str,
    path: str,
    key: str,
    event_time: str | None,
    known_time: str | None,
    message: str,
    json_: bool,
) -> None:
    """Append the rows of a CSV, JSON lines, Parquet or Arrow file: the dataset's next version."""
    version = project(ctx).add(name, path, key=key, event_time=event_time, known_time=known_time, message=message)
    value = _row(version)
    show(value, json_=json_, people=lambda: table([value], _COLUMNS), then=f"tidemill dataset show {name}")


_COLUMNS = {
    "name": "dataset",
    "version": "version",
    "rows": "rows",
    "added": "added",
    "at": "made",
    "message": "message",
}


def _row(version: Any) -> dict[str, Any]:
    artifact = version.artifact
    return {
        "id": artifact.id,
        "name": artifact.name,
        "version": artifact.version,
        "rows": version.rows,
        "added": artifact.meta.get("added"),
        "digest": artifact.digest,
        "at": artifact.created_at.isoformat(timespec="seconds"),
        "message": artifact.meta.get("message", ""),
    }
