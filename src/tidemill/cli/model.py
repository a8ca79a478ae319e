"""`tidemill model`."""

from __future__ import annotations

import click

from tidemill.cli.evaluation import compare, evaluate, evaluation
from tidemill.cli.show import as_json, project, show, table


@click.group()
def model() -> None:
    """Registered models."""


@model.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, json_: bool) -> None:
    """All versions, newest first."""
    rows = [
        {"id": found.id, "name": found.name, "version": found.version, "fit": found.artifact.meta.get("fit")}
        | {"train_rows": found.artifact.meta.get("train_rows"), "known_until": found.artifact.meta.get("data_time")}
        | {"auc": found.metrics.get("auc"), "log_loss": found.metrics.get("log_loss")}
        for found in project(ctx).models.all()
    ]
    columns = {"name": "model", "version": "version", "fit": "fit", "train_rows": "rows", "known_until": "known until"}
    columns |= {"auc": "test AUC", "log_loss": "test log loss"}
    show(rows, json_=json_, people=lambda: table(rows, columns), then="tidemill model show NAME VERSION")


@model.command("show")
@click.argument("name")
@click.argument("version", required=False)
@as_json
@click.pass_context
def show_(ctx: click.Context, name: str, version: str | None, json_: bool) -> None:
    """The model's card. VERSION: a number or an alias such as champion, also as NAME@VERSION; the newest by default."""
    opened = project(ctx)
    name, at, said = name.removeprefix("model/").partition("@")
    if at and version not in (None, said):
        raise click.UsageError(f"{name}@{said} names a version, and {version} is asked for; name one of them")
    version = said if at else version
    found = opened.model(name, int(version) if version and version.isdigit() else version)
    card = opened.models.card(found)
    value = {"id": found.id, "name": name, "version": found.version, "meta": dict(found.artifact.meta), "card": card}
    show(value, json_=json_, people=lambda: click.echo(card), then=f"tidemill trace {found.id[:15]}")


for verb in (evaluation, evaluate, compare):
    model.add_command(verb)
