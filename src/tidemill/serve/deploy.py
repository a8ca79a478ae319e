"""Deployments: a name whose revisions answer over HTTP from a server process of its own, and who of them answers.

Traffic is an event log of subject "deployment/<name>": `set_traffic` appends, the server follows. A server outlives
the program that started it; `deploy` finds it again by root/servers/<name>.json, or starts it again.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tidemill.core import errors
from tidemill.core.errors import BadInput, Busy, NotFound, ServerFailed, TidemillError
from tidemill.core.ids import iso
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, Deployment, Event, ModelVersion, Query, Traffic
from tidemill.core.workspace import Workspace
from tidemill.serve import packages
from tidemill.serve.client import Answer, Served, process_runs, started
from tidemill.serve.lineup import last_traffic, revision
from tidemill.serve.registry import ALL, CHAMPION, alias, aliases, require_name
from tidemill.serve.server import FAILURE, listen, read_state, state_path

__all__ = [
    "Answer",
    "Served",
    "add_revision",
    "connect",
    "deploy",
    "deployments",
    "revision",
    "revisions",
    "set_traffic",
    "start",
    "traffic",
]

START_S = 60.0
Lifetime = Literal["own", "parent"]


def deploy(
    ws: Workspace,
    model: ModelVersion,
    *,
    name: str,
    port: int = 0,
    host: str = "127.0.0.1",
    lifetime: Lifetime = "own",
) -> Served:
    """Serve the model under the deployment's name and return when it answers.

    A model that the deployment has not seen becomes a revision and its champion at once (use `add_revision` and
    `set_traffic` for a shadow or a canary). One that it has seen leaves the traffic as it is: calling again after a
    crash finds the live server or starts it again. port 0: a free one. lifetime "parent": the server ends with this
    process. Raises PortInUse, Refused for a package that does not verify, ServerFailed with the log's last line.
    """
    require_name(name, "deployment")
    if not any(found.model_id == model.id for found in revisions(ws, name)):
        made = add_revision(ws, name, model)
        set_traffic(ws, name, Traffic(made.revision), why=f"deployed {model.artifact.label}")
    elif not ws.graph.events(f"deployment/{name}", kind="traffic", last=1):  # killed between the two lines above
        set_traffic(ws, name, Traffic(revisions(ws, name)[0].revision), why=f"deployed {model.artifact.label}")
    if CHAMPION not in aliases(ws, model.name):
        alias(ws, model.name, CHAMPION, model.version, why=f"deployed as {name}", key=f"alias/{name}/first")
    return start(ws, name, port=port, host=host, lifetime=lifetime)


def add_revision(ws: Workspace, name: str, model: ModelVersion) -> Deployment:
    """Record the model as the deployment's next revision; no traffic goes to it yet. Its package is verified here.

    The newest revision is returned where it is of the same model.
    """
    require_name(name, "deployment")
    packages.load(ws, model.package)
    meta = {
        "model": model.id,
        "package": model.package,
        "model_name": model.name,
        "model_version": model.version,
    }
    with recorded(ws, "serve.deploy", name, inputs=[("model", model)], params={"model": model.artifact.label}) as run:
        return Deployment(run.emit("deployment", name, digest=model.package, meta=meta, slot="deployment"))


def revisions(ws: Workspace, name: str) -> list[Deployment]:
    """All revisions of a deployment, newest first; empty where there is none of that name."""
    return [
        Deployment(found)
        for found in ws.graph.find(Query("artifact", kind="deployment", name=name, limit=ALL))
        if isinstance(found, Artifact)
    ]


def deployments(ws: Workspace) -> list[Deployment]:
    """The newest revision of each deployment, by name."""
    newest: dict[str, Deployment] = {}
    for found in ws.graph.find(Query("artifact", kind="deployment", limit=ALL)):
        assert isinstance(found, Artifact)
        newest.setdefault(found.name, Deployment(found))
    return [newest[name] for name in sorted(newest)]


def traffic(ws: Workspace, name: str) -> Traffic:
    """Who answers now; NotFound for an unknown deployment. At a clock: who answered at that time."""
    if ws.clock is None:
        return Traffic.of(last_traffic(ws, name).body)
    until = iso(ws.clock)
    events = ws.graph.events(f"deployment/{name}", kind="traffic")
    found = [event for event in events if str(event.body["at"]) <= until]
    if found:
        return Traffic.of(found[-1].body)
    last_traffic(ws, name)
    raise NotFound(f"deployment {name!r} did not exist at {until}; it began at {events[0].body['at']}")


def set_traffic(
    ws: Workspace,
    name: str,
    traffic: Traffic,
    *,
    why: str,
    actor: str | None = None,
    expect: int | None = None,
    key: str | None = None,
) -> Event:
    """Record who answers from now on, and have a live server take it over before this returns.

    Every revision must exist and its package verify (NotFound, Refused), the share be in 0..1, canary and shadow differ
    from the champion (BadInput). Conflict where `expect` is not the seq of the deployment's last event. An event with
    the same `key` stays as it is. ServerFailed where a live server does not take it over; the event then stands.
    """
    _check(ws, name, traffic)
    event = ws.graph.record(
        f"deployment/{name}",
        "traffic",
        {**traffic.body(), "why": why, "at": iso(ws.now)},
        actor=actor or ws.settings.who,
        key=key,
        expect=expect,
    )
    served = connect(ws, name)
    if served is not None:
        served.reload()
        served.close()
    return event


def _check(ws: Workspace, name: str, traffic: Traffic) -> None:
    if not 0.0 <= traffic.share <= 1.0:
        raise BadInput(f"share is {traffic.share}; allowed: 0 to 1, for example 0.1 for a tenth")
    if traffic.canary is None and traffic.share:
        raise BadInput(f"share is {traffic.share} without a canary; name the canary's revision")
    for role, number in (("canary", traffic.canary), ("shadow", traffic.shadow)):
        if number is not None and number == traffic.champion:
            raise BadInput(f"revision {number} is both champion and {role}; leave {role} out")
    for number in {traffic.champion, traffic.canary, traffic.shadow} - {None}:
        packages.load(ws, str(revision(ws, name, number).artifact.meta["package"]))


def connect(ws: Workspace, name: str) -> Served | None:
    """The deployment's server if it is alive, else None."""
    state = read_state(ws.root, name)
    if state is None or not process_runs(int(state["pid"])):
        return None
    served = Served(name, state["url"], state["token"], int(state["pid"]), ws.root)
    if served.is_alive():
        return served
    served.close()
    return None


