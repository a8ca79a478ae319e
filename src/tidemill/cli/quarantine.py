"""`tidemill dataset check|quarantine|release|discard`: rows that break a contract."""

from __future__ import annotations

from pathlib import Path

import click

from tidemill.cli.show import as_json, counted, for_purpose, json_rows, of_version, project, show, table
from tidemill.cli.versions import show_change

SHOWN_KEYS = 5
HEADINGS = {"__id": "quarantine id", "__reasons": "reasons"}  # a column of the rows may be called id


@click.command()
@click.argument("name")
@of_version
@as_json
@click.pass_context
def check(ctx: click.Context, name: str, ref: str | None, json_: bool) -> None:
    """Judge all rows of a version by the contract, recorded with a report; exit code 1 when a rule fails."""
    mill = project(ctx)
    from tidemill.data.catalogue import shown

    version = mill.data.get(name, ref)
    report = mill.contracts.evaluate(version)
    keys = [shown.keys(mill.ws, version, each.keys) for each in report.results]
    rows = [
        {"rule": each.rule, "severity": each.severity, "ok": each.ok, "rows": each.rows, "keys": of}
        for each, of in zip(report.results, keys, strict=True)
    ]

    def people() -> None:
        lines = [
            row | {"keys": of[:SHOWN_KEYS], "severity": "" if row["ok"] else row["severity"]}
            for row, of in zip(rows, keys, strict=True)
        ]
        table(lines, {"rule": "rule", "ok": "kept", "severity": "severity", "rows": "failing rows", "keys": "such as"})
        click.echo(f"{name}@{report.version} " + ("keeps its contract" if report.ok else "breaks its contract"))

    value = {"dataset": name, "version": report.version, "ok": report.ok, "report": report.artifact.id, "rules": rows}
    show(value, json_=json_, people=people, then=f"tidemill dataset contract show {name}")
    ctx.exit(0 if report.ok else 1)


@click.command("quarantine")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows shown to people.")
@for_purpose
@as_json
@click.pass_context
def quarantine_(ctx: click.Context, name: str, limit: int, purpose: str | None, json_: bool) -> None:
    """Rows that an import kept out, with their reasons."""
    from tidemill.data.quality import quarantine

    mill = project(ctx)
    found = mill.contracts.shown(name, purpose=purpose)
    rows = json_rows(found)
    if not rows:
        mill.data.get(name)  # or NotFound

    def people() -> None:
        there = name in mill.data.names()  # not where the first import is in quarantine whole
        key = mill.data.get(name).key if there else None
        columns = [column for column in quarantine.reading_order(found, key) if column not in quarantine.OWN[2:]]
        table(rows[:limit], {column: HEADINGS.get(column, column) for column in columns}, exact=True)
        if len(rows) > limit:
            click.echo(f"... and {len(rows) - limit:,} more")

    show(rows, json_=json_, people=people, then=f"tidemill dataset release {name} KEY ... --with MENDED_FILE")


@click.command()
@click.argument("name")
@click.argument("keys", nargs=-1, required=True)
@click.option("--with", "path", type=click.Path(path_type=Path), help="A file with the mended rows.")
@click.option("--message", default="")
@as_json
@click.pass_context
def release(ctx: click.Context, name: str, keys: tuple[str, ...], path: Path | None, message: str, json_: bool) -> None:
    """Add quarantined rows (KEYS: row ids or the ids shown) to the dataset after all; the contract is applied again."""
    mill = project(ctx)
    frame = None if path is None else mill.data.read(name, path)
    show_change(mill, mill.contracts.release(name, keys, frame, message=message), json_=json_)


@click.command()
@click.argument("name")
@click.argument("keys", nargs=-1, required=True)
@click.option("--reason", required=True)
@as_json
@click.pass_context
def discard(ctx: click.Context, name: str, keys: tuple[str, ...], reason: str, json_: bool) -> None:
    """Take rows out of quarantine for good; who and why stays in the log."""
    count = project(ctx).contracts.discard(name, keys, reason=reason)
    show({"name": name, "discarded": count}, json_=json_,
         people=lambda: click.echo(f"{counted(count, 'row')} discarded"),
         then=f"tidemill dataset quarantine {name}")  # fmt: skip
