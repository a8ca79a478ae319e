"""Backfills: one execution of a pipeline for each partition of the past, those that are done left alone.

Which partition has which execution is told by events of subject "backfill/<pipeline>". Asked for again, a backfill goes
on: what is done stays, what runs or waits goes on, what failed or was cancelled gets a new execution.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from tidemill.core.errors import BadInput
from tidemill.core.ids import canonical_json, iso, json_digest
from tidemill.core.locks import exclusive
from tidemill.core.types import Batch, Json, NewEvent, Run, Status
from tidemill.core.workspace import Workspace
from tidemill.flow.scheduling import queues, slots
from tidemill.flow.scheduling.scheduler import wait
from tidemill.flow.scheduling.schedules import Cron, Every

AT_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a backfill: its value as the pipeline is given it, and its newest execution."""

    value: Any  # Any: a JSON value
    run_id: str
    status: Status


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill as it stands: its partitions in the order asked for, and how many this call put into the queue."""

    pipeline: str
    partitions: tuple[Partition, ...]
    queued: int

    def count(self, status: Status) -> int:
        """How many partitions stand so: "running" (or waiting), "done", "failed", "cancelled"."""
        return sum(one.status == status for one in self.partitions)


def days(first: date, last: date) -> list[str]:
    """The days from first to last, both included, as ISO dates.

    >>> days(date(2026, 2, 28), date(2026, 3, 1))
    ['2026-02-28', '2026-03-01']
    """
    if last < first:
        raise BadInput(f"the last day, {last}, is before the first, {first}; give the earlier one first")
    return [(first + timedelta(days=more)).isoformat() for more in range((last - first).days + 1)]


def times(schedule: Cron | Every, since: datetime, until: datetime) -> list[str]:
    """The slots of a schedule with since <= slot <= until, as a scheduler would have given them: ISO, UTC."""
    return [iso(at) for at in slots.instants(schedule, since - timedelta(microseconds=1), until)]


def backfill(
    ws: Workspace,
    pipeline: str,
    entry: str,
    partitions: Iterable[Any],  # Any: JSON values, dates and times
    *,
    param: str,
    params: Json | None = None,
    at_once: int = 2,
    queue: str = "backfill",
    priority: int = 0,
    as_: str | None = None,
    engine: str = "",
    folder: Path | None = None,
    again: bool = False,
) -> Backfill:
    """Put one execution a partition into a queue, at most `at_once` of them running at a time; done ones are skipped.

    pipeline: its name; entry: where it is (load it first: flow.entries). param: the parameter that is given the
    partition. A partition is the same as before when its value and all params are. again: run done ones too. Raises
    BadInput for partitions that are no JSON values, dates or times, for none at all, and for a parameter given twice.
    `work` runs them where no scheduler serves the queue.
    """
    wanted = list(dict.fromkeys(_plain(value) for value in partitions))
    if not wanted or len(wanted) > AT_MOST:
        raise BadInput(f"a backfill of {len(wanted)} partitions; allowed are 1 to {AT_MOST}")
    if at_once < 1:
        raise BadInput(f"at_once is {at_once}; at least one execution must be allowed")
    if param in (params or {}):
        raise BadInput(f"parameter {param!r} is given a value and the partition; leave it out of params")
    tags = {"group": f"backfill/{pipeline}", "group_at_once": str(at_once), "partition_param": param}
    with exclusive(ws, f"backfill/{pipeline}", what=f"the backfill of {pipeline!r}"):
        known = _known(ws, pipeline)
        found: list[Partition] = []
        runs: list[Run] = []
        events: list[NewEvent] = []
        for text in wanted:
            value = json.loads(text)
            given = {**(params or {}), param: value}
            name = json_digest(given)
            before = known.get(name)
            if before is not None and (before.status == "running" or (before.status == "done" and not again)):
                found.append(before)
                continue
            run = queues.planned(
                ws,
                pipeline,
                entry,
                params=given,
                queue=queue,
                priority=priority,
                as_=as_,
                trigger="backfill",
                engine=engine,
                tags=tags,
                folder=folder,
            )
            runs.append(run)
            body = {"partition": value, "name": name, "run": run.id}
            events.append(NewEvent(f"backfill/{pipeline}", "partition", body, actor=ws.settings.who))
            found.append(Partition(value, run.id, "running"))
        if runs:
            ws.graph.write(Batch(runs=runs, events=events))
    return Backfill(pipeline, tuple(found), len(runs))


def state(ws: Workspace, asked: Backfill) -> Backfill:
    """The same backfill as it stands now."""
    now = [replace(one, status=_status(ws, one.run_id)) for one in asked.partitions]
    return replace(asked, partitions=tuple(now))


def work(ws: Workspace, asked: Backfill) -> Backfill:
    """Run what a backfill has put into its queue, in worker processes of this machine, until all of it has ended."""
    wait(ws, [one.run_id for one in asked.partitions if one.status == "running"])
    return state(ws, asked)


def _known(ws: Workspace, pipeline: str) -> dict[str, Partition]:
    """The newest execution of each partition asked for before."""
    newest = {event.body["name"]: event.body for event in ws.graph.events(f"backfill/{pipeline}", kind="partition")}
    return {name: Partition(body["partition"], body["run"], _status(ws, body["run"])) for name, body in newest.items()}


def _status(ws: Workspace, run_id: str) -> Status:
    run = ws.graph.get(run_id)
    assert isinstance(run, Run)
    return run.status


def _plain(value: Any) -> str:  # Any: what a user calls a partition
    """A partition as JSON text, so that equal ones are found."""
    if isinstance(value, datetime):
        value = iso(value)
    elif isinstance(value, date):
        value = value.isoformat()
    try:
        return canonical_json(value).decode()
    except (TypeError, ValueError) as error:
        raise BadInput(f"partition {value!r} is no JSON value, date or time: {error}") from error
