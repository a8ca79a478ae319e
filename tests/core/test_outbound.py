"""Requests to other servers: which addresses are refused, and that a name is judged and used in one."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tidemill.core.errors import BadInput, NotFound, Refused, ServerFailed
from tidemill.core.outbound import Outbound, shown


class Collector(BaseHTTPRequestHandler):
    """Keeps what it gets; "/away" redirects, "/no" refuses."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        status = {"/away": 302, "/no": 403}.get(self.path.partition("?")[0], 201)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/else")
        self.end_headers()
        self.wfile.write(b"not you" if status == 403 else b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    made.got = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_body_arrives_under_the_name_that_was_asked_for(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    with Outbound(f"http://localhost:{port}/api?x=1", private=True, headers={"Authorization": "Bearer t"}) as client:
        client.post(b"{}")
    ((path, headers, body),) = server.got  # type: ignore[attr-defined]
    assert (path, body) == ("/api?x=1", b"{}")
    assert headers["Host"] == f"localhost:{port}"
    assert headers["Authorization"] == "Bearer t"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::10.0.0.1]/",
        "http://[64:ff9b:1::1]/",
        "http://[2002:7f00:1::]/",
        "http://[fec0::1]/",
        "http://192.0.0.8/",
        "http://[fd00::1]/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
    ],
)
def test_addresses_that_are_not_public_are_refused(url: str) -> None:
    with pytest.raises(
        Refused, match=r"is not a public address; allow private addresses if it is a server of your own"
    ):
        Outbound(url)


def test_a_name_with_one_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("93.184.216.34", "10.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(Refused, match=r"http://two\.example/ leads to 10\.0\.0\.1"):
        Outbound("http://two.example/")


def test_the_connection_goes_to_the_address_that_was_judged(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, answers = socket.getaddrinfo, []

    def resolve(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host == "moving.example":  # a name that leads elsewhere when it is asked again
            answers.append("asked")
            return real("127.0.0.1" if len(answers) == 1 else "127.0.0.2", port, *args, **more)
        return real(host, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with Outbound(f"http://moving.example:{server.server_port}/", private=True) as client:
        client.post(b"1")
        client.post(b"2")
    assert answers == ["asked"]
    assert [body for _, _, body in server.got] == [b"1", b"2"]  # type: ignore[attr-defined]


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for the name "localhost" and its key, by an authority that this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tidemill test")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def test_a_certificate_must_be_for_the_name_that_was_asked_for(server: ThreadingHTTPServer, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with Outbound(f"https://localhost:{server.server_port}/", private=True) as client:
        client.post(b"{}")
    assert len(server.got) == 1  # type: ignore[attr-defined]
    other = Outbound(f"https://127.0.0.1:{server.server_port}/", private=True)
    with other, pytest.raises(ServerFailed, match=r"does not answer: .*certificate"):
        other.post(b"{}")
    assert len(server.got) == 1  # type: ignore[attr-defined]


def test_a_redirect_is_not_followed(server: ThreadingHTTPServer) -> None:
    client = Outbound(f"http://127.0.0.1:{server.server_port}/away", private=True)
    with client, pytest.raises(ServerFailed, match=r"/away answered 302"):
        client.post(b"{}")
    assert len(server.got) == 1  # type: ignore[attr-defined]


def test_a_refusal_is_told_with_what_the_server_said(server: ThreadingHTTPServer) -> None:
    client = Outbound(f"http://127.0.0.1:{server.server_port}/no?token=secret", private=True)
    with client, pytest.raises(ServerFailed, match=r"^http://127\.0\.0\.1:\d+/no answered 403: 'not you'; see that"):
        client.post(b"{}")


def test_nobody_there_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = Outbound(f"http://127.0.0.1:{port}/", private=True)
    with client, pytest.raises(ServerFailed, match=rf"http://127\.0\.0\.1:{port}/ does not answer"):
        client.post(b"{}")


def test_other_schemes_passwords_and_unknown_names_are_named() -> None:
    with pytest.raises(BadInput, match=r"file:///etc/passwd is no address to send to"):
        Outbound("file:///etc/passwd")
    with pytest.raises(BadInput, match=r"^http://x\.example/ holds a name or password; give them as headers="):
        Outbound("http://ada:secret@x.example/")
    with pytest.raises(NotFound, match=r"'nowhere\.invalid' of http://nowhere\.invalid/ has no address"):
        Outbound("http://nowhere.invalid/")


@pytest.mark.parametrize("url", ["http://h:99999/", "http://h:x/", "http://[::1/"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(BadInput, match="is none to send to"):
        Outbound(url)


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_a_name_that_can_have_no_address_is_told(host: str) -> None:
    with pytest.raises(NotFound, match="has no address"):
        Outbound(f"http://{host}/")


def test_what_messages_show_holds_no_secret() -> None:
    assert shown("https://ada:secret@collector.example:8443/api?token=1") == "https://collector.example:8443/api"
