"""`tidemill sweep`."""

from __future__ import annotations

from datetime import timedelta

import click

from tidemill.cli.show import Period, as_json, counted, project, show


@click.command()
@click.option(
    "--older-than", type=Period(), default="1d", show_default=True, help="Longer than any run or import takes."
)
@as_json
@click.pass_context
def sweep(ctx: click.Context, older_than: timedelta, json_: bool) -> None:
    """Delete blobs and data files that no record refers to, such as those of a killed import."""
    swept = project(ctx).governance.sweep(older_than_s=older_than.total_seconds())
    value = {"blobs": [blob.digest for blob in swept.blobs], "files": list(swept.files), "size_bytes": swept.size_bytes}

    def people() -> None:
        click.echo(f"{counted(len(swept.blobs), 'blob')} and {counted(len(swept.files), 'data file')} deleted, "
                   f"{swept.size_bytes:,} bytes")  # fmt: skip

    show(value, json_=json_, people=people, then="tidemill audit verify")
