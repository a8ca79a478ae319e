"""`tidemill leaderboard list|show|run`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import click

from tidemill.cli.show import as_json, for_purpose, progress, project, show, table
from tidemill.cli.verbs import Verbs

if TYPE_CHECKING:
    from tidemill.data.rows import Rows

VERBS = {
    "list": ("leaderboard", "The newest of each name."),
    "show": ("leaderboard", "One, with ties, intervals, leaks and looks."),
    "run": ("leaderboard", "Fit the candidates of a task on a dataset and rank them."),
}
TASKS = ("classification", "regression", "clustering", "forecast")
SPLITS = "time:MOMENT, time:MOMENT,MOMENT, share:0.2, stratified:0.2 or group:COLUMN:0.2"


@click.group(cls=Verbs, sections={"Verbs": VERBS})
def leaderboard() -> None:
    """Which algorithm, how sure that is, and whether the rows under it are honest."""


@click.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, json_: bool) -> None:
    """The newest leaderboard of each name."""
    from tidemill.api.views import leaderboards

    found = leaderboards(project(ctx))["leaderboards"]
    rows = [{**each, "of": f"{each['kind_of_task']} of {each['target']}" if each["target"] else each["kind_of_task"],
             "interval": _interval(each["low"], each["high"]), "best": _with_ties(each)} for each in found]  # fmt: skip
    columns = {"board": "leaderboard", "of": "task", "best": "best", "score": "score", "value": "of the best",
               "interval": "interval", "candidates": "candidates", "failed": "failed", "looks": "looks",
               "leaks": "leaks", "created_at": "when"}  # fmt: skip
    then = f"tidemill leaderboard show {rows[0]['run']}" if rows else _example()
    show(found, json_=json_, people=lambda: table(rows, columns), then=then)


@click.command("show")
@click.argument("which", metavar="ID|NAME")
@as_json
@click.pass_context
def show_(ctx: click.Context, which: str, json_: bool) -> None:
    """A leaderboard by the id of its report or run, or the newest of a name."""
    from tidemill.api.views import leaderboard as shown

    opened = project(ctx)
    value = shown(opened, which)
    show(
        value, json_=json_, people=lambda: _people(value, opened.leaderboard.read(value["id"]).text), then=_next(value)
    )


@click.command("run")
@click.argument("dataset", metavar="DATASET[@REF]")
@click.option("--task", type=click.Choice(TASKS), required=True, help="Whose candidates compete.")
@click.option("--target", metavar="COLUMN", help="What is foretold; a clustering needs none.")
@click.option("--split", "split", required=True, metavar="HOW", help=f"What is held out: {SPLITS}.")
@click.option("--include", multiple=True, metavar="NAME", help="Only these candidates; repeat it.")
@click.option("--exclude", multiple=True, metavar="NAME", help="All but these; repeat it.")
@click.option(
    "--column", "columns", multiple=True, metavar="COLUMN", help="A feature; repeat it. Default: all that can be."
)
@click.option("--params", "params", multiple=True, metavar="NAME.PARAM=VALUE", help="Where a default will not do.")
@click.option("--score", help="To rank by; default: auc, class_log_loss, mae or silhouette.")
@click.option("--groups", metavar="COLUMN", help="Rows of one value (a day) are not independent.")
@click.option("--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95, show_default=True)
@click.option("--leaks", type=click.Choice(["show", "refuse"]), default="show", show_default=True)
@click.option("--engine", help='Where fits run: "pool://2", "ray"; default: one by one, here.')
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--name", help="Of the leaderboard; default: the dataset's.")
@for_purpose
@as_json
@click.pass_context
def run(
    ctx: click.Context,
    dataset: str,
    task: Literal["classification", "regression", "clustering", "forecast"],
    target: str | None,
    split: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    columns: tuple[str, ...],
    params: tuple[str, ...],
    score: str | None,
    groups: str | None,
    level: float,
    leaks: Literal["show", "refuse"],
    engine: str | None,
    seed: int,
    name: str | None,
    purpose: str | None,
    json_: bool,
) -> int:
    """Fit the candidates of a task on a part of DATASET, score them on the held-out part, and rank them.

    Features are numbers as they are and text of few values as 0/1 columns. Of time:A,B what is from B on stays unseen.
    Exit code 1 where a candidate failed.
    """
    from tidemill.api.views import leaderboard as shown
    from tidemill.train.selecting.candidates import candidates

    if target is None and task != "clustering":
        raise click.UsageError(f"--target is missing: which column of {dataset} shall be foretold?")
    opened = project(ctx)
    alone, _, ref = dataset.removeprefix("dataset/").partition("@")
    rows = opened.dataset(alone, ref or None)
    train, held_out = _split(rows, split, target, seed)
    fits = candidates(task, include=include or None, exclude=exclude)
    aside = [] if groups is None else [groups]
    recipe = opened.leaderboard.recipe(train, target=target, columns=columns or None, aside=aside)
    more = {} if purpose is None else {"purpose": purpose}
    with progress("candidates") as tell:
        board = opened.leaderboard(
            fits, train, recipe, on=held_out, target=target, kind=task, score=score, groups=groups, level=level,
            leaks=leaks, engine=engine, seed=seed, name=name or alone, params=_params(params),
            progress=lambda done, whole, _: tell(done, whole), **more,
        )  # fmt: skip
    value = shown(opened, board.run)
    show(value, json_=json_, people=lambda: _people(value, board.text), then=_next(value))
    return 1 if any(line.error for line in board.lines) else 0


def _split(rows: Rows, how: str, target: str | None, seed: int) -> tuple[Rows, Rows]:
    kind, _, rest = how.partition(":")
    if kind == "time" and rest:
        train, held_out, *_ = rows.split(time=rest.split(","))
        return train, held_out
    column, _, text = rest.rpartition(":") if kind == "group" else ("", "", rest)
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if kind not in ("share", "stratified", "group") or not 0 < share < 1 or (kind == "group") != bool(column):
        raise click.UsageError(f"--split {how!r}; write one of {SPLITS}")
    if kind == "stratified" and target is None:
        raise click.UsageError("--split stratified:... holds equal shares of the target's classes; give --target too")
    stratify = target if kind == "stratified" else None
    train, held_out = rows.split(shares=[1 - share, share], stratify=stratify, group=column or None, seed=seed)
    return train, held_out


def _params(given: Iterable[str]) -> dict[str, dict[str, Any]]:
    """By candidate, values as JSON where they are that, else as text."""
    found: dict[str, dict[str, Any]] = {}
    for each in given:
        whole, told, value = each.partition("=")
        name, _, param = whole.partition(".")
        if not (told and name and param):
            raise click.UsageError(f"--params {each!r}; write NAME.PARAM=VALUE, such as tree.depth=3")
        try:
            found.setdefault(name, {})[param] = json.loads(value)
        except ValueError:
            found[name][param] = value
    return found


def _people(value: Mapping[str, Any], text: str) -> None:
    click.echo(text)
    for line in value["board"]["lines"]:
        for made in line["registered"]:
            tuned = "" if made["same_params"] else ", with other parameters"
            click.echo(f"{made['label'].removeprefix('model/')} is {line['name']}{tuned}")


def _with_ties(line: Mapping[str, Any]) -> str:
    if line["tied"] < 2:
        return str(line["best"])
    return f"{line['best']} and {line['tied'] - 1} tie" + ("s" if line["tied"] > 2 else "")


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _next(value: Mapping[str, Any]) -> str:
    return f"tidemill trace {value['id']}"


def _example() -> str:
    return "tidemill leaderboard run DATASET --target COLUMN --task classification --split share:0.2"