def start(ws: Workspace, name: str, *, port: int = 0, host: str = "127.0.0.1", lifetime: Lifetime = "own") -> Served:
    """The deployment's live server, or a new process of it; returns when it is ready.

    A dead server's port is taken again where it is free and none is asked for.
    """
    last_traffic(ws, name)
    with _starting(ws.root, name):
        served = connect(ws, name)
        if served is not None:
            if port and not served.url.endswith(f":{port}"):
                raise BadInput(
                    f"deployment {name!r} is served at {served.url} already; stop it to move it to port {port}"
                )
            return served
        if port:
            listen(host, port).close()
        else:
            port = _former_port(ws.root, name, host)
        return _spawn(ws, name, port=port, host=host, lifetime=lifetime)


def _former_port(root: Path, name: str, host: str) -> int:
    state = read_state(root, name)
    if state is None or state.get("host") != host:
        return 0
    try:
        listen(host, int(state["port"])).close()
    except TidemillError:
        return 0
    return int(state["port"])


def _spawn(ws: Workspace, name: str, *, port: int, host: str, lifetime: Lifetime) -> Served:
    log_path = ws.root / "logs" / f"{name}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tidemill.serve.server", "--workspace", ws.url, "--deployment", name]
    command += ["--host", host, "--port", str(port)]
    store = getattr(ws.store, "url", None) or getattr(ws.store, "root", None)
    if store is not None:
        command += ["--store", str(store)]
    if lifetime == "parent":
        command.append("--with-parent")
    with log_path.open("ab") as log:
        began = log.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if lifetime == "parent" else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the program must not end a server that outlives it
        )
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            if process.stdin is not None:
                process.stdin.close()
            raise _failure(name, log_path, began, process.returncode)
        state = read_state(ws.root, name)
        if state is not None and state["pid"] == process.pid:
            served = Served(name, state["url"], state["token"], process.pid, ws.root)
            if served.is_alive():
                started[process.pid] = process
                return served
        time.sleep(0.02)
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
    raise ServerFailed(f"the server of {name!r} was not ready after {START_S:g} s; its log is {log_path}")


def _failure(name: str, log_path: Path, began: int, code: int | None) -> TidemillError:
    with log_path.open("rb") as log:
        log.seek(began)
        lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else "it says nothing"
    if last.startswith(FAILURE):
        kind, _, message = last.removeprefix(FAILURE).partition(": ")
        found: Any = getattr(errors, kind, None)
        if isinstance(found, type) and issubclass(found, TidemillError):
            return found(message)
    return ServerFailed(
        f"the server of {name!r} ended with code {code} at its start: {last[:300]}; its log is {log_path}"
    )


@contextmanager
def _starting(root: Path, name: str) -> Iterator[None]:
    """One process starts a deployment's server at a time; Busy after a minute."""
    path = state_path(root, name).with_suffix(".lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    until = time.monotonic() + START_S
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise Busy(f"another process has been starting {name!r} for {START_S:g} s; try again") from error
                time.sleep(0.05)
        yield
