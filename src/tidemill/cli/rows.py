"""`tidemill dataset add|update|add-column|delete|rows`: rows of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidemill.cli.importing import show_import
from tidemill.cli.show import as_json, json_rows, made_of, of_version, on_branch, progress, project, show, table
from tidemill.cli.versions import key_first, show_change

if TYPE_CHECKING:
    import polars as pl

with_message = click.option("--message", default="")


@click.command()
@click.argument("name")
@click.argument("path", type=click.Path())
@click.option("--key", required=True, help="Column that identifies a row.")
@click.option("--event-time", help="Column: when it happened.")
@click.option("--known-time", help="Column: from when on it could be known.")
@click.option("--zone", help="Time zone of clocks that have none, for example UTC.")
@made_of
@on_branch
@with_message
@as_json
@click.pass_context
def add(
    ctx: click.Context,
    name: str,
    path: str,
    key: str,
    event_time: str | None,
    known_time: str | None,
    zone: str | None,
    made_of: tuple[str, ...],
    branch: str,
    message: str,
    json_: bool,
) -> None:
    """Append the rows of a CSV, JSON lines, Parquet or Arrow file: the dataset's next version."""
    mill = project(ctx)
    kept_out: list[Any] = []
    begun = mill.now
    with progress(f"adding to {name}: rows") as tell:
        version = mill.data.import_from(
            name, path, key=key, event_time=event_time, known_time=known_time, zone=zone, branch=branch,
            message=message, made_of=made_of, progress=tell, told=kept_out.append,
        )  # fmt: skip
    show_import(version, kept_out, begun=begun, json_=json_)


@click.command()
@click.argument("name")
@click.argument("path", type=click.Path())
@on_branch
@with_message
@as_json
@click.pass_context
def update(ctx: click.Context, name: str, path: str, branch: str, message: str, json_: bool) -> None:
    """Give existing rows new values: a file with the key and the columns to change, a row each."""
    mill = project(ctx)
    rows = mill.data.read(name, path, branch=branch)
    show_change(mill, mill.data.update(name, rows, branch=branch, message=message), json_=json_)


@click.command("add-column")
@click.argument("name")
@click.argument("path", type=click.Path())
@on_branch
@with_message
@as_json
@click.pass_context
def add_column(ctx: click.Context, name: str, path: str, branch: str, message: str, json_: bool) -> None:
    """Add columns: a file with the key and the new columns; rows that it does not name get nulls."""
    mill = project(ctx)
    rows = mill.data.read(name, path, branch=branch)
    show_change(mill, mill.data.add_column(name, rows, branch=branch, message=message), json_=json_)


@click.command()
@click.argument("name")
@click.argument("keys", nargs=-1, required=True)
@on_branch
@with_message
@as_json
@click.pass_context
def delete(ctx: click.Context, name: str, keys: tuple[str, ...], branch: str, message: str, json_: bool) -> None:
    """Leave out the rows with these keys from the next version on; older versions keep them.

    What must not be in any version is for `dataset erase`.
    """
    mill = project(ctx)
    show_change(mill, mill.data.delete(name, keys, branch=branch, message=message), json_=json_)


@click.command("rows")
@click.argument("name")
@of_version
@click.option("--column", "columns", multiple=True, help="Only these columns; repeat it.")
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True)
@click.option("--purpose", help="What for; checked where the dataset has a policy.")
@as_json
@click.pass_context
def rows_(
    ctx: click.Context,
    name: str,
    ref: str | None,
    columns: tuple[str, ...],
    limit: int,
    purpose: str | None,
    json_: bool,
) -> None:
    """The first rows, personal columns masked unless you have the role "pii"; the read is in the audit log."""
    mill = project(ctx)
    version = mill.data.get(name, ref)
    found = json_rows(mill.governance.scan(version, columns=columns or None, purpose=purpose).head(limit).collect())
    show(found, json_=json_, people=lambda: table(found, key_first((found or [{}])[0], version.key), exact=True),
         then=f"tidemill dataset profile {name}")  # fmt: skip


def read(path: str) -> pl.DataFrame:
    """All rows of a file."""
    from tidemill.data.transfer import sources

    return sources.read(Path(path))
