"""A deployment's server as its callers hold it: predict, reload, stop, over HTTP with connections kept."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.core import errors
from tidemill.core.errors import BadInput, Refused, ServerFailed, TidemillError

if TYPE_CHECKING:
    import httpx

ROWS_A_REQUEST = 1_000
TIMEOUT_S = 60.0
STOP_S = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the prediction's id, P(positive), and the revision that gave it."""

    id: str
    score: float
    revision: int


class _Kept:
    """The connections of one Served; closed with it at the latest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def client(self, url: str, token: str) -> httpx.Client:
        """The one client, made at first use."""
        import httpx

        with self._lock:
            if self._client is None:
                self._client = httpx.Client(
                    base_url=url,
                    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                    timeout=TIMEOUT_S,
                    trust_env=False,  # a proxy of the environment must not see the token
                )
            return self._client

    def close(self) -> None:
        """Let go of the connections; the next use makes new ones."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def __del__(self) -> None:
        self.close()


# Servers that this process started: kept until they are stopped, so that one with lifetime "parent" ends with the
# process and not with the variable that held it.
started: dict[int, subprocess.Popen[bytes]] = {}


@atexit.register
def _let_them_live() -> None:
    """At our end: what still runs does so on purpose, Python need not warn of it."""
    for process in started.values():
        process.returncode = process.poll() or 0


@dataclass(frozen=True, slots=True)
class Served:
    """A live server of a deployment. Its methods may be called from any thread."""

    name: str
    url: str
    token: str = field(repr=False)
    pid: int
    root: Path = field(repr=False)
    _kept: _Kept = field(default_factory=lambda: _Kept(), repr=False, compare=False)

    def predict(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        at: Sequence[str] | str | None = None,
        keys: Sequence[str] | None = None,
    ) -> list[Answer]:
        """An answer for each row, durable in the prediction log; more than 1,000 rows go in several requests.

        rows: raw values (numbers, text, bool, None, times as ISO text or datetime). at: the time for which each is
        asked, default now. keys: what identifies each row; with the same key a repeated request gets the same id.
        Raises BadInput naming row, column, value and what is allowed, ServerFailed where nobody answers.
        """
        for name, given in (("keys", keys), ("at", None if isinstance(at, str) else at)):
            if given is not None and len(given) != len(rows):
                raise BadInput(f"{name} has {len(given)} entries for {len(rows)} rows; give one for each row, or none")
        answers: list[Answer] = []
        for first in range(0, len(rows), ROWS_A_REQUEST):
            part = slice(first, first + ROWS_A_REQUEST)
            body: dict[str, Any] = {"rows": rows[part]}
            if at is not None:
                body["at"] = at if isinstance(at, str) else at[part]
            if keys is not None:
                body["keys"] = keys[part]
            found = self._call("POST", "/predict", body)
            answers += [Answer(one["id"], one["score"], one["revision"]) for one in found["predictions"]]
        return answers

    def reload(self) -> dict[str, Any]:
        """Have the server take over the deployment's last traffic now; returns {"traffic", "changed"}."""
        return self._call("POST", "/reload", None)

    def is_alive(self) -> bool:
        """Whether this deployment's server answers there, and is ready."""
        import httpx

        try:
            answer = self._client().get("/readyz", timeout=5)
            state = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            return False
        return state.get("deployment") == self.name and state.get("pid") == self.pid

    def metrics(self) -> str:
        """The server's counters, Prometheus text."""
        answer = self._send("GET", "/metrics", None)
        text: str = answer.text
        return text

    def stop(self) -> None:
        """End the server: requests under way are answered; returns when the process is gone. Twice is no error."""
        self.close()
        self._signal(signal.SIGTERM)
        if not self._gone(STOP_S):
            self._signal(signal.SIGKILL)
            if not self._gone(STOP_S):
                raise ServerFailed(f"process {self.pid} of {self.name!r} does not end; look at it with ps {self.pid}")
        process = started.pop(self.pid, None)
        if process is not None and process.stdin is not None:
            process.stdin.close()

    def close(self) -> None:
        """Let go of the connections; the server goes on."""
        self._kept.close()

    def _signal(self, number: int) -> None:
        if not self._gone(0):
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def _gone(self, wait_s: float) -> bool:
        until = time.monotonic() + wait_s
        while True:
            process = started.get(self.pid)
            if process is not None:
                gone = process.poll() is not None
            else:
                from tidemill.serve.server import read_state

                state = read_state(self.root, self.name)
                gone = state is None or state["pid"] != self.pid or not process_runs(self.pid)
            if gone or time.monotonic() >= until:
                return gone
            time.sleep(0.02)

    def _client(self) -> httpx.Client:
        return self._kept.client(self.url, self.token)

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._send(method, path, body).json()
        return found

    def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        import httpx
        import msgspec

        try:
            content = b"" if body is None else msgspec.json.encode(body)
        except (TypeError, OverflowError) as error:
            raise BadInput(
                f"the rows cannot be sent as JSON: {error}; use numbers, text, bool, None and times"
            ) from error
        try:
            answer = self._client().request(method, path, content=content)
        except (
            httpx.RemoteProtocolError,
            httpx.ReadError,
            httpx.WriteError,
        ):  # a kept connection that the server had closed meanwhile: once more
            answer = self._again(method, path, content)
        except httpx.HTTPError as error:
            raise self._failed(error) from error
        if answer.status_code == 200:
            return answer
        kind, message = _said(answer)
        if answer.status_code in (400, 413, 415, 422):
            raise BadInput(message)
        if answer.status_code == 401:
            raise Refused(f"the server of {self.name!r} does not take this token; connect again with mill.deploy")
        raise _kind(kind)(f"the server of {self.name!r} says: {message}")

    def _again(self, method: str, path: str, content: bytes) -> httpx.Response:
        import httpx

        try:
            return self._client().request(method, path, content=content)
        except httpx.HTTPError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ServerFailed:
        return ServerFailed(
            f"the server of {self.name!r} at {self.url} does not answer ({error}); call mill.deploy again to restart "
            f"it, its log is {self.root / 'logs' / f'{self.name}.log'}"
        )


def _said(answer: httpx.Response) -> tuple[str, str]:
    try:
        body = answer.json()
        return str(body.get("kind", "")), str(body["error"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", f"status {answer.status_code}"


def _kind(name: str) -> type[TidemillError]:
    found: Any = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, TidemillError) else ServerFailed


def process_runs(pid: int) -> bool:
    """Whether a process of that id is there and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):  # no /proc on this system, or gone meanwhile: the health check decides
        return True
