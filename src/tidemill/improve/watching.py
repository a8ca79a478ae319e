"""A day of the champion under watch: the monitor with the references that its model carries."""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache

from tidemill.core import profile
from tidemill.core.types import Artifact, ModelVersion
from tidemill.core.workspace import Workspace
from tidemill.watch.monitor import DayReport, Monitor, check_day

Reference = tuple[profile.Bins, profile.Counts]


def watch_day(ws: Workspace, monitor: Monitor, day: datetime, champion: ModelVersion, revision: int) -> DayReport:
    """Check the day that begins at `day` against the champion's profile of training rows and test scores."""
    meta = champion.artifact.meta
    score = meta.get("score_profile")
    return check_day(
        ws,
        monitor,
        day.date(),
        reference_of(ws, str(meta["profile"])),
        None if score is None else _reference(json.dumps(score)),
        reference_auc=champion.metrics.get("auc"),
        revision=revision,
    )


def reference_of(ws: Workspace, profile_id: str) -> Reference:
    """Bins and counts of a profile artifact."""
    found = ws.graph.get(profile_id)
    assert isinstance(found, Artifact)
    return _reference(ws.store.get(found.digest).decode())


@lru_cache(maxsize=32)
def _reference(text: str) -> Reference:
    kept = json.loads(text)
    return profile.bins_from_json(kept["bins"]), profile.counts_from_json(kept["counts"])
