"""Webhooks: a name and a token with which somebody elsewhere sets off the pipelines that wait for it.

The token is shown once, when it is made; the workspace keeps its SHA-256 (it is 256 random bits, so there is nothing to
guess and no salt is needed). A call is an event of subject "webhook/<name>", durable before it is answered.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from tidemill.core.errors import BadInput, Refused
from tidemill.core.ids import canonical_json, digest
from tidemill.core.types import Event
from tidemill.core.workspace import Workspace
from tidemill.flow.scheduling.schedules import check_name

BODY_BYTES = 65_536
TOKEN_BYTES = 32


def issue(ws: Workspace, name: str) -> str:
    """A new token for the webhook of that name, made with it where it is new; a token from before is good no more."""
    check_name(name, "webhook's")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    ws.graph.record(f"webhook/{name}", "token", {"sha256": digest(token.encode())}, actor=ws.settings.who)
    return token


def revoke(ws: Workspace, name: str) -> None:
    """Let no token of the webhook be good any more."""
    check_name(name, "webhook's")
    ws.graph.record(f"webhook/{name}", "token", {"sha256": None}, actor=ws.settings.who)


def call(
    ws: Workspace,
    name: str,
    token: str,
    body: Any = None,  # Any: a JSON value
    *,
    delivery: str | None = None,
) -> Event:
    """Take a call of a webhook: when this returns, it is durable, and each schedule that waits for it runs.

    delivery: the caller's own id of the call; the same one again is the same call. Raises Refused for an unknown name
    or a wrong token (one message: it does not tell which), BadInput for a body that is no JSON or above 64 KiB.
    """
    issued = ws.graph.events(f"webhook/{name}", kind="token", last=1)
    known = str(issued[0].body["sha256"] or "") if issued else ""
    if not hmac.compare_digest(known, digest(token.encode(errors="replace"))):
        raise Refused(f"no webhook {name!r} with that token; `tidemill flow hook NAME` makes a new one")
    try:
        size = len(canonical_json(body))
    except (TypeError, ValueError) as error:
        raise BadInput(f"the body of a call of webhook {name!r} is no JSON: {error}") from error
    if size > BODY_BYTES:
        raise BadInput(f"the body of a call of webhook {name!r} has {size} bytes; allowed are {BODY_BYTES}")
    key = None if delivery is None else f"webhook/{name}/{digest(delivery.encode())}"
    return ws.graph.record(f"webhook/{name}", "called", {"body": body}, actor=f"webhook {name}", key=key)
