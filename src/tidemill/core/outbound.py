"""The one client for requests to other servers: to public addresses only, unless an address inside is allowed.

A name is resolved once, its addresses are judged, and the connection goes to the address that was judged: a name that
answers otherwise a moment later leads nowhere else. Redirects are not followed, proxies of the environment not asked.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tidemill.core.errors import BadInput, NotFound, Refused, ServerFailed

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 10.0
SCHEMES = {"http": 80, "https": 443}


class Outbound:
    """Posts to one server, over connections that are kept; close it, or use it as a context."""

    def __init__(
        self, url: str, *, private: bool = False, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        """url: http:// or https://. private: addresses that are not public are allowed too.

        Raises BadInput for another scheme, a URL without a host or with a password, NotFound for a name that has no
        address, Refused for an address that is not public.
        """
        import httpx

        self.url = url
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise BadInput(f"{shown(url)} is no address to send to; give one such as https://collector.example/api")
        if parts.username or parts.password:
            raise BadInput(f"{shown(url)} holds a name or password; give them as headers= instead")
        self._host = parts.hostname
        port = parts.port or SCHEMES[parts.scheme]
        address = _judged(self._host, port, private=private, url=url)
        literal = f"[{address}]" if ":" in address else address
        query = f"?{parts.query}" if parts.query else ""
        self._target = f"{parts.scheme}://{literal}:{port}{parts.path or '/'}{query}"
        self._headers = {**(headers or {}), "Host": parts.netloc}
        self._client = httpx.Client(
            timeout=timeout_s,
            trust_env=False,
            follow_redirects=False,
            verify=ssl.create_default_context(),  # the system's authorities, or SSL_CERT_FILE: a company's own too
        )

    def post(self, body: bytes, *, content_type: str = "application/json") -> httpx.Response:
        """Send the body. Raises ServerFailed when nobody answers or the answer is no success (2xx)."""
        import httpx

        try:
            answer = self._client.post(
                self._target,
                content=body,
                headers={**self._headers, "Content-Type": content_type},
                # the certificate is compared with the name that was asked for, not with the address
                extensions={"sni_hostname": self._host},
            )
        except httpx.HTTPError as error:
            raise ServerFailed(
                f"{shown(self.url)} does not answer: {error}; check the address and try again"
            ) from error
        if not answer.is_success:
            said = answer.text[:200]
            raise ServerFailed(f"{shown(self.url)} answered {answer.status_code}: {said!r}; see that server's log")
        return answer

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def __enter__(self) -> Outbound:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def shown(url: str) -> str:
    """The URL as messages may show it: without a password and without the query.

    >>> shown("https://ada:secret@collector.example/api?token=1")
    'https://collector.example/api'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else url.partition("?")[0]


def _judged(host: str, port: int, *, private: bool, url: str) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotFound(f"{host!r} of {shown(url)} has no address ({error}); check the name") from error
    addresses = list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))
    inside = [address for address in addresses if not _public(address)]
    if inside and not private:
        raise Refused(
            f"{shown(url)} leads to {inside[0]}, which is not a public address; allow private addresses if it is a "
            "server of your own network"
        )
    return addresses[0]


def _public(address: str) -> bool:
    known = ipaddress.ip_address(address)
    mapped = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return (mapped or known).is_global and not (mapped or known).is_multicast
