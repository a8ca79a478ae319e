"""The exact ids of the rows behind a fit: packed into the store, read back, and asked for one row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence

from tidemill.core.errors import BadInput, Corrupt
from tidemill.core.types import Artifact
from tidemill.core.workspace import Workspace

ROWS_META = {"format": 1, "encoding": "json+gzip"}


def pack_keys(keys: Sequence[str]) -> bytes:
    """The ids as gzipped JSON, in order; equal ids give equal bytes."""
    # Level 1: 300,000 ids in 0.1 s; level 9 saves 12 % of the bytes for 8 times the time. mtime=0: no clock in content.
    return gzip.compress(json.dumps(list(keys), separators=(",", ":")).encode(), compresslevel=1, mtime=0)


def row_keys(ws: Workspace, rows: Artifact) -> list[str]:
    """The row ids of a "rows" artifact, in the order of training. Raises BadInput for another kind, Corrupt."""
    if rows.kind != "rows":
        raise BadInput(f"{rows.label} holds no row ids; give the artifact of kind 'rows' that a train.fit run made")
    try:
        keys = json.loads(gzip.decompress(ws.store.get(rows.digest)))
    except (ValueError, EOFError) as error:
        raise Corrupt(f"{rows.label} cannot be unpacked: {error}; run `tidemill audit verify`") from error
    return [str(key) for key in keys]


def holds_row(ws: Workspace, rows: Artifact, key: str) -> bool:
    """Whether a row was among those that a fit used."""
    return key in set(row_keys(ws, rows))
