"""Bytes by digest in S3, through obstore: s3://bucket/prefix. Credentials and endpoint come from AWS_* as usual."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tidemill.core.errors import BadInput, Corrupt, MissingExtra, NotFound
from tidemill.core.ids import digest as digest_of
from tidemill.core.ids import file_digest, utc_now
from tidemill.core.store import RENEW_S, Blob, is_digest, require_digest


class S3Store:
    """See tidemill.core.store.Store. An upload is atomic in S3: a reader sees the whole object or none."""

    def __init__(self, store: Any, url: str) -> None:  # Any: obstore is an extra, its types are not always there
        self._store = store
        self.url = url

    def put(self, data: bytes) -> str:
        """Upload, unless it is there and young."""
        name = digest_of(data)
        if not self._young(name):
            self._store.put(_place(name), data)
        return name

    def put_file(self, path: Path) -> str:
        """Upload a file in parts."""
        if not path.is_file():
            raise NotFound(f"no file {path} to store")
        name = file_digest(path)
        if not self._young(name):
            self._store.put(_place(name), path)
        return name

    def get(self, digest: str) -> bytes:
        """Download and verify."""
        try:
            data = bytes(self._store.get(_place(digest)).bytes())
        except FileNotFoundError:
            raise NotFound(f"no blob {digest} at {self.url}; `tidemill doctor` says what is missing") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(f"blob {digest} at {self.url} has other bytes than its name says; restore an older version")
        return data

    def get_part(self, digest: str, start: int, size_bytes: int) -> bytes:
        """Some bytes of a blob, unverified: the caller knows their digest. See tidemill.core.packs.PartialReads."""
        if size_bytes == 0:  # no range of HTTP is empty
            return b""
        try:
            return bytes(self._store.get_range(_place(digest), start=start, length=size_bytes))
        except FileNotFoundError:
            raise NotFound(f"no blob {digest} at {self.url}; `tidemill doctor` says what is missing") from None

    def has(self, digest: str) -> bool:
        """Whether it is there."""
        return is_digest(digest) and self._stored_at(digest) is not None

    def list(self) -> Iterator[Blob]:
        """All blobs, in order of digest (S3 lists in order of name)."""
        for part in self._store.list():
            for meta in part:
                name = str(meta["path"]).rsplit("/", 1)[-1]
                if is_digest(name):
                    yield Blob(name, int(meta["size"]), meta["last_modified"])

    def delete(self, digest: str) -> None:
        """Remove it."""
        try:
            self._store.delete(_place(digest))
        except FileNotFoundError:
            return

    def _stored_at(self, digest: str) -> datetime | None:
        try:
            found: datetime = self._store.head(_place(digest))["last_modified"]
        except FileNotFoundError:
            return None
        return found

    def _young(self, digest: str) -> bool:
        stored_at = self._stored_at(digest)
        return stored_at is not None and (utc_now() - stored_at).total_seconds() < RENEW_S


def _place(name: str) -> str:
    return f"{require_digest(name)[:2]}/{name}"


def open_store(url: str) -> S3Store:
    """The store at s3://bucket/prefix. AWS_ENDPOINT_URL names another endpoint (http:// is taken as it is)."""
    if find_spec("obstore") is None:
        raise MissingExtra("s3:// needs obstore: pip install 'tidemill[s3]'")
    import obstore.store

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if not bucket:
        raise BadInput(f"{url!r} names no bucket; write s3://bucket/prefix")
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    options: Any = {"allow_http": True} if endpoint.startswith("http://") else {}
    return S3Store(obstore.store.S3Store(bucket, prefix=prefix or None, client_options=options), url)
