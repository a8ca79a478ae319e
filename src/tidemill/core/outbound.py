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
# What the interpreter counts as public though it leads inside: IPv4's protocol assignments (RFC 6890), site-local
# addresses (RFC 3879), the local prefix for translation to IPv4 (RFC 8215).
INSIDE = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "fec0::/10", "64:ff9b:1::/48")))
# IPv6 networks whose addresses carry one of IPv4, and how far its bits are from the end: compatible and mapped ones
# (RFC 4291), translated (RFC 6052), 6to4 (RFC 3056).
CARRIERS = tuple(
    (ipaddress.IPv6Network(net), bits)
    for net, bits in (("::/96", 0), ("::ffff:0:0/96", 0), ("64:ff9b::/96", 0), ("2002::/16", 80))
)


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
        try:
            parts = urlsplit(url)
            port = parts.port or SCHEMES.get(parts.scheme, 0)
        except ValueError as error:
            said = f"the address is none to send to ({error}); give one such as https://collector.example/api"
            raise BadInput(said) from error
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise BadInput(f"{shown(url)} is no address to send to; give one such as https://collector.example/api")
        if parts.username or parts.password:
            raise BadInput(f"{shown(url)} holds a name or password; give them as headers= instead")
        self._host = parts.hostname
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
    except (OSError, UnicodeError) as error:  # a label of a name may be too long or empty
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
    if isinstance(known, ipaddress.IPv6Address):
        carried = next((int(known) >> bits & 0xFFFFFFFF for net, bits in CARRIERS if known in net), None)
        known = known if carried is None else ipaddress.IPv4Address(carried)
    return known.is_global and not known.is_multicast and not any(known in each for each in INSIDE)
