"""Commits to a Delta table: with marks, tried again behind others, and with an error that can be read."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tidemill.core.delta.table_files import FULL
from tidemill.core.delta.table_marks import properties
from tidemill.core.delta.table_packing import packing
from tidemill.core.errors import Busy, NoRoom
from tidemill.core.types import Pinned

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

TRIES = 60
# Delta forgets old versions: by default it removes log entries of more than 30 days at each hundredth commit. Ours are
# pinned by what was trained on them, so they stay.
FOREVER = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    # A table that grows daily is opened daily: 90 commits behind a checkpoint (every 100 by default) it takes 45 ms.
    "delta.checkpointInterval": "10",
}


def write(
    target: DeltaTable | str,
    frame: pl.DataFrame,
    pinned: Pinned,
    *,
    root: str,
    mode: Any,
    packed: str | None,
    options: dict[str, str] | None,
) -> None:
    """One commit of a frame that carries the marks of `pinned`. Raises NoRoom for a full disk, naming `root`."""
    from deltalake import write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    marks = properties(pinned)
    how: Any = None if packed is None else packing(frame, packed)  # Any: the stubs leave the default, None, out
    if packed is not None:
        frame = frame.sort(packed)
    try:
        if mode == "overwrite":
            write_deltalake(
                target,
                frame,
                mode=mode,
                schema_mode="overwrite",
                commit_properties=marks,
                writer_properties=how,
            )
        else:
            kept = FOREVER if mode == "error" else None
            write_deltalake(
                target,
                frame,
                mode=mode,
                configuration=kept,
                commit_properties=marks,
                storage_options=options,
                writer_properties=how,
            )
    except CommitFailedError:
        raise
    except (OSError, DeltaError) as error:
        raise told(error, root) from error


def retried(name: str, commit: Callable[[], Pinned]) -> Pinned:
    """What `commit` returns; done again after somebody else was first. Busy after TRIES times."""
    from deltalake.exceptions import CommitFailedError

    for attempt in range(TRIES):
        try:
            return commit()
        except CommitFailedError:
            time.sleep(random.uniform(0.001, 0.02) * min(attempt + 1, 10))  # noqa: S311  back-off, no secret
    raise Busy(f"table {name} was written by others {TRIES} times in a row; try again when they are done")


def told(error: Exception, root: str) -> Exception:
    """NoRoom where the disk is full, otherwise the error itself."""
    if any(text in str(error) for text in FULL):
        return NoRoom(f"cannot write to {root} ({error}); free space, then run it again")
    return error
