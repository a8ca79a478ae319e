"""`tidemill runs`."""

from __future__ import annotations

import click

from tidemill.cli.show import as_json, project, show, table, text


@click.group()
def runs() -> None:
    """Everything that ever ran."""


@runs.command("list")
@click.option("--kind", help='Exact, or a prefix such as "train.*".')
@click.option("--name")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@as_json
@click.pass_context
def list_(ctx: click.Context, kind: str | None, name: str | None, limit: int, json_: bool) -> None:
    """The newest runs first."""
    rows = [
        {
            "id": run.id,
            "short": run.id[:15],
            "kind": run.kind,
            "name": run.name,
            "status": run.status,
            "started_at": run.started_at.isoformat(timespec="seconds"),
            "duration_s": run.duration_s,
            "cpu_s": run.cpu_s,
            "params": dict(run.params),
            "metrics": dict(run.metrics),
            "results": text(dict(list(run.metrics.items())[:4])),
        }
        for run in project(ctx).lineage.runs(kind=kind, name=name, limit=limit)
    ]
    columns = {
        "short": "id",
        "kind": "kind",
        "name": "name",
        "status": "status",
        "duration_s": "s",
        "results": "results",
    }
    show(rows, json_=json_, people=lambda: table(rows, columns), then="tidemill runs show ID")


@runs.command("show")
@click.argument("id_")
@as_json
@click.pass_context
def show_(ctx: click.Context, id_: str, json_: bool) -> None:
    """One run: what it read, made and measured."""
    opened = project(ctx)
    value = opened.lineage.describe_run(id_)

    def people() -> None:
        for name in ("id", "kind", "name", "status", "started_at", "duration_s", "cpu_s", "actor", "code", "error"):
            click.echo(f"{name:12} {text(value[name])}")
        for name in ("params", "metrics", "tags"):
            click.echo(f"{name:12} {text(value[name])}")
        table(value["artifacts"], {"role": "role", "slot": "slot", "label": "artifact", "id": "id"})

    show(value, json_=json_, people=people, then=f"tidemill trace {value['id'][:15]}")
