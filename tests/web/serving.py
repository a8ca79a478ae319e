"""Pages on a real socket, and a reader of them who is signed in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

import tidemill as tm
from tidemill.web.app import create


@contextmanager
def serving(project: tm.Project, token: str) -> Iterator[str]:
    """Serve the pages from a thread; yields their address."""
    server = uvicorn.Server(uvicorn.Config(create(project, token), port=0, log_level="critical", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@contextmanager
def signed_in(at: str, token: str) -> Iterator[httpx.Client]:
    """As a browser is: by its cookie."""
    with httpx.Client(base_url=at, trust_env=False) as client:
        assert client.get("/login", params={"token": token}).status_code == 303
        yield client
