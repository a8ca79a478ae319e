"""Who may call a route: the one auth dependency, and the door that each request passes before any route.

A request shows the token as `Authorization: Bearer ...` (programs) or as the cookie that `/login?token=...` sets (a
browser). The door refuses a Host that is not ours, so that a web page cannot reach us by rebinding its own name to
127.0.0.1, and a write whose Origin is another site's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.core.errors import BadInput, Refused

Permission = Literal["open", "read", "write", "own token"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MOST_BYTES = 1 << 20  # of a write: notes and forms; it is read before the token is looked at
# Where a body is read after the token: how long it may be there (None: as the disk has room).
LARGE: Mapping[str, int | None] = {
    "/api/2.0/mlflow-artifacts/artifacts/": None,
    "/ajax-api/2.0/mlflow-artifacts/artifacts/": None,
    "/api/2.0/mlflow/": 64 << 20,
    "/ajax-api/2.0/mlflow/": 64 << 20,
    "/api/3.0/mlflow/": 64 << 20,
    "/ajax-api/3.0/mlflow/": 64 << 20,
    "/v1/traces": 64 << 20,
}
SHORTEST = 16  # characters of a token: a token file that was never written is an empty one, which anybody could show

# No script runs at all; styles and forms are our own only. A page may set a policy of its own (web/pages.py: SCRIPTED).
SECURITY = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # not no-referrer: a browser would then send "Origin: null" with our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class NotSignedIn(Refused):
    """The request shows no valid token."""


class Keyring:
    """The token of a workspace, and the cookie that stands for it. Raises BadInput for a token that is too short."""

    def __init__(self, token: str) -> None:
        if len(token) < SHORTEST:
            raise BadInput(
                f"the access token has {len(token)} characters; it needs {SHORTEST} or more: remove the workspace's "
                "keys/web-token, and `tidemill up` makes a new one"
            )
        name = hashlib.sha256(f"tidemill name {token}".encode()).hexdigest()[:8]
        self._token = token.encode()
        self.cookie = f"tidemill_{name}"  # cookies know no port: two workspaces on this machine must not share one
        self.session = hmac.new(self._token, b"tidemill session 1", hashlib.sha256).hexdigest()

    def opens(self, token: str) -> bool:
        """Whether this is the token; takes the same time for any wrong one."""
        return hmac.compare_digest(token.encode(), self._token)

    def knows(self, request: Request) -> bool:
        """Whether the request shows the token or the cookie."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.opens(token.strip())
        if scheme.lower() == "basic":  # MLflow's clients: any user, the token as password
            return self.opens(_password(token))
        return hmac.compare_digest(request.cookies.get(self.cookie, "").encode(), self.session.encode())


def _password(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def needs(permission: Permission) -> Callable[[Request], Awaitable[None]]:
    """The dependency that every route declares: what is needed to call it.

    "open": nothing; "read" and "write": the token; "own token": another one, which the route itself compares, and gets
    from `shown`. Raises NotSignedIn. The app's `state.keyring` holds the token.
    """

    async def check(request: Request) -> None:  # async: it takes microseconds, a thread for it would take more
        if permission == "own token":
            shown(request)
            return
        keyring: Keyring = request.app.state.keyring
        if permission != "open" and not keyring.knows(request):
            raise NotSignedIn(
                "this needs the workspace's token: open the link that `tidemill up` printed, or send "
                "'Authorization: Bearer TOKEN'"
            )

    check.permission = permission  # type: ignore[attr-defined]  # read by permission_of
    return check


open_to_all = Depends(needs("open"))
may_read = Depends(needs("read"))
may_write = Depends(needs("write"))
has_own_token = Depends(needs("own token"))


def shown(request: Request) -> str:
    """The token that the request shows as `Authorization: Bearer ...`; NotSignedIn where it shows none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotSignedIn("this needs a token of its own: send 'Authorization: Bearer TOKEN'")
    return token.strip()


def permission_of(route: object) -> Permission | None:
    """What a route declares, None where it declares nothing (a test walks all routes)."""
    for each in getattr(route, "dependencies", ()):
        found: Permission | None = getattr(each.dependency, "permission", None)
        if found is not None:
            return found
    return None


class Door:
    """ASGI middleware: refuses foreign Hosts and Origins, and sets the security headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    if name != "content-security-policy":
                        headers[name] = value
                headers.setdefault("content-security-policy", SECURITY["content-security-policy"])
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            status, text = refusal
            await PlainTextResponse(text, status_code=status)(scope, receive, secured)
            return
        await self.app(scope, receive, secured)

    def _refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if _name(host) not in self.hosts:
            return 403, f"host {host!r} is not served here; allowed: {', '.join(sorted(self.hosts))}\n"
        if method in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, f"a write from {origin!r} is refused; it must come from this server's own pages\n"
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or not (length or "0").isdecimal():
            return 411, "a write must say its Content-Length\n"
        most = next((most for start, most in LARGE.items() if path.startswith(start)), MOST_BYTES)
        if most is not None and int(length or 0) > most:
            return 413, f"a body of {int(length):,} bytes is too big; allowed: {most:,}\n"
        return None


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
