"""`tidemill dataset erase`: take a person out of everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tidemill.cli.show import as_json, counted, progress, project, show, table

COUNTS = ("predictions", "truths", "tasks", "files")


@click.command()
@click.option("--subject", required=True, metavar="KEY", help="What identifies the person, such as an address.")
@click.option("--column", "columns", multiple=True, metavar="DATASET.COLUMN",
              help='Where persons are named; default: the columns tagged "subject"; repeat it.')  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def erase(ctx: click.Context, subject: str, columns: tuple[str, ...], dry_run: bool, yes: bool, json_: bool) -> None:
    """Take a person out of every version, statistic, log, blob, online store, prediction and label.

    Old versions keep all other rows. Shows what goes, and the models and answers that used it, before it asks.
    """
    if json_ and not (dry_run or yes):
        raise click.UsageError("--json cannot ask; say --dry-run or --yes")
    governance = project(ctx).governance
    where = _where(columns)
    with progress("searching: tables") as tell:
        before = governance.erase(subject, columns=where, dry_run=True, progress=tell).as_json()
    found = any(before["rows"].values()) or any(before[what] for what in COUNTS)
    if not json_:
        _tell(before, "would go" if dry_run or not yes else "goes")
    if dry_run or not found:
        _end(before, json_=json_, dry_run=dry_run, found=found)
        return
    if not yes:
        click.confirm("Erase it for good?", abort=True, err=True)
    with progress("erasing: tables") as tell:
        made = governance.erase(subject, columns=where, progress=tell).as_json()
    show(made, json_=json_, people=lambda: _done(made), then="tidemill audit verify")


def _where(columns: tuple[str, ...]) -> dict[str, list[str]] | None:
    found: dict[str, list[str]] = {}
    for each in columns:
        dataset, dot, column = each.rpartition(".")
        if not dot or not dataset or not column:
            raise click.UsageError(f"--column {each!r} is no DATASET.COLUMN, such as people.email")
        found.setdefault(dataset, []).append(column)
    return found or None


def _tell(value: Mapping[str, Any], word: str) -> None:
    rows = [{"what": f"rows of {dataset}", "count": count} for dataset, count in value["rows"].items()]
    rows += [{"what": what, "count": value[what]} for what in COUNTS if value[what]]
    table([row for row in rows if row["count"]], {"what": word, "count": "count"})
    for what, said in (("versions", "changed versions"), ("models", "models that learned from it"),
                       ("deployments", "deployments of these models")):  # fmt: skip
        if value[what]:
            click.echo(f"{said}: {', '.join(value[what])}")
    if value["answers"]:
        click.echo(f"these models gave {value['answers']:,} answers")


def _end(value: Mapping[str, Any], *, json_: bool, dry_run: bool, found: bool) -> None:
    said = "" if found else "nothing of this person was found"
    then = "tidemill dataset erase --subject KEY" if dry_run and found else ""
    show(value, json_=json_, people=lambda: click.echo(said) if said else None, then=then)


def _done(value: Mapping[str, Any]) -> None:
    rows = sum(value["rows"].values())
    click.echo(
        f"erased {counted(rows, 'row')} and {counted(value['predictions'], 'prediction')}; "
        f"{counted(value['blobs'], 'blob')} written anew or deleted, {counted(value['records'], 'record')} amended"
    )
    for each in value["left"]:
        click.echo(f"still holds a text of this person: {each}")
    if value["models"]:
        click.echo("rebuild the models that learned from it")
