"""The prediction server as a bare ASGI application: parse, answer, make durable, send.

POST /predict    {"rows": [{...}], "keys": ["..."], "at": ["..."]} -> {"predictions": [{"id", "score", "revision"}]}
POST /reload     take over the deployment's last traffic        GET /metrics   Prometheus text
GET  /healthz    the process answers                            GET /readyz    a model is loaded
All but the last two want "Authorization: Bearer <token>". Faults: 400, 401, 404, 405, 413, 415, 422, 500, 503.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from tidemill.core.errors import TidemillError
from tidemill.core.workspace import Workspace
from tidemill.serve import lineup as lineups
from tidemill.serve.answering import Asked, Failed, Wrong, answer, parse
from tidemill.serve.counting import Counts
from tidemill.serve.durable import PredictionLog
from tidemill.serve.lineup import Lineup

Scope = MutableMapping[str, Any]  # Any: as the ASGI specification has it
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BYTES = 16 * 1024 * 1024
MAX_DRAINED_BYTES = 4 * MAX_BYTES
INLINE_ROWS = 64  # more rows than that are scored in a thread, so that small requests need not wait behind them
JSON_TYPE = b"application/json"
PUBLIC = {"/healthz", "/readyz"}
METHODS = {"/predict": "POST", "/reload": "POST", "/metrics": "GET", "/healthz": "GET", "/readyz": "GET"}
_log = logging.getLogger("tidemill.serve")


class Application:
    """The server of one deployment, an ASGI application; see this module's docstring."""

    def __init__(self, ws: Workspace, deployment: str, *, token: str, log: PredictionLog) -> None:
        self.ws = ws
        self.deployment = deployment
        self.lineup: Lineup = lineups.load(ws, deployment)
        self.counts = Counts(deployment)
        self._token = token.encode()
        self._log = log
        self._reloading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        began_s = time.perf_counter()
        try:
            self._admit(scope, path)
            status, body, kind = await self._route(scope, path, receive, began_s)
        except Wrong as wrong:
            status, body, kind = wrong.status, msgspec.json.encode(wrong.body), JSON_TYPE
        except TidemillError as error:
            self.counts.errors[type(error).__name__] += 1
            _log.error("%s failed: %s", path, error)
            status, body, kind = 503, msgspec.json.encode(_named(error)), JSON_TYPE
        except Exception:
            self.counts.errors["internal"] += 1
            _log.exception("%s failed", path)
            status, kind = 500, JSON_TYPE
            body = msgspec.json.encode({"error": "the server failed on this request; its log says why"})
        if path == "/predict":
            self.counts.requests[status] += 1
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status == 413:
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _admit(self, scope: Scope, path: str) -> None:
        method = METHODS.get(path)
        if path not in PUBLIC:  # also unknown paths: a stranger learns nothing
            scheme, _, given = _header(scope, b"authorization").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                raise Wrong(401, "send the deployment's token: Authorization: Bearer <token>")
        if method is None:
            raise Wrong(404, f"no {path[:80]} here; there are {', '.join(sorted(METHODS))}")
        if scope["method"] != method:
            raise Wrong(405, f"{path} wants {method}")

    async def _route(self, scope: Scope, path: str, receive: Receive, began_s: float) -> tuple[int, bytes, bytes]:
        if path == "/predict":
            return await self._predict(scope, receive, began_s)
        if path == "/reload":
            changed = await self.reload()
            return 200, msgspec.json.encode({"traffic": self.lineup.traffic.body(), "changed": changed}), JSON_TYPE
        if path == "/metrics":
            text = self.counts.text(champion=self.lineup.traffic.champion)
            return 200, text.encode(), b"text/plain; version=0.0.4; charset=utf-8"
        state = {"deployment": self.deployment, "pid": os.getpid()}
        if path == "/readyz":
            state |= {"traffic": self.lineup.traffic.body()}
        return 200, msgspec.json.encode(state), JSON_TYPE

    async def _predict(self, scope: Scope, receive: Receive, began_s: float) -> tuple[int, bytes, bytes]:
        kind = _header(scope, b"content-type").partition(b";")[0].strip().lower()
        if kind != JSON_TYPE:
            raise Wrong(415, f"content type {kind.decode('latin-1')[:60]!r}; send application/json")
        asked = parse(await _body(scope, receive))
        parsed_s = time.perf_counter()
        lineup = self.lineup
        try:
            if len(asked.rows) <= INLINE_ROWS:
                body, records = answer(lineup, asked, parsed_s)
            else:
                body, records = await asyncio.to_thread(answer, lineup, asked, parsed_s)
        except Failed as failed:
            self.counts.errors["model"] += 1
            _log.error("a model failed on %d rows: %s", len(asked.rows), failed)
            await self._log.append(failed.records)
            return 500, msgspec.json.encode({"error": f"the model failed: {failed}"}), JSON_TYPE
        await self._log.append(records)
        self._count(asked, records)
        self.counts.took(time.perf_counter() - began_s)
        return 200, body, JSON_TYPE

    def _count(self, asked: Asked, records: list[Any]) -> None:
        for record in records:
            self.counts.rows[record.revision, record.role] += 1
        if len(records) > len(asked.rows) and records[-1].error:
            self.counts.errors["shadow"] += 1
            _log.warning("the shadow failed: %s", records[-1].error)

    async def reload(self) -> bool:
        """Take over the last traffic; True where it changed. A package that does not verify leaves all as it was."""
        async with self._reloading:
            fresh = await asyncio.to_thread(lineups.load, self.ws, self.deployment, self.lineup)
            if fresh is self.lineup:
                return False
            _log.info("traffic of %s is now %s", self.deployment, fresh.traffic.body())
            self.lineup = fresh
            self.counts.reloads += 1
            return True


def _named(error: TidemillError) -> dict[str, str]:
    return {"error": str(error), "kind": type(error).__name__}


def _header(scope: Scope, name: bytes) -> bytes:
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return b""


async def _body(scope: Scope, receive: Receive) -> bytes:
    too_big = f"the body is larger than {MAX_BYTES // 1024 // 1024} MiB; send several requests"
    announced = _header(scope, b"content-length")
    parts: list[bytes] = []
    size = 0
    # A body that is too big is read on and thrown away for a while: closing at once would reset the connection, and
    # the sender would never see why.
    limit = MAX_BYTES if not (announced.isdigit() and int(announced) > MAX_BYTES) else 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Wrong(400, "the request ended early")
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        if size > MAX_DRAINED_BYTES or (size > limit and not message.get("more_body", False)):
            raise Wrong(413, too_big)
        if not message.get("more_body", False):
            return b"".join(parts)
