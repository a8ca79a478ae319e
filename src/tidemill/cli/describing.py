"""`tidemill dataset profile|card|croissant`: what a version holds, for people and other tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tidemill.cli.show import as_json, for_purpose, of_version, progress, project, show, table, text
from tidemill.cli.versions import named


@click.command()
@click.argument("name")
@of_version
@click.option("--column", help="All that is known of one column.")
@for_purpose
@as_json
@click.pass_context
def profile(
    ctx: click.Context, name: str, ref: str | None, column: str | None, purpose: str | None, json_: bool
) -> None:
    """Types, missing, distinct, range and common values of each column; computed once a version."""
    mill = project(ctx)
    with progress(f"profiling {name}: columns") as tell:
        found = mill.data.profile(name, ref, purpose=purpose, progress=tell)
    columns: Mapping[str, Mapping[str, Any]] = found["columns"]
    if column is not None:
        from tidemill.core.errors import require_columns

        require_columns([column], columns, where=f"dataset {name!r}")
        one = columns[column]
        show(dict(one), json_=json_, people=lambda: _one(column, one), then=f"tidemill dataset profile {name}")
        return

    def people() -> None:
        click.echo(f"{found['rows']:,} rows")
        rows = [{"column": each, **_line(facts)} for each, facts in columns.items()]
        if found["masked"]:
            click.echo(f"masked: {', '.join(found['masked'])}")
        headings = ("column", "type", "missing", "distinct", "min", "mean", "max", "common")
        table(rows, {heading: heading for heading in headings})

    show(found, json_=json_, people=people, then=f"tidemill dataset profile {name} --column COLUMN")


@click.command()
@click.argument("name")
@of_version
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@as_json
@click.pass_context
def card(ctx: click.Context, name: str, ref: str | None, output: Path | None, json_: bool) -> None:
    """The dataset card, Markdown, made from the records."""
    mill = project(ctx)
    made = mill.governance.card(mill.data.get(name, ref))
    if output is not None:
        output.write_text(made)
    value = {"card": made, "output": output and str(output)}
    show(value, json_=json_, people=lambda: click.echo(made if output is None else f"{output} written"),
         then=f"tidemill dataset describe {name} --owner WHO --licence NAME")  # fmt: skip


@click.command()
@click.argument("name")
@of_version
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Write the rows as Parquet beside it.")
@click.option("--purpose", help="What for; checked where the dataset has a policy.")
@click.option("--url", default="", help="Where people read about the dataset.")
@as_json
@click.pass_context
def croissant(
    ctx: click.Context, name: str, ref: str | None, folder: Path | None, purpose: str | None, url: str, json_: bool
) -> None:
    """The version as Croissant JSON-LD; with --to a folder that other tools load, personal columns masked."""
    mill = project(ctx)
    version = mill.data.get(name, ref)
    if folder is None:
        made = mill.governance.croissant(version, url=url)
    else:
        made = mill.governance.publish(version, folder, purpose=purpose, url=url)

    def people() -> None:
        click.echo(json.dumps(made, indent=1) if folder is None else f"{folder} holds {version.artifact.label}")

    show(made, json_=json_, people=people, then=f"tidemill dataset card {name}")


def _line(facts: Mapping[str, Any]) -> dict[str, Any]:
    missing = facts["missing_share"]
    top = facts.get("top", [])[:3] if facts["kind"] in ("text", "boolean") else []
    common = [each["value"] for each in top if each["rows"] > 1]  # of an id no value is common
    return {
        "type": named(facts["type"]),
        "missing": f"{100 * missing:.3g} %" if missing else "–",
        "distinct": facts["distinct"],
        "min": text(facts.get("min")),
        "mean": text(facts.get("mean")),
        "max": text(facts.get("max")),
        "common": common,
    }


def _one(column: str, facts: Mapping[str, Any]) -> None:
    click.echo(column)
    for name, each in facts.items():
        if name not in ("histogram", "top"):
            click.echo(f"  {name.replace('_', ' '):16} {text(each)}")
    if facts.get("top"):
        click.echo("  common values")
        for each in facts["top"]:
            click.echo(f"    {each['rows']:>12,}  {text(each['value'])}")
    histogram = facts.get("histogram")
    if histogram:
        click.echo("  histogram")
        widest = max(histogram["counts"], default=0) or 1
        edges = histogram["edges"]
        for low, high, count in zip(edges[:-1], edges[1:], histogram["counts"], strict=True):
            click.echo(f"    {text(low):>16} – {text(high):<16} {count:>11,}  {'█' * round(40 * count / widest)}")
