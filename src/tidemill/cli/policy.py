"""`tidemill dataset policy|allow|disallow|keep|retention|hold|release-hold`: what may be done with data, how long."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Literal

import click

from tidemill.cli.show import Moment, Period, as_json, facts, project, show, table
from tidemill.project import Project


@click.command()
@click.argument("name")
@as_json
@click.pass_context
def policy(ctx: click.Context, name: str, json_: bool) -> None:
    """What a dataset may be used for, how long it is kept, and which cases hold it."""
    _show(project(ctx), name, json_=json_)


@click.command()
@click.argument("name")
@click.argument("purpose")
@click.option("--basis", required=True, help="Legal basis, such as consent or contract.")
@click.option("--until", type=Moment(), help="The last moment.")
@as_json
@click.pass_context
def allow(ctx: click.Context, name: str, purpose: str, basis: str, until: datetime | None, json_: bool) -> None:
    """Allow PURPOSE ("training", "churn-model"); from the first one on other purposes are refused."""
    mill = project(ctx)
    mill.policies.allow(name, purpose, basis, until=until)
    _show(mill, name, json_=json_)


@click.command()
@click.argument("name")
@click.argument("purpose", required=False)
@click.option("--limits", is_flag=True, help="Forget all permits: any purpose is allowed again.")
@as_json
@click.pass_context
def disallow(ctx: click.Context, name: str, purpose: str | None, limits: bool, json_: bool) -> None:
    """Take PURPOSE back; a dataset whose last purpose was taken back may be used for none."""
    if (purpose is None) is not limits:
        raise click.UsageError("name a purpose, or say --limits to allow any purpose again")
    mill = project(ctx)
    if purpose is None:
        mill.policies.allow_any(name)
    else:
        mill.policies.disallow(name, purpose)
    _show(mill, name, json_=json_)


@click.command()
@click.argument("name")
@click.argument("period", type=Period(), required=False)
@click.option("--for-ever", is_flag=True)
@as_json
@click.pass_context
def keep(ctx: click.Context, name: str, period: timedelta | None, for_ever: bool, json_: bool) -> None:
    """Keep rows for PERIOD ("400d") after their event time."""
    if (period is None) is not for_ever:
        raise click.UsageError("give a period such as 400d, or --for-ever")
    mill = project(ctx)
    mill.policies.keep_for(name, period)
    _show(mill, name, json_=json_)


@click.command()
@click.argument("name", required=False)
@click.option("--apply", "how", flag_value="delete", help="Leave these rows out from the next versions on.")
@click.option("--erase", "how", flag_value="erase", help="Take them out of every version, log and label.")
@as_json
@click.pass_context
def retention(ctx: click.Context, name: str | None, how: Literal["delete", "erase"] | None, json_: bool) -> None:
    """Datasets (or NAME) with rows that are kept for longer than their policy says; `keep` says how long that is."""
    policies = project(ctx).policies
    columns = {"dataset": "dataset", "rows": "rows", "older_versions": "older versions with such rows"}
    rows: list[dict[str, Any]]
    if how is not None:
        rows = [asdict(each) for each in policies.apply_retention(name, how=how)]
        columns |= {"how": "what was done"}
    else:
        rows = [asdict(each) | {"before": each.before.isoformat(timespec="seconds"), "held": list(each.held)}
                for each in policies.due(name)]  # fmt: skip
        columns |= {"before": "older than", "held": "held by"}
    of = "" if name is None else f" {name}"
    then = "tidemill audit who --what erased" if how else f"tidemill dataset retention{of} --apply"

    def people() -> None:
        table(rows, columns)
        if name is not None:
            kept = policies.get(name).keep_for
            click.echo(f"rows of {name} are kept for {'ever' if kept is None else _days(kept)}")

    show(rows, json_=json_, people=people, then=then if rows else "")


@click.command()
@click.argument("name")
@click.argument("case")
@click.option("--reason", default="")
@as_json
@click.pass_context
def hold(ctx: click.Context, name: str, case: str, reason: str, json_: bool) -> None:
    """Forbid erasure and retention of a dataset for CASE, until it is released."""
    mill = project(ctx)
    mill.policies.hold(name, case, reason=reason)
    _show(mill, name, json_=json_)


@click.command("release-hold")
@click.argument("name")
@click.argument("case")
@click.option("--reason", default="")
@as_json
@click.pass_context
def release_hold(ctx: click.Context, name: str, case: str, reason: str, json_: bool) -> None:
    """End the hold of CASE."""
    mill = project(ctx)
    mill.policies.release(name, case, reason=reason)
    _show(mill, name, json_=json_)


def _days(period: timedelta) -> str:
    return f"{period / timedelta(days=1):,.6g} days"


def _show(mill: Project, name: str, *, json_: bool) -> None:
    mill.data.get(name)
    found, held = mill.policies.get(name), mill.policies.held(name)
    permits = [permit.as_json() | {"purpose": purpose} for purpose, permit in sorted(found.permits.items())]
    value = found.body() | {"dataset": name, "held": held}

    def people() -> None:
        facts({
            "purposes": "only these" if found.limited and permits else "none" if found.limited else "any",
            "kept for": "ever" if found.keep_for is None else _days(found.keep_for),
            "held by": held,
        })  # fmt: skip
        if permits:
            table(permits, {"purpose": "purpose", "basis": "legal basis", "until": "until"})

    show(value, json_=json_, people=people, then=f"tidemill audit who --subject dataset/{name}")
