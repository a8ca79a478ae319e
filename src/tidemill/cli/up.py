"""`tidemill up`: the workspace's pages and API, one process, on loopback, behind a token."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from pathlib import Path

import click

from tidemill.cli.show import project
from tidemill.core.errors import BadInput, PortInUse


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Only loopback addresses without --anywhere.")
@click.option("--anywhere", is_flag=True, help="Allow an address that others can reach; put TLS in front of it.")
@click.option("--no-scheduler", is_flag=True, help="Only pages: start nothing that is due or waits in a queue.")
@click.pass_context
def up(ctx: click.Context, port: int, host: str, anywhere: bool, no_scheduler: bool) -> None:
    """Serve the workspace's pages and JSON, and start what is scheduled; prints a link with the token, once."""
    if not anywhere and host not in ("127.0.0.1", "localhost", "::1"):
        raise BadInput(f"--host {host} can be reached by others; use 127.0.0.1, or add --anywhere behind a TLS proxy")
    opened = project(ctx)
    import uvicorn

    from tidemill.web.app import create

    token = _token(opened.ws.root)
    app = create(opened, token, hosts=[host])
    listening = _listen(host, port)
    shown = listening.getsockname()[1]
    click.echo(f"Tidemill serves {opened.ws.url}\n\n    http://{host}:{shown}/login?token={token}\n")
    click.echo("The link signs this browser in. Stop with Ctrl-C.")
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    stop = threading.Event()
    scheduling = threading.Thread(target=opened.flows.serve, args=(stop,), name="tidemill scheduler", daemon=True)
    if not no_scheduler:
        scheduling.start()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        stop.set()
        if not no_scheduler:
            scheduling.join(10)


def _listen(host: str, port: int) -> socket.socket:
    # With its protocol: else asyncio takes it for no TCP, and an answer waits 40 ms for the client's acknowledgement.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # from here on a browser that follows the link waits rather than fails
    except OSError as error:
        listening.close()
        raise PortInUse(
            f"cannot listen on {host}:{port}: {error.strerror}; end the other program, or choose --port 0"
        ) from error
    return listening


def _token(root: Path) -> str:
    """The workspace's token, made at first use, readable by its owner only."""
    path = root / "keys" / "web-token"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text().strip()
