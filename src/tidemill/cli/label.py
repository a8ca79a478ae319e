"""`tidemill label`: the review queue from the command line."""

from __future__ import annotations

from typing import Any

import click

from tidemill.cli.show import as_json, project, show, text


@click.group()
def label() -> None:
    """Labels that wait for a person."""


@label.command("next")
@click.argument("queue")
@as_json
@click.pass_context
def next_(ctx: click.Context, queue: str, json_: bool) -> None:
    """Take the next open task (yours for ten minutes)."""
    opened = project(ctx)
    task = opened.labels.next(queue)
    if task is None:
        show(None, json_=json_, people=lambda: click.echo(f"nothing is open in {queue}"),
             then=f"tidemill label progress {queue}")  # fmt: skip
        return
    value: dict[str, Any] = {"id": task.id, "key": task.key, "given": task.given, "suggested": task.suggested}
    value["show"] = dict(task.show)

    def people() -> None:
        click.echo(f"row {task.key}: labelled {text(task.given)}, the model suggests {text(task.suggested)}")
        for name, each in task.show.items():
            click.echo(f"  {name:20} {text(each)}")

    show(value, json_=json_, people=people, then=f"tidemill label answer {queue} {task.id[:12]} VALUE")


@label.command()
@click.argument("queue")
@click.argument("task")
@click.argument("value")
@as_json
@click.pass_context
def answer(ctx: click.Context, queue: str, task: str, value: str, json_: bool) -> None:
    """Answer a task; answers are appended, the last one counts."""
    said = project(ctx).labels.answer(queue, task, value)
    shown = {"task": task, "value": said.value, "who": said.who}
    show(shown, json_=json_, people=lambda: click.echo(f"{task}: {text(said.value)} by {said.who}"),
         then=f"tidemill label next {queue}")  # fmt: skip


@label.command()
@click.argument("queue")
@as_json
@click.pass_context
def progress(ctx: click.Context, queue: str, json_: bool) -> None:
    """How far the queue is."""
    found = project(ctx).labels.progress(queue)
    show(found, json_=json_, people=lambda: click.echo(text(found)), then=f"tidemill label next {queue}")
