"""`tidemill flow`: run pipelines, look at executions, answer their questions."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidemill.cli.show import as_json, counted, facts, progress, project, show, table, text
from tidemill.cli.verbs import Verbs

if TYPE_CHECKING:
    from tidemill.flow.states import FlowState, NodeState

VERBS = {
    "run": ("flow", "Run a pipeline of a file, here."),
    "submit": ("flow", "Put an execution into a queue."),
    "runs": ("flow", "The newest executions."),
    "show": ("flow", "One execution: its nodes and where they stand."),
    "logs": ("flow", "What a node printed."),
    "approve": ("flow", "Answer the question of an execution: yes, or --no."),
    "resume": ("flow", "Run an execution on: killed, or answered."),
    "cancel": ("flow", "End an execution."),
    "why": ("flow", "Why a step ran and was not taken from the cache."),
    "advise": ("flow", "What would make a pipeline quicker or cheaper."),
    "plan": ("flow", "A pipeline's graph, without running it."),
}
BY_ITSELF = {
    "deploy": ("scheduling", "Let a pipeline run by a schedule."),
    "schedules": ("scheduling", "What is deployed, and when it runs next."),
    "pause": ("scheduling", "Let a schedule start nothing, or --off: go on."),
    "undeploy": ("scheduling", "Take a schedule back."),
    "queue": ("scheduling", "What waits and runs; --limit N: how many of it at once."),
    "backfill": ("scheduling", "One execution for each of many days or values."),
    "hook": ("scheduling", "A token for a webhook."),
}
NODES_SHOWN = 60


@click.group(cls=Verbs, sections={"Executions": VERBS, "By itself": BY_ITSELF})
def flow() -> None:
    """Pipelines: ordinary functions whose steps are cached, recorded and gone on with."""


with_params = click.option(
    "--param", "-p", "given", multiple=True, metavar="NAME=VALUE", help="A parameter of the pipeline; repeat it."
)
on_engine = click.option(
    "--engine",
    default="pool",
    show_default=True,
    help='Where steps run: "pool", "pool://4", "here", "ray://host:6379".',
)


def params_of(given: tuple[str, ...]) -> dict[str, str]:
    """The parameters as given."""
    found: dict[str, str] = {}
    for each in given:
        name, told, value = each.partition("=")
        if not told or not name:
            raise click.UsageError(f"--param {each!r}; write NAME=VALUE")
        found[name] = value
    return found


@click.command()
@click.argument("entry")
@with_params
@on_engine
@as_json
@click.pass_context
def run(ctx: click.Context, entry: str, given: tuple[str, ...], engine: str, json_: bool) -> int:
    """Run the pipeline at ENTRY, "FILE.py:NAME" or "package.module:NAME"; exit 1 where it fails."""
    mill = project(ctx)
    with progress(entry) as tell:
        done = mill.flows.run(
            entry, engine=engine, progress=lambda ended, known, _: tell(ended, known), **params_of(given)
        )
    return _told(mill.flows.get(done.id), done.value, json_=json_)


@click.command()
@click.argument("entry")
@with_params
@click.option("--queue", default="default", show_default=True)
@click.option("--priority", type=int, default=0, show_default=True, help="Higher goes first.")
@click.option("--engine", default="", help='Where its steps run (default "pool").')
@as_json
@click.pass_context
def submit(
    ctx: click.Context, entry: str, given: tuple[str, ...], queue: str, priority: int, engine: str, json_: bool
) -> None:
    """Put an execution of the pipeline at ENTRY into a queue; `tidemill up` or `tidemill scheduler` runs it."""
    made = project(ctx).flows.submit(entry, queue=queue, priority=priority, engine=engine, **params_of(given))
    value = {"id": made.id, "pipeline": made.name, "queue": queue, "priority": priority}
    show(value, json_=json_, people=lambda: facts(value), then=f"tidemill flow show {made.id}")


@click.command()
@click.argument("pipeline", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@as_json
@click.pass_context
def runs(ctx: click.Context, pipeline: str | None, limit: int, json_: bool) -> None:
    """The newest executions, of all pipelines or one."""
    found = project(ctx).flows.all(pipeline, limit=limit)
    rows = [
        {
            "id": each.run.id,
            "pipeline": each.run.name,
            "status": each.status,
            "started_at": each.run.started_at,
            "takes_s": each.run.duration_s,
            "trigger": each.run.tags.get("trigger", ""),
            "params": dict(each.run.params),
        }
        for each in found
    ]
    columns = {"id": "execution", "pipeline": "pipeline", "status": "status", "started_at": "started",
               "takes_s": "seconds", "trigger": "by", "params": "parameters"}  # fmt: skip
    then = f"tidemill flow show {rows[0]['id']}" if rows else "tidemill flow run FILE.py:NAME"
    show(rows, json_=json_, people=lambda: table(rows, columns), then=then)


@click.command("show")
@click.argument("execution")
@click.option("--all", "everything", is_flag=True, help=f"All nodes, not the first {NODES_SHOWN}.")
@as_json
@click.pass_context
def show_(ctx: click.Context, execution: str, everything: bool, json_: bool) -> None:
    """One execution: where it stands, and its nodes."""
    state = project(ctx).flows.get(execution)
    then = _next(state)
    show(state.to_json(), json_=json_, people=lambda: _people(state, everything=everything), then=then)


@click.command()
@click.argument("execution")
@click.argument("node")
@click.pass_context
def logs(ctx: click.Context, execution: str, node: str) -> None:
    """What NODE printed: of one that still runs on this machine, as far as it got."""
    click.echo(project(ctx).flows.log(execution, node), nl=False)


@click.command()
@click.argument("execution")
@click.argument("question", required=False)
@click.option("--no", "no", is_flag=True, help="Answer no.")
@click.option("--note", default="", help="Why; kept with the answer.")
@as_json
@click.pass_context
def approve(ctx: click.Context, execution: str, question: str | None, no: bool, note: str, json_: bool) -> None:
    """Answer what EXECUTION asks, by default its only open QUESTION. A scheduler, or `flow resume`, runs the rest."""
    from dataclasses import asdict

    decided = project(ctx).flows.answer(execution, yes=not no, approval=question, note=note)
    value = asdict(decided)
    shown = {"question": decided.text, "answer": decided.answer, "by": decided.by, "note": decided.note}
    show(value, json_=json_, people=lambda: facts(shown), then=f"tidemill flow resume {decided.run_id}")


@click.command()
@click.argument("execution")
@click.option("--entry", help="Where its pipeline is, where it does not say so itself.")
@on_engine
@as_json
@click.pass_context
def resume(ctx: click.Context, execution: str, entry: str | None, engine: str, json_: bool) -> int:
    """Run EXECUTION on from where it stands; what was recorded is not run again."""
    mill = project(ctx)
    with progress(execution) as tell:
        done = mill.flows.resume(
            execution, pipeline=entry, engine=engine, progress=lambda ended, known, _: tell(ended, known)
        )
    return _told(mill.flows.get(done.id), done.value, json_=json_)


@click.command()
@click.argument("execution")
@as_json
@click.pass_context
def cancel(ctx: click.Context, execution: str, json_: bool) -> None:
    """End EXECUTION, with all processes of its steps, within seconds."""
    mill = project(ctx)
    mill.flows.cancel(execution)
    value = {"id": mill.flows.get(execution).run.id, "asked": "cancel"}
    show(value, json_=json_, people=lambda: click.echo("asked to end"), then=f"tidemill flow show {value['id']}")


@click.command()
@click.argument("step")
@click.option("--execution", help="In that execution; default: the newest in which it ran.")
@as_json
@click.pass_context
def why(ctx: click.Context, step: str, execution: str | None, json_: bool) -> None:
    """Which part of the key of STEP (or of a node, "clean[3]") differed, so that it ran."""
    found = project(ctx).flows.why(step, execution=execution)
    rows = [{"part": each.part, "old": _short(each.old), "new": _short(each.new)} for each in found.differences]

    def people() -> None:
        click.echo(found.text if found.reason or not rows else f"{found.node} ran, because since {found.before}:")
        if rows:
            table(rows, {"part": "part", "old": "then", "new": "now"})

    show(found.to_json(), json_=json_, people=people, then=f"tidemill runs show {found.run}")


@click.command()
@click.argument("pipeline")
@click.option("--runs", "looked_at", type=click.IntRange(1), default=20, show_default=True)
@click.option("--price", multiple=True, metavar="WORKERS=PRICE", help="An hour of a machine; repeat it.")
@as_json
@click.pass_context
def advise(ctx: click.Context, pipeline: str, looked_at: int, price: tuple[str, ...], json_: bool) -> None:
    """What would make PIPELINE quicker or cheaper, from its recorded executions."""
    prices = {}
    for each in price:
        workers, _, amount = each.partition("=")
        try:
            prices[int(workers)] = float(amount)
        except ValueError:
            raise click.UsageError(f"--price {each!r}; write WORKERS=PRICE, such as 4=0.20") from None
    found = project(ctx).flows.advise(pipeline, runs=looked_at, prices=prices)

    def people() -> None:
        for line in found.lines:
            click.echo(f"- {line}")
        click.echo(f"\ncritical path, {found.path_s:.2f} s: {' -> '.join(node for node, _ in found.path)}\n")
        rows = [
            {"step": each.step, "calls": each.calls, "cached": f"{each.cached_share:.0%}", "share": f"{each.share:.0%}",
             "median_s": round(each.median_s, 3), "cores": None if each.cores is None else round(each.cores, 2),
             "why": each.misses[0][0] if each.misses else ""}
            for each in found.steps
        ]  # fmt: skip
        table(rows, {"step": "step", "calls": "calls", "cached": "cached", "share": "of time",
                     "median_s": "median s", "cores": "cores used", "why": "why it ran mostly"})  # fmt: skip
        click.echo("")
        workers = [{"workers": each.workers, "takes_s": round(each.takes_s, 2), "price": each.price}
                   for each in found.workers]  # fmt: skip
        table(workers, {"workers": "workers", "takes_s": "seconds, all computed", "price": "price"})

    show(found.to_json(), json_=json_, people=people, then=f"tidemill flow runs {pipeline}")


@click.command()
@click.argument("entry")
@as_json
@click.pass_context
def plan(ctx: click.Context, entry: str, json_: bool) -> None:  # noqa: ARG001  needs no workspace
    """The graph of the pipeline at ENTRY without running it; what has none is named with its line."""
    from dataclasses import asdict

    from tidemill.flow import entries
    from tidemill.flow.plan import trace

    made = trace(entries.load(entry))
    rows = [
        {
            "node": each.id,
            "over": ", ".join(each.each),
            "loop": each.loop or "",
            "when": len(each.when) or None,
            "line": _line(each.line),
        }
        for each in made.nodes
    ]
    value = {
        "pipeline": made.pipeline,
        "nodes": [{**asdict(each), "function": None} for each in made.nodes],
        "loops": [asdict(each) for each in made.loops],
        "result": asdict(made.result),
    }
    columns = {"node": "node", "over": "mapped over", "loop": "in the map", "when": "branches", "line": "line"}
    show(value, json_=json_, people=lambda: table(rows, columns), then=f"tidemill export airflow {entry}")


# ------------------------------------------------------------------------------------------------ showing


def _told(state: FlowState, value: Any, *, json_: bool) -> int:
    shown = {**state.to_json(), "value": _plain(value)}

    def people() -> None:
        _people(state, everything=False)
        if state.status == "done":
            click.echo(f"\nresult: {text(_plain(value))}")

    show(shown, json_=json_, people=people, then=_next(state))
    return 0 if state.status in ("done", "parked") else 1


def _people(state: FlowState, *, everything: bool) -> None:
    run = state.run
    counts = ", ".join(f"{count} {name}" for name, count in sorted(state.counts.items()))
    facts({
        "execution": run.id, "pipeline": run.name, "status": state.status, "parameters": dict(run.params),
        "by": f"{run.actor} ({run.tags.get('trigger', '')})", "started": run.started_at, "seconds": run.duration_s,
        "nodes": counts or "none",
    })  # fmt: skip
    if run.error:
        facts({"error": run.error})
    for each in state.approvals:
        answer = f"{each.answer}, by {each.by}" if each.answer else "asked, not answered"
        facts({"question": f"{each.text} ({answer})"})
    nodes = state.nodes if everything else state.nodes[:NODES_SHOWN]
    click.echo("")
    table([_row(each) for each in nodes], {"node": "node", "state": "state", "wall_s": "seconds", "tries": "tries",
                                           "said": "error, or why it ran"})  # fmt: skip
    if len(state.nodes) > len(nodes):
        click.echo(f"... and {counted(len(state.nodes) - len(nodes), 'more node')}: --all")


def _row(node: NodeState) -> dict[str, Any]:
    said = node.error or node.why
    return {
        "node": node.node,
        "state": node.state,
        "wall_s": round(node.wall_s, 3) if node.wall_s else None,
        "tries": node.attempt if node.attempt > 1 else None,
        "said": said,
    }


def _next(state: FlowState) -> str:
    run_id = state.run.id
    if state.status == "parked":
        return f"tidemill flow approve {run_id}"
    if state.status in ("lost", "queued"):
        return f"tidemill flow resume {run_id}"
    failed = next((each for each in state.nodes if each.state == "failed"), None)
    if failed is not None:
        return f"tidemill flow logs {run_id} {failed.node}"
    if state.status == "running":
        return f"tidemill flow show {run_id}"
    return f"tidemill flow advise {state.run.name}" if state.status == "done" else "tidemill flow runs"


def _plain(value: Any) -> Any:
    """The result as JSON where it is some; else what it is."""
    try:
        return json.loads(json.dumps(value, default=_named))
    except (TypeError, ValueError):
        return _named(value)


def _named(value: Any) -> str:
    from tidemill.core.types import Artifact, View

    if isinstance(value, View):
        return value.artifact.label
    if isinstance(value, Artifact):
        return value.label
    if isinstance(value, datetime | Path):
        return str(value)
    return f"<{type(value).__name__}>"


def _short(part: str | None) -> str:
    if part is None:
        return "-"
    return part if len(part) < 64 else part[:12]


def _line(line: str) -> str:
    name, _, number = line.rpartition(":")
    return f"{Path(name).name}:{number}"
