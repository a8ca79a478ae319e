"""`tidemill features`: feature views, joined in time and looked up online."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from tidemill.cli.rows import read
from tidemill.cli.show import Moment, Period, as_json, json_rows, progress, project, show, table
from tidemill.project import Project

WORDS = ("by", "take", "on", "within", "prefix")


@click.group()
def features() -> None:
    """Feature views: defined once, joined in time for training, looked up online for serving."""


@features.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, json_: bool) -> None:
    """All feature views."""
    mill = project(ctx)
    rows = []
    for artifact in mill.features.views():
        view = mill.features.get(artifact.name)
        rows.append({"view": view.name, "version": artifact.version, "entities": list(view.entities),
                     "features": list(view.features), "datasets": [each.dataset for each in view.sources]})  # fmt: skip
    columns = {"view": "view", "version": "version", "entities": "entities", "features": "features"}
    show(rows, json_=json_, people=lambda: table(rows, columns), then="tidemill features show VIEW")


@features.command("show")
@click.argument("view")
@as_json
@click.pass_context
def show_(ctx: click.Context, view: str, json_: bool) -> None:
    """A view's sources."""
    found = project(ctx).features.get(view)
    rows = [
        {"dataset": each.dataset, "by": list(each.by), "features": list(each.features), "within": each.within}
        for each in found.sources
    ]
    columns = {"dataset": "dataset", "by": "by", "features": "features", "within": "not older than"}
    show(found.body(), json_=json_, people=lambda: table(rows, columns), then=f"tidemill features materialize {view}")


@features.command()
@click.argument("view")
@click.option("--source", "sources", multiple=True, metavar="TEXT",
              help='"DATASET by COLUMN take COLUMN,... [on COLUMN] [within 3h] [prefix w_]"; repeat it.')  # fmt: skip
@click.option(
    "--from", "path", type=click.Path(path_type=Path), help="The definition as JSON, as `show --json` prints."
)
@as_json
@click.pass_context
def define(ctx: click.Context, view: str, sources: tuple[str, ...], path: Path | None, json_: bool) -> None:
    """Define VIEW by its sources, or from a file."""
    mill = project(ctx)
    if bool(sources) == (path is not None):
        raise click.UsageError("give --source, such as 'weather by origin take temp,wind within 3h', or --from FILE")
    if path is not None:
        made = mill.features.define(_definition(path) | {"name": view})
    else:
        made = mill.features.define(view, *(_source(mill, each) for each in sources))
    value = {"id": made.id, "view": made.name, "version": made.version}
    show(value, json_=json_, people=lambda: click.echo(f"{made.label} defined"),
         then=f"tidemill features materialize {view}")  # fmt: skip


@features.command()
@click.argument("view")
@click.argument("path", type=click.Path())
@click.option("--time", required=True, metavar="COLUMN", help="Column of the moments to look back from.")
@click.option("--zone", help="Time zone of times that have none, for example UTC.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Parquet file; default: show.")
@click.option("--purpose", help="What for; checked where a dataset of the view has a policy.")
@as_json
@click.pass_context
def offline(
    ctx: click.Context,
    view: str,
    path: str,
    time: str,
    zone: str | None,
    output: Path | None,
    purpose: str | None,
    json_: bool,
) -> None:
    """The rows of a file, each with the view's features as they were known at its time.

    Personal features are masked for who may not see them.
    """
    mill = project(ctx)
    from tidemill.data.catalogue import access

    mill.features.require(view, purpose)
    made = mill.features.offline(view, read(path), time=time, zone=zone)
    made = access.masked(mill.ws, made.lazy(), mill.features.hidden(view)).collect()
    if output is not None:
        made.write_parquet(output)
    rows = json_rows(made if output is None else made.head(5))

    def people() -> None:
        table(rows[:20], {column: column for column in made.columns}, exact=True)
        if output is not None:
            click.echo(f"{output}: {made.height:,} rows")

    value = rows if output is None else {"output": str(output), "rows": made.height}
    show(value, json_=json_, people=people, then=f"tidemill features materialize {view}")


