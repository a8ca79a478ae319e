"""`tidemill dataset list|show|log|diff|revert`: versions of datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tidemill.cli.show import as_json, counted, facts, of_version, project, show, table, text
from tidemill.core.types import Artifact, DatasetVersion
from tidemill.data.versioning.versions import split

if TYPE_CHECKING:
    from tidemill.project import Project

SHOWN = 20  # changed values that a person is shown
COLUMNS = {
    "name": "dataset",
    "version": "version",
    "branch": "branch",
    "rows": "rows",
    "added": "added",
    "at": "made",
    "message": "message",
}


@click.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, json_: bool) -> None:
    """All datasets, newest version each."""
    data = project(ctx).data
    rows = [row(data.get(name)) for name in data.names()]
    show(rows, json_=json_, people=lambda: table(rows, COLUMNS), then="tidemill dataset show NAME")


@click.command("show")
@click.argument("name")
@of_version
@as_json
@click.pass_context
def show_(ctx: click.Context, name: str, ref: str | None, json_: bool) -> None:
    """One version: its columns, clocks and tags."""
    mill = project(ctx)
    found = mill.data.get(name, ref)
    about = mill.governance.get(name)
    names = [tag for tag, version in mill.data.tags(name).items() if version == found.version]
    columns = [
        {"column": column, "type": named(kind), "tags": list(about.tags.get(column, ()))}
        for column, kind in mill.data.schema(name, ref).items()
    ]
    governance = {key: value for key, value in about.body().items() if key != "format"}
    value = {**row(found), **dict(found.artifact.meta), "tags": names, "governance": governance}

    def people() -> None:
        click.echo(f"{found.artifact.label}: {found.rows:,} rows, digest {found.digest}")
        click.echo(f"key {found.key}, event time {text(found.event_time)}, known time {text(found.known_time)}")
        facts({"branch": value["branch"], "tags": names} if names else {"branch": value["branch"]})
        said = ("owner", "steward", "licence", "classification", "description")
        facts({each: governance.get(each) for each in said if governance.get(each)})
        table(columns, {"column": "column", "type": "type", "tags": "tags"})

    show(value, json_=json_, people=people, then=f"tidemill dataset log {name}")


@click.command()
@click.argument("name")
@click.option("--branch", help="Only versions that its head comes from.")
@as_json
@click.pass_context
def log(ctx: click.Context, name: str, branch: str | None, json_: bool) -> None:
    """All versions, newest first; of NAME@REF those that it comes from."""
    name, start = split(name, branch)
    data = project(ctx).data
    tags: dict[int, list[str]] = {}
    for label, version in data.tags(name).items():
        tags.setdefault(version, []).append(label)
    rows = [row(version) | {"tags": tags.get(version.version, [])} for version in data.log(name, branch=start)]
    columns = {**COLUMNS, "tags": "tags"} if tags else COLUMNS
    show(rows, json_=json_, people=lambda: table(rows, columns), then=f"tidemill dataset diff {name} OLD NEW")


@click.command()
@click.argument("name")
@click.argument("old", required=False)
@click.argument("new", required=False)
@click.option(
    "--at-most", type=click.IntRange(0), default=100, show_default=True, help="Rows of each kind with values."
)
@click.option("--purpose", help="What for; checked where the dataset has a policy.")
@as_json
@click.pass_context
def diff(
    ctx: click.Context,
    name: str,
    old: str | None,
    new: str | None,
    at_most: int,
    purpose: str | None,
    json_: bool,
) -> None:
    """What NEW (default: the newest) has else than OLD; each a number, tag, branch or digest.

    Also as NAME@OLD NAME@NEW.
    """
    name, first = split(name)
    given = [split(name, each)[1] for each in (first, old, new) if each is not None]
    if not 1 <= len(given) <= 2:
        raise click.UsageError(f"name one version or two: tidemill dataset diff {name} OLD [NEW]")
    found = project(ctx).data.diff(name, *given, at_most=at_most, purpose=purpose)
    show(found, json_=json_, people=lambda: _differences(found), then=f"tidemill impact {name} --row KEY")


@click.command()
@click.argument("name")
@click.argument("ref", required=False)
@click.option("--branch", default="main", show_default=True)
@click.option("--message", default="")
@as_json
@click.pass_context
def revert(ctx: click.Context, name: str, ref: str | None, branch: str, message: str, json_: bool) -> None:
    """A new version with what an older one (REF, or NAME@REF) held; nothing is lost and nothing stored."""
    name, ref = version_of(name, ref, verb="revert")
    mill = project(ctx)
    show_change(mill, mill.data.revert(name, ref, branch=branch, message=message), json_=json_)


def version_of(name: str, ref: str | None, *, verb: str) -> tuple[str, str]:
    """Name and reference of NAME REF or NAME@REF, one of which must name the version."""
    alone, meant = split(name, ref)
    if meant is None:
        raise click.UsageError(f"name a version: tidemill dataset {verb} {alone} REF")
    return alone, str(meant)


def show_change(mill: Project, version: DatasetVersion, *, json_: bool) -> None:
    """The version that a change made; the next step is how it differs from the one that it came from."""
    parent = version.artifact.meta.get("parent")
    before = mill.ws.graph.get(parent) if parent else None
    then = f"diff {version.name} {before.version} {version.version}" if isinstance(before, Artifact) else ""
    show_version(version, json_=json_, then=f"tidemill dataset {then or f'show {version.name}'}")


def show_version(version: DatasetVersion, *, json_: bool, then: str, more: Mapping[str, Any] | None = None) -> None:
    """The version that a verb made."""
    value = row(version) | dict(more or {})
    show(
        value,
        json_=json_,
        people=lambda: table([value], COLUMNS),
        then=then,
    )


def row(version: DatasetVersion) -> dict[str, Any]:
    """A version as a row of a table."""
    artifact = version.artifact
    return {
        "id": artifact.id,
        "name": artifact.name,
        "version": artifact.version,
        "branch": artifact.meta.get("branch", "main"),
        "rows": version.rows,
        "added": artifact.meta.get("added"),
        "digest": artifact.digest,
        "at": artifact.created_at.isoformat(timespec="seconds"),
        "message": artifact.meta.get("message", ""),
    }


def key_first(columns: Iterable[str], key: str) -> dict[str, str]:
    """Columns and headings of a table of rows: what names a row is shown however narrow the terminal is."""
    return {column: column for column in sorted(columns, key=lambda column: column != key)}


def named(kind: str) -> str:
    """A type as contracts name it: Datetime[UTC]."""
    from tidemill.data.quality.contract import WRITTEN

    return WRITTEN.get(kind, kind)


def _differences(found: Mapping[str, Any]) -> None:
    rows = found["rows"]
    click.echo(f"{found['name']}@{found['old']} ({rows['old']:,} rows) -> @{found['new']} ({rows['new']:,} rows)")
    schema = found["schema"]
    for what in ("added", "removed"):
        for column, kind in schema[what].items():
            click.echo(f"column {what}: {column} ({named(kind)})")
    for column, (was, now) in schema["retyped"].items():
        click.echo(f"column retyped: {column} ({named(was)} -> {named(now)})")
    if found["order_changed"]:
        click.echo("the rows that both have stand in another order")
    if found["masked"]:
        click.echo(f"masked: {', '.join(found['masked'])}")
    for what in ("added", "removed", "changed"):
        click.echo(f"{what:8} {counted(found['counts'][what], 'row'):>14}")
    for column, count in found["changed_columns"].items():
        click.echo(f"  {column}: {counted(count, 'value')}")
    changed = [
        {"key": each["key"], "column": column, "old": value["old"], "new": value["new"]}
        for each in found["changed"]
        for column, value in each["columns"].items()
    ]
    if changed:
        more = len(changed) - SHOWN
        click.echo("\nchanged" + (f" (the first {SHOWN} values; --json has {more:,} more)" if more > 0 else ""))
        table(changed[:SHOWN], {"key": found["key"], "column": "column", "old": "old", "new": "new"}, exact=True)
    for what in ("removed", "added"):
        if found[what]:
            shown = found[what][:10]
            more = found["counts"][what] - len(shown)
            click.echo(f"\n{what}" + (f" (the first {len(shown)}; {more:,} more)" if more else ""))
            table(shown, key_first(shown[0], found["key"]), exact=True)
