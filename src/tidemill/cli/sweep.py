"""`tidemill sweep`."""

from __future__ import annotations

from datetime import timedelta

import click

from tidemill.cli.show import Period, as_json, counted, project, show, table


@click.command()
@click.option(
    "--older-than", type=Period(), default="1d", show_default=True, help="Longer than any run or import takes."
)
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@as_json
@click.pass_context
def sweep(ctx: click.Context, older_than: timedelta, dry_run: bool, json_: bool) -> None:
    """Delete blobs and data files that no record refers to, such as those of a killed import.

    Runs whose process died without a word are ended as failed.
    """
    swept = project(ctx).governance.sweep(older_than_s=older_than.total_seconds(), dry_run=dry_run)
    rows = [{"what": "blob", "name": blob.digest, "bytes": blob.size_bytes} for blob in swept.blobs]
    rows += [{"what": "data file", "name": name, "bytes": size} for name, size in swept.file_bytes.items()]
    rows += [{"what": "run to end", "name": f"{run.kind} {run.id}", "bytes": None} for run in swept.runs]
    value = {
        "blobs": [blob.digest for blob in swept.blobs],
        "files": list(swept.files),
        "runs": [run.id for run in swept.runs],
        "size_bytes": swept.size_bytes,
        "dry_run": dry_run,
        **({"would_go": rows} if dry_run else {}),
    }
    counts = f"{counted(len(swept.blobs), 'blob')} and {counted(len(swept.files), 'data file')}"
    ended = f"; {counted(len(swept.runs), 'run')} whose process died" if swept.runs else ""

    def people() -> None:
        if dry_run and rows:
            table(rows, {"what": "what", "name": "name", "bytes": "bytes"})
        said = "would be deleted" if dry_run else "deleted"
        then = " would be ended" if dry_run else " ended"
        click.echo(f"{counts} {said}, {swept.size_bytes:,} bytes{ended + then if ended else ''}")

    show(value, json_=json_, people=people, then="tidemill sweep" if dry_run and rows else "tidemill audit verify")
