"""`tidemill model evaluation`, `evaluate` and `compare`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import click

from tidemill.cli.show import as_json, for_purpose, project, show, table

if TYPE_CHECKING:
    from tidemill.core.types import ModelVersion
    from tidemill.data.rows import Rows
    from tidemill.project import Project

rows_of = click.option("--on", "dataset", required=True, metavar="DATASET[@REF]", help="The labelled rows.")
since_ = click.option("--since", metavar="TIME", help="Only rows from then on: those that the fit has not seen.")
until_ = click.option("--until", metavar="TIME", help="Only rows before then.")
cluster_ = click.option("--cluster", metavar="COLUMN", help="Rows of one value (a day) are not independent.")


@click.command("evaluation")
@click.argument("name", metavar="NAME[@VERSION]")
@as_json
@click.pass_context
def evaluation(ctx: click.Context, name: str, json_: bool) -> None:
    """The newest evaluation of a model: scores with intervals, weak slices, fairness, importances."""
    opened = project(ctx)
    found = opened.models.evaluation(_model(opened, name))
    _show(found, json_)


@click.command("evaluate")
@click.argument("name", metavar="NAME[@VERSION]")
@rows_of
@since_
@until_
@click.option("--slice", "slices", multiple=True, metavar="COLUMN", help="Score each of its values; repeat it.")
@click.option("--group", "groups", multiple=True, metavar="COLUMN", help="Measure fairness by it; repeat it.")
@click.option("--cost", "costs", multiple=True, metavar="KIND=COST", help="As false_negative=8; repeat it.")
@click.option("--explain", type=click.Choice(["permutation", "shap", "none"]), default="permutation", show_default=True)
@cluster_
@for_purpose
@as_json
@click.pass_context
def evaluate(
    ctx: click.Context,
    name: str,
    dataset: str,
    since: str | None,
    until: str | None,
    slices: tuple[str, ...],
    groups: tuple[str, ...],
    costs: tuple[str, ...],
    explain: Literal["permutation", "shap", "none"],
    cluster: str | None,
    purpose: str | None,
    json_: bool,
) -> None:
    """Evaluate a registered model on labelled rows, and record it."""
    opened = project(ctx)
    model = _model(opened, name)
    opened.evaluate(
        model,
        on=_rows(opened, dataset, since, until),
        slices=slices,
        groups=groups,
        costs=_costs(costs),
        explain=None if explain == "none" else explain,
        cluster=cluster,
        **_purpose(purpose),
    )
    _show(opened.models.evaluation(model), json_)


@click.command("compare")
@click.argument("one", metavar="ONE[@VERSION]")
@click.argument("other", metavar="OTHER[@VERSION]")
@rows_of
@since_
@until_
@click.option("--score", help="Default: the mean loss.")
@click.option("--alpha", default=0.05, show_default=True, help="How often a difference may be found where none is.")
@cluster_
@for_purpose
@as_json
@click.pass_context
def compare(
    ctx: click.Context,
    one: str,
    other: str,
    dataset: str,
    since: str | None,
    until: str | None,
    score: str | None,
    alpha: float,
    cluster: str | None,
    purpose: str | None,
    json_: bool,
) -> None:
    """Whether OTHER is better than ONE on the same rows: a paired test, recorded. Exit code 1 where it is not."""
    opened = project(ctx)
    on = _rows(opened, dataset, since, until)
    found = opened.compare(
        _model(opened, one), _model(opened, other), on=on, score=score, alpha=alpha, cluster=cluster,
        **_purpose(purpose),
    )  # fmt: skip
    paired = found.paired
    value = {"id": found.artifact.id, **paired.as_json()}
    verdict = "better" if paired.better else "worse" if paired.worse else "not distinguishable"
    told = (
        f"{paired.score}: {paired.old:.4f} by {one}, {paired.new:.4f} by {other}; difference {paired.difference:+.4f} "
        f"({paired.low:+.4f} to {paired.high:+.4f}), p {paired.p_value:.2g}, {paired.rows:,} rows: {other} is {verdict}"
    )
    show(value, json_=json_, people=lambda: click.echo(told), then=f"tidemill trace {found.artifact.id}")
    if not paired.better:
        ctx.exit(1)


def _show(found: Mapping[str, Any], json_: bool) -> None:
    show(found, json_=json_, people=lambda: _people(found["report"]), then=f"tidemill trace {found['id']}")


def _people(report: Mapping[str, Any]) -> None:
    judged = "1 model" if report["models_judged"] == 1 else f"{report['models_judged']} models"
    times = "once" if report["looks"] == 1 else f"{report['looks']} times"
    click.echo(f"{report['rows']:,} rows, looked at {times} by then, for {judged}\n")
    scores = [{"score": name, **each} for name, each in report["scores"].items()]
    heads = {"score": "score", "value": "value", "low": "from", "high": "to", "method": "interval by"}
    table(scores, heads)
    weak = report["weak"]
    click.echo(f"\nweak slices: {len(weak['found'])} of {weak['looked_at']} tested by {weak['score']}")
    if weak["found"]:
        lines = [{**each, "where": _where(each["where"])} for each in weak["found"]]
        table(lines, {"where": "where", "rows": "rows", "value": "there", "elsewhere": "elsewhere", "adjusted": "p"})
    if report["threshold"]:
        click.echo(f"\ncheapest threshold: {report['threshold']['threshold']}, {report['threshold']['cost']:.4g} a row")
    for each in report["fairness"]:
        click.echo(f"\nfairness by {each['column']}")
        _fair(each)
    if report["importances"]:
        found = report["importances"]
        worse = f"{found['score']} worse by" if found["method"] == "permutation" else "mean size"
        click.echo()
        table(found["columns"], {"name": "column", "drop" if "score" in found else "size": worse})


def _fair(found: Mapping[str, Any]) -> None:
    parts = found.get("classes", [found])
    for part in parts:
        if "class" in part:
            click.echo(f"class {part['class']}")
        if "reference" not in part:
            table(part["groups"], {"group": "group", "rows": "rows", "off": "mean error"})
            continue
        shares = ("observed", "selected", "recall", "false_alarms")
        lines = [
            {"group": each["group"], "rows": each["rows"], **{name: each[name]["value"] for name in shares}}
            for each in part["groups"]
        ]
        heads = {"group": "group", "rows": "rows", "observed": "observed", "selected": "called positive"}
        table(lines, {**heads, "recall": "recall", "false_alarms": "false alarms"})


def _where(pairs: Iterable[tuple[str, str]]) -> str:
    return " and ".join(f"{column} = {value}" for column, value in pairs)


def _model(opened: Project, name: str) -> ModelVersion:
    alone, _, version = name.removeprefix("model/").partition("@")
    return opened.model(alone, (int(version) if version.isdigit() else version) or None)


def _rows(opened: Project, dataset: str, since: str | None, until: str | None) -> Rows:
    name, _, ref = dataset.removeprefix("dataset/").partition("@")
    found = opened.dataset(name, ref or None)
    return found.where(since=since, until=until) if since or until else found


def _costs(given: Iterable[str]) -> dict[str, float] | None:
    found = {}
    for each in given:
        kind, _, cost = each.partition("=")
        try:
            found[kind] = float(cost)
        except ValueError:
            raise click.UsageError(f"--cost {each!r} has no number; write it as false_negative=8") from None
    return found or None


def _purpose(given: str | None) -> dict[str, str]:
    return {} if given is None else {"purpose": given}
