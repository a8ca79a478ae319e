"""`tidemill flow deploy|schedules|pause|undeploy|queue|backfill|hook`: what runs by itself."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from tidemill.cli.flow import params_of, with_params
from tidemill.cli.show import as_json, counted, facts, project, show, table
from tidemill.core.ids import utc_now

if TYPE_CHECKING:
    from tidemill.flow.scheduling.schedules import Schedule, Scheduled


@click.command()
@click.argument("entry")
@click.option("--cron", "cron_", metavar="EXPRESSION", help='Such as "0 3 * * *"; default: the one of @tm.pipeline.')
@click.option("--zone", default="UTC", show_default=True, help="Of the cron expression, such as Europe/Berlin.")
@click.option("--every", "every_", metavar="LENGTH", help='Such as "15m".')
@click.option("--on-dataset", metavar="NAME", help="At each new version.")
@click.option("--on-alert", metavar="DEPLOYMENT", help="At each alert.")
@click.option("--on-webhook", metavar="NAME", help="At each call of the webhook.")
@click.option("--catch-up", type=click.Choice(["latest", "all", "none"]), help="What becomes of missed slots.")
@click.option("--name", help="Of the schedule; default: the pipeline's.")
@with_params
@click.option("--slot-param", metavar="NAME", help="The parameter that is given the slot's time or date.")
@click.option("--queue", default="default", show_default=True)
@click.option("--priority", type=int, default=0, show_default=True)
@click.option("--at-once", type=click.IntRange(1), default=1, show_default=True, help="Executions of it at a time.")
@click.option("--as", "as_", help="Under whose name it runs; default: yours.")
@click.option("--engine", default="", help='Where its steps run (default "pool").')
@as_json
@click.pass_context
def deploy(
    ctx: click.Context,
    entry: str,
    cron_: str | None,
    zone: str,
    every_: str | None,
    on_dataset: str | None,
    on_alert: str | None,
    on_webhook: str | None,
    catch_up: str | None,
    given: tuple[str, ...],
    json_: bool,
    name: str | None,
    slot_param: str | None,
    queue: str,
    priority: int,
    at_once: int,
    as_: str | None,
    engine: str,
) -> None:
    """Let the pipeline at ENTRY ("FILE.py:NAME") run by itself; `tidemill up` or `tidemill scheduler` starts it."""
    asked = {"cron": cron_, "every": every_, "on_dataset": on_dataset, "on_alert": on_alert, "on_webhook": on_webhook}
    schedule = _schedule({name: value for name, value in asked.items() if value is not None}, zone, catch_up)
    mill = project(ctx)
    made = mill.flows.deploy(
        entry,
        schedule,
        params=params_of(given),
        name=name,
        slot_param=slot_param,
        queue=queue,
        priority=priority,
        at_once=at_once,
        as_=as_,
        engine=engine,
    )
    _show([made], json_=json_, then="tidemill scheduler")


@click.command()
@as_json
@click.pass_context
def schedules(ctx: click.Context, json_: bool) -> None:
    """What is deployed, and when it runs next."""
    mill = project(ctx)
    _show(mill.flows.schedules(), json_=json_, then="tidemill flow runs")


@click.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="Let it go on.")
@as_json
@click.pass_context
def pause(ctx: click.Context, name: str, off: bool, json_: bool) -> None:
    """Let the schedule NAME start nothing until `--off`."""
    mill = project(ctx)
    _show([mill.flows.pause(name, on=not off)], json_=json_, then="tidemill flow schedules")


@click.command()
@click.argument("name")
@click.pass_context
def undeploy(ctx: click.Context, name: str) -> None:
    """Take the schedule NAME back; its executions stay."""
    project(ctx).flows.undeploy(name)
    click.echo(f"{name} runs by itself no more")


@click.command()
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(0), help="From now on so many of queue NAME at a time; 0 stops it.")
@as_json
@click.pass_context
def queue(ctx: click.Context, name: str | None, limit: int | None, json_: bool) -> None:
    """What waits and runs, in all queues or in NAME."""
    mill = project(ctx)
    if limit is not None:
        if name is None:
            raise click.UsageError("name the queue that the limit is for")
        mill.flows.limit(name, limit)
    rows = [
        {"id": each.run.id, "pipeline": each.run.name, "queue": each.queue, "state": each.state,
         "priority": each.priority, "since": each.run.started_at}
        for each in mill.flows.queue() if name in (None, each.queue)
    ]  # fmt: skip
    columns = {"id": "execution", "pipeline": "pipeline", "queue": "queue", "state": "state", "priority": "priority",
               "since": "since"}  # fmt: skip
    then = f"tidemill flow show {rows[0]['id']}" if rows else "tidemill flow submit FILE.py:NAME"
    show(rows, json_=json_, people=lambda: table(rows, columns), then=then)


@click.command()
@click.argument("entry")
@click.argument("values", nargs=-1)
@click.option("--param", "param", required=True, metavar="NAME", help="The parameter that is given each value.")
@click.option("--from", "first", metavar="DAY", help="All days from this one ...")
@click.option("--to", "last", metavar="DAY", help="... to this one, such as 2026-11-25.")
@click.option("--with", "given", multiple=True, metavar="NAME=VALUE", help="Another parameter; repeat it.")
@click.option("--at-once", type=click.IntRange(1), default=2, show_default=True)
@click.option("--again", is_flag=True, help="Run done ones too.")
@click.option("--queued", is_flag=True, help="Leave it to a scheduler.")
@as_json
@click.pass_context
def backfill(
    ctx: click.Context,
    entry: str,
    values: tuple[str, ...],
    param: str,
    first: str | None,
    last: str | None,
    given: tuple[str, ...],
    at_once: int,
    again: bool,
    queued: bool,
    json_: bool,
) -> int:
    """One execution of the pipeline at ENTRY for each of VALUES, or for each day; those that are done are skipped."""
    from tidemill.flow.scheduling.backfill import days

    partitions: list[Any] = list(values)
    if first is not None or last is not None:
        try:
            partitions += days(date.fromisoformat(first or ""), date.fromisoformat(last or first or ""))
        except ValueError:
            raise click.UsageError(f"--from {first} --to {last}; write two days, such as 2026-11-01") from None
    if not partitions:
        raise click.UsageError("give values, or --from DAY --to DAY")
    done = project(ctx).flows.backfill(
        entry, partitions, param=param, wait=not queued, params=params_of(given), at_once=at_once, again=again
    )
    rows = [asdict(each) for each in done.partitions]
    failed = [each for each in done.partitions if each.status in ("failed", "cancelled")]

    def people() -> None:
        table(rows, {"value": param, "status": "status", "run_id": "execution"})
        click.echo(f"{counted(len(rows), 'partition')}, {len(failed)} failed")

    then = f"tidemill flow show {failed[0].run_id}" if failed else "tidemill flow runs"
    show(rows, json_=json_, people=people, then=then)
    return 1 if failed else 0


@click.command()
@click.argument("name")
@click.option("--revoke", is_flag=True, help="Let no token be good any more.")
@as_json
@click.pass_context
def hook(ctx: click.Context, name: str, revoke: bool, json_: bool) -> None:
    """A new token for the webhook NAME, shown this once; one from before is good no more."""
    token = project(ctx).flows.hook(name, revoke=revoke)
    value = {"webhook": name, "token": token or None, "route": f"POST /hooks/{name}"}
    facts_ = {
        "webhook": name,
        "token": token or "revoked",
        "call it": f"POST /hooks/{name}, Authorization: Bearer TOKEN",
    }
    show(
        value, json_=json_, people=lambda: facts(facts_), then=f"tidemill flow deploy FILE.py:NAME --on-webhook {name}"
    )


def _schedule(asked: dict[str, str], zone: str, catch_up: Any) -> Schedule | None:
    from tidemill.flow.scheduling import schedules as found

    if not asked:
        return None
    if len(asked) > 1:
        raise click.UsageError(
            f"--{' and --'.join(each.replace('_', '-') for each in asked)}: a schedule is one of them"
        )
    (kind, value), more = next(iter(asked.items())), {} if catch_up is None else {"catch_up": catch_up}
    match kind:
        case "cron":
            return found.cron(value, zone=zone, **more)
        case "every":
            return found.every(value, **more)
        case "on_dataset":
            return found.on_dataset(value, **more)
        case "on_alert":
            return found.on_alert(value, **more)
    return found.on_webhook(value, **more)


def _show(found: list[Scheduled], *, json_: bool, then: str) -> None:
    from tidemill.flow.scheduling.schedules import Cron, Every, text_of, to_json
    from tidemill.flow.scheduling.slots import following

    rows = []
    for each in found:
        timed = each.schedule if isinstance(each.schedule, Cron | Every) and not each.paused else None
        later = None if timed is None else following(timed, max(each.since, utc_now()))
        rows.append({**asdict(each), "schedule": to_json(each.schedule), "when": text_of(each.schedule), "next": later,
                     "state": "paused" if each.paused else "on"})  # fmt: skip
    columns = {"name": "schedule", "pipeline": "pipeline", "when": "when", "next": "next", "state": "state",
               "queue": "queue", "as_": "as"}  # fmt: skip
    show(rows, json_=json_, people=lambda: table(rows, columns), then=then)
