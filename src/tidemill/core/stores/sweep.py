"""Remove the blobs that nothing refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from tidemill.core.ids import utc_now
from tidemill.core.store import Blob, Store
from tidemill.core.stores.folder import FolderStore


def sweep(store: Store, *, keep: Iterable[str], older_than_s: float = 3600.0) -> list[Blob]:
    """Delete blobs whose digest is not in `keep` and that are older than `older_than_s` seconds; returns them.

    The age protects what a run has put but not recorded yet, so give it more seconds than a run takes, and than
    tidemill.core.store.RENEW_S. Drafts that a killed process left in a folder go too.
    """
    found = []
    for blob in orphans(store, keep=keep, older_than_s=older_than_s):
        store.delete(blob.digest)
        found.append(blob)
    if isinstance(store, FolderStore):
        store.sweep_drafts(older_than_s=older_than_s)
    return found


def orphans(store: Store, *, keep: Iterable[str], older_than_s: float) -> Iterator[Blob]:
    """The blobs that `sweep` would delete."""
    kept = set(keep)
    before = utc_now() - timedelta(seconds=older_than_s)
    return (blob for blob in store.list() if blob.digest not in kept and blob.stored_at <= before)
