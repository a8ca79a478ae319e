"""Files, folders and Delta tables in S3: s3://bucket/prefix, through obstore (extra s3).

Objects are downloaded one by one to a temporary folder and read there as local files are, so every kind of file works,
in bounded memory; a Delta table is read where it is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidemill.core.errors import BadInput, MissingExtra, NotFound
from tidemill.data.transfer.sources import delta, folder
from tidemill.data.transfer.sources.source import Asked, Source
from tidemill.data.transfer.spool import writable


def opens(url: str) -> bool:
    """Whether this is an address in S3."""
    return url.startswith("s3://")


def open_(url: str, asked: Asked) -> Source:
    """One object, or all files of rows below a prefix. NotFound where there is nothing."""
    bucket, prefix = split(url)
    names = _names(url, bucket, prefix.strip("/"))
    if any(f"/{delta.LOG}/" in f"/{name[len(prefix) :].lstrip('/')}" for name in names):
        return delta.of_table(url.rstrip("/"), asked, options())
    if not names:
        raise NotFound(f"nothing at {url}; `s3://bucket/prefix` names one object, or a prefix of several")
    kept = tempfile.TemporaryDirectory(prefix="tidemill-", dir=asked.spool)
    try:
        for name in names:
            if folder.named(name):
                with writable(kept.name):
                    _download(bucket, name, _below(Path(kept.name), name))
        opened = folder.open_(kept.name, asked)
    except NotFound as error:
        kept.cleanup()
        raise NotFound(str(error).replace(kept.name, url)) from error
    except BaseException:
        kept.cleanup()
        raise
    return replace(opened, name=url, close=_then(opened.close, kept.cleanup))


def split(url: str) -> tuple[Any, str]:  # Any: obstore is an extra, its types are not always there
    """The bucket and the path within it. MissingExtra without obstore."""
    try:
        import obstore.store
    except ImportError as error:
        raise MissingExtra("s3:// needs obstore: pip install 'tidemill[s3]'") from error
    name, _, path = url.removeprefix("s3://").partition("/")
    if not name:
        raise BadInput(f"{url!r} names no bucket; write s3://bucket/prefix")
    plain: Any = {"allow_http": True} if _plain() else {}
    return obstore.store.S3Store(name, client_options=plain), path


def options() -> dict[str, str] | None:
    """For Delta and Polars: an endpoint that the user names with http:// is taken as it is, as the store does."""
    return {"allow_http": "true"} if _plain() else None


def _names(url: str, bucket: Any, prefix: str) -> list[str]:
    """The object of that name, or all below it, sorted. BadInput where the server does not let us look."""
    from obstore.exceptions import BaseError

    try:
        try:
            return [str(bucket.head(prefix)["path"])] if prefix else _below_prefix(bucket, None)
        except FileNotFoundError:
            return _below_prefix(bucket, prefix)
    except BaseError as error:
        raise BadInput(f"{url} cannot be read: {str(error).splitlines()[0]}; see AWS_ENDPOINT_URL and keys") from error


def _below_prefix(bucket: Any, prefix: str | None) -> list[str]:
    return sorted(str(each["path"]) for part in bucket.list(prefix) for each in part)


def _plain() -> bool:
    return os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")


def _download(bucket: Any, name: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        for chunk in bucket.get(name).stream():
            file.write(chunk)


def _below(root: Path, name: str) -> Path:
    """The object's place below the folder. BadInput for a name that would lead out of it."""
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise BadInput(f"object {name!r} has a name that is no path; rename it")
    return root / name


def _then(one: Callable[[], None], other: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        one()
        other()

    return both
