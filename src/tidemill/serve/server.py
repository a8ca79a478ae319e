"""The prediction server's process: `python -m tidemill.serve.server --workspace W --deployment D`.

It writes root/servers/<deployment>.json (mode 0600: pid, address, token) when it is ready, watches that file and the
deployment's traffic, and ends when the file is taken away, on SIGTERM, or with its parent (--with-parent: when the
pipe on its standard input closes). A failure at start is one line on stderr, "tidemill-error: <class>: <message>".
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from tidemill.core.errors import BadInput, PortInUse, TidemillError
from tidemill.core.ids import iso, utc_now
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.serve.app import Application
from tidemill.serve.durable import PredictionLog

FORMAT = 1
POLL_S = 2.0
KEEP_ALIVE_S = 75
BACKLOG = 2048
FAILURE = "tidemill-error: "
_log = logging.getLogger("tidemill.serve")


def state_path(root: Path, deployment: str) -> Path:
    """Where a deployment's server says how to reach it."""
    return root / "servers" / f"{deployment}.json"


def read_state(root: Path, deployment: str) -> dict[str, Any] | None:
    """What the deployment's server (alive or not) said about itself, None where there was none."""
    try:
        found: dict[str, Any] = json.loads(state_path(root, deployment).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return found


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises PortInUse, or BadInput for an address that is not ours."""
    # the protocol is named because asyncio sets TCP_NODELAY on no other: without it each answer waits 40 ms for an ACK
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, proto=socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} on {host} is in use by another program; choose another, or port=0 for a free one"
            ) from error
        raise BadInput(f"cannot listen on {host}:{port}: {error.strerror or error}; use host 127.0.0.1") from error
    except OverflowError as error:
        listening.close()
        raise BadInput(f"port {port} is none; allowed: 0 to 65535, 0 takes a free one") from error
    return listening


def serve(ws: Workspace, deployment: str, *, host: str, port: int, with_parent: bool) -> None:
    """Serve until told to stop. Raises Busy where the deployment has a server already, PortInUse, Refused ..."""
    log = PredictionLog(ws.root / "predictions" / deployment)
    try:
        before = read_state(ws.root, deployment) or {}
        token = str(before.get("token") or secrets.token_urlsafe(32))  # the same one, so that clients survive a restart
        application = Application(ws, deployment, token=token, log=log)
        with listen(host, port) as listening:
            asyncio.run(_run(application, listening, host, token, with_parent=with_parent))
    finally:
        log.close()


async def _run(application: Application, listening: socket.socket, host: str, token: str, *, with_parent: bool) -> None:
    import uvicorn

    config = uvicorn.Config(
        application,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    # uvicorn raises the signal again when it has ended gracefully: that must not kill us before the log is closed
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    ws, deployment = application.ws, application.deployment
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    _write_state(ws.root, deployment, host=host, port=listening.getsockname()[1], token=token)
    if with_parent:
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _log.info("serving %s, traffic %s", deployment, application.lineup.traffic.body())
    watching = asyncio.create_task(_watch(application, server))
    await serving
    watching.cancel()


async def _watch(application: Application, server: Any) -> None:  # Any: uvicorn.Server, imported late
    """Take over traffic that changed while nobody said so; end when the state file is gone or another server's."""
    while True:
        await asyncio.sleep(POLL_S)
        state = read_state(application.ws.root, application.deployment)
        if state is None or state.get("pid") != os.getpid():
            _log.warning("the state file of %s is gone: ending", application.deployment)
            server.should_exit = True
            return
        try:
            await application.reload()
        except Exception as error:  # what answers goes on answering, whatever the new traffic is
            application.counts.errors["reload"] += 1
            _log.error("the new traffic cannot be taken over: %s", error)


def _write_state(root: Path, deployment: str, *, host: str, port: int, token: str) -> None:
    path = state_path(root, deployment)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    reach = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    state = {
        "format": FORMAT,
        "deployment": deployment,
        "pid": os.getpid(),
        "url": f"http://{reach}:{port}",
        "host": host,
        "port": port,
        "token": token,
        "started_at": iso(utc_now()),
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(state, file)
    draft.replace(path)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class _Lines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"at": iso(utc_now()), "level": record.levelname.lower(), "text": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def main(arguments: list[str] | None = None) -> int:
    """The process's entry."""
    parser = argparse.ArgumentParser(prog="python -m tidemill.serve.server", description=__doc__)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--deployment", required=True)
    parser.add_argument("--store")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--with-parent", action="store_true")
    given = parser.parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        ws = open_workspace(given.workspace, store=given.store, create=False)
        serve(ws, given.deployment, host=given.host, port=given.port, with_parent=given.with_parent)
    except TidemillError as error:
        sys.stderr.write(f"{FAILURE}{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