@features.command()
@click.argument("view")
@click.option("--until", type=Moment(), help="Leave out rows that become known later.")
@click.option("--history", type=Period(), help="Keep only what answers for moments that far back.")
@click.option("--to", "store", metavar="STORE", help="A file, postgresql:// or redis://; default: in the workspace.")
@as_json
@click.pass_context
def materialize(
    ctx: click.Context, view: str, until: datetime | None, history: timedelta | None, store: str | None, json_: bool
) -> None:
    """Bring the online store up to the newest versions of the view's datasets."""
    mill = project(ctx)
    with progress(f"materializing {view}: entries") as tell:
        made = mill.features.materialize(view, until=until, history=history, store=store, progress=tell)
    value = {"view": view, "written": made.written, "anew": made.anew, "artifact": made.artifact.id}
    how = "built anew" if made.anew else "added to"
    show(value, json_=json_, people=lambda: click.echo(f"{view}: {made.written:,} entries written, {how}"),
         then=f"tidemill features lookup {view} COLUMN=VALUE")  # fmt: skip


@features.command()
@click.argument("view")
@click.argument("entities", nargs=-1, required=True)
@click.option("--at", type=Moment(), help="The moment; default: now.")
@click.option("--from", "store", metavar="STORE", help="The online store; default: in the workspace.")
@click.option("--purpose", help="What for; checked where a dataset of the view has a policy.")
@as_json
@click.pass_context
def lookup(
    ctx: click.Context,
    view: str,
    entities: tuple[str, ...],
    at: datetime | None,
    store: str | None,
    purpose: str | None,
    json_: bool,
) -> None:
    """The features of ENTITIES, each "column=value" (several columns: "a=1,b=2").

    Personal ones are masked for who may not see them.
    """
    mill = project(ctx)
    from tidemill.data.catalogue import access

    mill.features.require(view, purpose)
    wanted = mill.features.entities(view, [_entity(each) for each in entities])
    answered = mill.features.lookup(view, wanted, at=at, store=store)
    hidden = mill.features.hidden(view)
    found = [access.mask_values(mill.ws, each, hidden) for each in answered]
    rows = [entity | vector for entity, vector in zip(wanted, found, strict=True)]
    nothing = at is None and all(value is None for vector in answered for value in vector.values())
    # Old rows answer for old moments only.
    then = f"lookup {view} {entities[0]} --at TIME" if nothing else f"show {view}"
    show(found, json_=json_, people=lambda: table(rows, {column: column for column in rows[0]}, exact=True),
         then=f"tidemill features {then}")  # fmt: skip


def _definition(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{str(path)!r} holds no definition of a view: {error}") from error
    if not isinstance(found, dict):
        raise click.UsageError(f"{str(path)!r} holds no JSON object with a view's definition")
    return found


def _source(mill: Project, said: str) -> Any:  # Any: feature_store.views.Source
    dataset, *words = said.split()
    if len(words) % 2 or any(word not in WORDS for word in words[::2]) or not {"by", "take"} <= set(words[::2]):
        raise click.UsageError(f"source {said!r} is not 'DATASET by COLUMN take COLUMN,... "
                               "[on COLUMN] [within 3h] [prefix w_]'")  # fmt: skip
    parts = dict(zip(words[::2], words[1::2], strict=True))
    within = Period().convert(parts["within"], None, None) if "within" in parts else None
    return mill.features.source(
        dataset, by=parts["by"].split(","), columns=parts["take"].split(","), within=within,
        on=parts["on"].split(",") if "on" in parts else (), prefix=parts.get("prefix", ""),
    )  # fmt: skip


def _entity(said: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in said.split(","):
        column, equals, value = each.partition("=")
        if not equals or not column:
            raise click.UsageError(f"entity {said!r} is no COLUMN=VALUE, such as origin=JFK")
        found[column] = value
    return found
