"""Records as JSON values: what every page shows of a run, an artifact or an event, in one form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tidemill.core.ids import iso
from tidemill.core.types import Artifact, Event, Run, View

Shown = dict[str, Any]  # Any: a JSON value


def run_line(run: Run) -> Shown:
    """A run as a line of a list."""
    return {
        "id": run.id,
        "kind": run.kind,
        "name": run.name,
        "status": run.status,
        "started_at": iso(run.started_at),
        "duration_s": run.duration_s,
        "cpu_s": run.cpu_s,
        "metrics": numbers(run.metrics),
        "actor": run.actor,
        "clock": run.tags.get("clock"),
        "error": run.error,
    }


def artifact_line(artifact: Artifact | View) -> Shown:
    """An artifact as a line of a list."""
    found = artifact.artifact if isinstance(artifact, View) else artifact
    return {
        "id": found.id,
        "kind": found.kind,
        "name": found.name,
        "version": found.version,
        "label": found.label,
        "digest": found.digest,
        "created_at": iso(found.created_at),
        "run_id": found.run_id,
    }


def event_line(event: Event) -> Shown:
    """An event of the audit log. at: of the log; body["at"] is the workspace's clock, where a phase wrote one."""
    return {
        "seq": event.seq,
        "at": iso(event.at),
        "actor": event.actor,
        "subject": event.subject,
        "kind": event.kind,
        "body": plain(event.body),
    }


def numbers(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Metrics without what JSON cannot say: NaN and infinities become null."""
    return {name: finite(value) for name, value in values.items()}


def finite(value: Any) -> float | None:
    """The number, None for NaN, infinities and None."""
    return None if value is None or not math.isfinite(value) else float(value)


def plain(value: Any) -> Any:
    """Any recorded value as a JSON value: times as ISO text, NaN as null, what is unknown as its text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, datetime):
        return iso(value) if value.tzinfo is not None else value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return str(value)


def event_time(event: Event) -> str:
    """When it happened by the workspace's clock (simulated or real), else by the log's; ISO text in UTC."""
    for name in ("at", "now", "clock"):
        text = event.body.get(name)
        if isinstance(text, str) and text[:4].isdigit():
            return text
    return iso(event.at)
