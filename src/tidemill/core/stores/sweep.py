"""Remove the blobs that nothing refers to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from tidemill.core.ids import utc_now
from tidemill.core.store import Blob, Store


def sweep(store: Store, *, keep: Iterable[str], older_than_s: float = 3600.0) -> list[Blob]:
    """Delete blobs whose digest is not in `keep` and that are older than `older_than_s` seconds; returns them.

    The age protects what a run has put but not recorded yet.
    """
    kept = set(keep)
    before = utc_now() - timedelta(seconds=older_than_s)
    orphans = [blob for blob in store.list() if blob.digest not in kept and blob.stored_at <= before]
    for blob in orphans:
        store.delete(blob.digest)
    return orphans
