"""`tidemill dataset tag|untag|tags|branch|branches|merge`: names of versions, and lines of them."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, counted, project, show, table
from tidemill.cli.versions import COLUMNS, row, show_change, show_version, version_of
from tidemill.data.versioning.versions import split

AT_MOST = 100  # conflicts that a person is shown


@click.command()
@click.argument("name")
@click.argument("label")
@click.argument("ref", required=False)
@as_json
@click.pass_context
def tag(ctx: click.Context, name: str, label: str, ref: str | None, json_: bool) -> None:
    """Name a version (REF or NAME@REF, default the newest) LABEL; a tag that is there moves."""
    name, meant = split(name, ref)
    version = project(ctx).data.tag(name, meant, label)
    show_version(version, json_=json_, then=f"tidemill dataset show {name} --version {label}", more={"tag": label})


@click.command()
@click.argument("name")
@click.argument("label")
@as_json
@click.pass_context
def untag(ctx: click.Context, name: str, label: str, json_: bool) -> None:
    """Take a tag away; the version stays."""
    project(ctx).data.untag(name, label)
    show({"name": name, "untagged": label}, json_=json_, people=lambda: click.echo(f"{name} has no tag {label} now"),
         then=f"tidemill dataset tags {name}")  # fmt: skip


@click.command()
@click.argument("name")
@as_json
@click.pass_context
def tags(ctx: click.Context, name: str, json_: bool) -> None:
    """The tags of a dataset's versions."""
    data = project(ctx).data
    data.get(name)
    rows = [{"tag": label, "version": version} for label, version in data.tags(name).items()]
    show(rows, json_=json_, people=lambda: table(rows, {"tag": "tag", "version": "version"}),
         then=f"tidemill dataset tag {name} LABEL [REF]")  # fmt: skip


@click.command()
@click.argument("name")
@click.argument("label")
@click.option("--at", "ref", metavar="REF", help="Where it begins; default: the head of main.")
@as_json
@click.pass_context
def branch(ctx: click.Context, name: str, label: str, ref: str | None, json_: bool) -> None:
    """Begin branch LABEL, also at NAME@REF; stores nothing."""
    name, start = split(name, ref)
    version = project(ctx).data.branch(name, label, at=start)
    then = f"tidemill dataset update {name} FILE --branch {label}"
    show_version(version, json_=json_, then=then, more={"branch": label})


@click.command()
@click.argument("name")
@as_json
@click.pass_context
def branches(ctx: click.Context, name: str, json_: bool) -> None:
    """All branches and their heads."""
    rows = [row(head) | {"branch": label} for label, head in project(ctx).data.branches(name).items()]
    columns = {"branch": "branch"} | {key: heading for key, heading in COLUMNS.items() if key not in ("name", "branch")}
    show(rows, json_=json_, people=lambda: table(rows, columns), then=f"tidemill dataset merge {name} BRANCH")


@click.command()
@click.argument("name")
@click.argument("source", required=False)
@click.option("--into", default="main", show_default=True, help="The branch that gets the changes.")
@click.option("--ours", multiple=True, metavar="KEY", help="For this row take the values of --into.")
@click.option("--theirs", multiple=True, metavar="KEY", help="For this row take the values of SOURCE.")
@click.option("--message", default="")
@as_json
@click.pass_context
def merge(
    ctx: click.Context,
    name: str,
    source: str | None,
    into: str,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    message: str,
    json_: bool,
) -> None:
    """Bring what SOURCE (a branch, or any version; also as NAME@SOURCE) changed into a branch, row by row.

    Where both changed one value nothing is written and each conflict is shown; exit code 1.
    """
    name, source = version_of(name, source, verb="merge")
    mill = project(ctx)
    from tidemill.data.catalogue import shown
    from tidemill.data.versioning.branches import MergeConflict

    both = sorted(set(ours) & set(theirs))
    if both:
        raise click.UsageError(f"row {both[0]!r} is named by --ours and by --theirs; name it once")
    sides = {**dict.fromkeys(ours, "ours"), **dict.fromkeys(theirs, "theirs")}
    try:
        version = mill.data.merge(name, source, into=into, resolve=sides, message=message)  # type: ignore[arg-type]  # the two words
    except MergeConflict as conflict:
        rows = shown.conflicts(mill.ws, name, conflict.conflicts)
        columns = {"key": "row", "column": "column", "base": "base", "ours": into, "theirs": source}

        def people() -> None:
            first = [row | {"column": row["column"] or "(the whole row)"} for row in rows[:AT_MOST]]
            table(first, columns, exact=True)
            more = f", {len(rows) - AT_MOST:,} of them not shown (--json has all)" if len(rows) > AT_MOST else ""
            click.echo(f"{counted(len(rows), 'conflict')}{more}; nothing was merged")

        key = rows[0]["key"] if rows else "KEY"
        show({"conflicts": rows}, json_=json_, people=people,
             then=f"tidemill dataset merge {name} {source} --theirs {key}")  # fmt: skip
        ctx.exit(1)
    show_change(mill, version, json_=json_)
