"""What several core tests need: an S3 server of their own, and a bucket in it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.core.ids import digest


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 server process (moto), for the session."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{url}/moto-api/", timeout=5):
                break
        except OSError:
            assert server.poll() is None, "the S3 server ended"
            assert time.monotonic() < until, "the S3 server did not start"
            time.sleep(0.1)
    yield url
    server.terminate()
    server.wait(10)


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A new bucket, and the environment as a user sets it."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "mill",
        "AWS_SECRET_ACCESS_KEY": "tide",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = "bucket-" + digest(str(tmp_path).encode())[:20]
    request = urllib.request.Request(f"{s3_endpoint}/{name}", method="PUT", headers={"Authorization": "AWS mill:tide"})
    with urllib.request.urlopen(request, timeout=10):
        return name
