"""Data files of a Delta table, written before the commit that names them: how a table takes more than fits in memory.

A file that no commit names is not a part of the table (Delta transaction protocol, "Data Files"), so a stream that ends
halfway leaves nothing that a reader sees; `Files.drop` removes what it had written.
"""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.core.errors import Corrupt, MissingExtra, NoRoom
from tidemill.core.ids import new_id
from tidemill.core.types import Pinned

if TYPE_CHECKING:
    import polars as pl
    from deltalake.transaction import AddAction

FILE_BYTES = 96 << 20  # in memory; about a quarter of it on disk: files that readers like, buffers that a laptop has
GROUP_ROWS = 1 << 17
FULL = ("No space left", "File too large", "quota exceeded", "Read-only file system", "Permission denied")
LONGEST = 64  # a longer text has no bound in the statistics: a cut one would have to be rounded up


class Files:
    """The data files of one stream: written one by one, with their rows counted and digested."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.rows = 0
        self.digest = 0
        self.actions: list[AddAction] = []

    def write(self, batches: Iterable[pl.DataFrame], fit: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Write all batches, each made fit for the table first; on an error nothing stays."""
        import polars as pl

        try:
            for group in _grouped(fit(batch) for batch in batches if batch.height):
                self._write(group[0] if len(group) == 1 else pl.concat(group))
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Remove the files, which no commit names."""
        for action in self.actions:
            with suppress(OSError):
                if self.uri.startswith("s3://"):
                    bucket(self.uri).delete(action.path)
                else:
                    (Path(self.uri) / action.path).unlink()
        self.actions = []

    def _write(self, frame: pl.DataFrame) -> None:
        from deltalake.transaction import AddAction
        from polars.exceptions import PolarsError

        from tidemill.core.rowhash import add, rows_digest

        try:
            name, size = self._publish(frame)
        except (OSError, PolarsError) as error:
            if any(text in str(error) for text in FULL):
                raise NoRoom(f"cannot write to {self.uri} ({error}); free space, then run it again") from error
            raise
        self.actions.append(AddAction(name, size, {}, int(time.time() * 1000), True, json.dumps(statistics(frame))))
        self.rows += frame.height
        self.digest = add(self.digest, rows_digest(frame))

    def _publish(self, frame: pl.DataFrame) -> tuple[str, int]:
        name = f"part-{new_id()}-c000.zstd.parquet"
        if self.uri.startswith("s3://"):
            data = io.BytesIO()
            frame.write_parquet(data, compression="zstd", compression_level=1, row_group_size=GROUP_ROWS)
            size = data.tell()
            bucket(self.uri).put(name, data.getvalue())
        else:
            place = Path(self.uri) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with place.open("xb") as file:
                    frame.write_parquet(file, compression="zstd", compression_level=1, row_group_size=GROUP_ROWS)
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                with suppress(OSError):
                    place.unlink()
                raise
            size = place.stat().st_size
        return name, size


def statistics(frame: pl.DataFrame) -> dict[str, Any]:
    """What a Delta commit says about a file: its rows, and for each plain column nulls and bounds."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for column in frame:
        kind = column.dtype
        if kind.is_nested():
            continue
        nulls[column.name] = column.null_count()
        if kind.is_integer() or kind.is_float() or kind.is_temporal() or str(kind) == "String":
            bounds = (_bound(column.min()), _bound(column.max()))
            if None not in bounds and not (kind.is_float() and column.is_nan().any()):
                low[column.name], high[column.name] = bounds
    return {"numRecords": frame.height, "minValues": low, "maxValues": high, "nullCount": nulls}


def _bound(value: Any) -> Any:
    """As the statistics write it; None where they had better say nothing."""
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
        return text if value.tzinfo is None else f"{text}Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if isinstance(value, str) and len(value) > LONGEST else value


def _grouped(batches: Iterable[pl.DataFrame]) -> Iterator[list[pl.DataFrame]]:
    """Batches together, as many as make a file."""
    group: list[pl.DataFrame] = []
    size = 0
    for batch in batches:
        group.append(batch)
        size += int(batch.estimated_size())
        if size >= FILE_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def bucket(uri: str) -> Any:  # Any: obstore is an extra, its types are not always there
    """The obstore store of an s3://bucket/prefix; MissingExtra without obstore."""
    try:
        import obstore.store
    except ImportError as error:
        raise MissingExtra("s3:// needs obstore: pip install 'tidemill[s3]'") from error
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    options: Any = {"allow_http": True} if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://") else {}
    return obstore.store.S3Store(bucket, prefix=prefix or None, client_options=options)


@contextmanager
def reading(pinned: Pinned) -> Iterator[None]:
    """What reading a broken file raises, as Corrupt."""
    from deltalake.exceptions import DeltaError
    from polars.exceptions import PolarsError

    try:
        yield
    except Corrupt:
        raise
    except (DeltaError, OSError, PolarsError) as error:
        raise unreadable(pinned, error) from error
    except BaseException as error:
        # Polars panics over a Parquet file without a footer; a panic is no Exception, and has no public class
        if type(error).__name__ == "PanicException":
            raise unreadable(pinned, error) from error
        raise


def unreadable(pinned: Pinned, error: BaseException) -> Corrupt:
    """What a reader is told about files that are gone or broken."""
    where = f"table {pinned.table} version {pinned.version}"
    return Corrupt(f"{where} cannot be read: {error}; restore its files from a backup")
