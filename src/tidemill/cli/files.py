"""`tidemill dataset add-files|status|checkout|cat`: datasets of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from tidemill.cli.show import as_json, counted, of_version, progress, project, show
from tidemill.cli.versions import show_version

SHOWN = 20


@click.command("add-files")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--manifest", type=click.Path(path_type=Path), help="A table with a column `path`, joined on.")
@click.option("--pattern", default="**/*", show_default=True, help="Which files.")
@click.option("--links", type=click.Choice(["inside", "follow", "skip"]), default="inside", show_default=True)
@click.option("--unmatched", type=click.Choice(["report", "refuse"]), default="report", show_default=True,
              help="Rows of the manifest without a file, and files without a row.")  # fmt: skip
@click.option("--message", default="")
@as_json
@click.pass_context
def add_files(
    ctx: click.Context,
    name: str,
    folder: Path,
    manifest: Path | None,
    pattern: str,
    links: Literal["inside", "follow", "skip"],
    unmatched: Literal["report", "refuse"],
    message: str,
    json_: bool,
) -> None:
    """The folder's files as the dataset's next version; unchanged ones are not read again."""
    files = project(ctx).files
    with progress(f"reading {folder}: files") as tell:
        version = files.add_folder(
            name, folder, manifest=manifest, pattern=pattern, links=links, unmatched=unmatched, message=message,
            progress=tell,
        )  # fmt: skip
    seen = files.scanned(name)
    for what in ("rows_without_file", "files_without_row"):
        if seen.get(what, {}).get("count"):
            first = ", ".join(map(str, seen[what]["first"][:5]))
            click.echo(f"{what.replace('_', ' ')}: {seen[what]['count']:,} ({first})", err=True)
    for each in seen.get("collisions") or []:
        click.echo(f"the same name where capitals are not told apart: {', '.join(each)}", err=True)
    show_version(version, json_=json_, then=f"tidemill dataset status {name} {folder}", more={"scanned": dict(seen)})


@click.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@of_version
@as_json
@click.pass_context
def status(ctx: click.Context, name: str, folder: Path, ref: str | None, json_: bool) -> None:
    """How the folder differs from the dataset's newest version (or --version)."""
    mill = project(ctx)
    version = None if ref is None else mill.data.get(name, ref)
    found = mill.files.status(name, folder, version=version)

    def people() -> None:
        for what in ("added", "changed", "removed"):
            for path in found[what][:SHOWN]:
                click.echo(f"{what:8} {path}")
            if len(found[what]) > SHOWN:
                click.echo(f"{what:8} ... and {len(found[what]) - SHOWN:,} more")
        counts = [f"{len(found[what]):,} {what}" for what in ("added", "changed", "removed")]
        click.echo(f"{', '.join(counts)}, {found['unchanged']:,} unchanged")

    differs = any(found[what] for what in ("added", "changed", "removed"))
    then = f"tidemill dataset add-files {name} {folder}" if differs else f"tidemill dataset log {name}"
    show(found, json_=json_, people=people, then=then)


@click.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@of_version
@click.option("--force", is_flag=True, help="Overwrite changed files whose bytes are stored nowhere.")
@click.option("--purpose", help="What for; checked where the dataset has a policy.")
@as_json
@click.pass_context
def checkout(
    ctx: click.Context, name: str, folder: Path, ref: str | None, force: bool, purpose: str | None, json_: bool
) -> None:
    """Make the folder hold the version's files."""
    mill = project(ctx)
    version = mill.data.get(name, ref)
    mill.policies.require(version, purpose)
    with progress(f"writing {folder}: files") as tell:
        done: dict[str, Any] = mill.files.checkout(version, folder, force=force, progress=tell)

    def people() -> None:
        click.echo(f"{folder} holds {version.artifact.label}: {counted(done['written'], 'file')} written, "
                   f"{done['removed']:,} removed, {done['unchanged']:,} unchanged")  # fmt: skip

    show(done | {"version": version.version}, json_=json_, people=people,
         then=f"tidemill dataset status {name} {folder}")  # fmt: skip


@click.command()
@click.argument("name")
@click.argument("path")
@of_version
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("--purpose", help="What for; checked where the dataset has a policy.")
@as_json
@click.pass_context
def cat(
    ctx: click.Context, name: str, path: str, ref: str | None, output: Path | None, purpose: str | None, json_: bool
) -> None:
    """One file's bytes, to standard output or to a file; --json says its size and digest only."""
    mill = project(ctx)
    version = mill.data.get(name, ref)
    mill.policies.require(version, purpose)
    data = mill.files.read(version, path)
    if output is not None:
        output.write_bytes(data)
    elif not json_:
        click.echo(data, nl=False)
        return
    from tidemill.core.ids import digest

    value = {"path": path, "size_bytes": len(data), "digest": digest(data), "output": output and str(output)}
    show(value, json_=json_, people=lambda: click.echo(f"{output}: {len(data):,} bytes"),
         then=f"tidemill dataset show {name}")  # fmt: skip
