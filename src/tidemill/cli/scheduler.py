"""`tidemill scheduler`: schedules and queues, without pages."""

from __future__ import annotations

import signal
import threading

import click

from tidemill.cli.show import project


@click.command()
@click.option("--queue", "queues", multiple=True, help="Serve this queue only; repeat it. Default: all.")
@click.pass_context
def scheduler(ctx: click.Context, queues: tuple[str, ...]) -> None:
    """Start what is due and what waits in queues, until stopped. Any number may run, on any number of machines."""
    mill = project(ctx)
    stop = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
    served = ", ".join(queues) or "all queues"
    click.echo(f"scheduling {mill.ws.url}, {served}. Stop with Ctrl-C: executions that run go on", err=True)
    mill.flows.serve(stop, queues=queues or None)
