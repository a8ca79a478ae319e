"""Records of a spool as the graph has them: a run and its parameters, tags, points, files and end."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.graphs.committing import committer_of
from tidemill.core.graphs.tracked import DEFAULT, EXPERIMENT
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import parse_time
from tidemill.core.recording import LOST, PROCESS, environment
from tidemill.core.types import Batch, Edge, Point, Run
from tidemill.core.workspace import Workspace
from tidemill.track import experiments, files
from tidemill.track.spool import Record

# Kinds of record ("k"): "start" {run: a run's fields, inputs: [[slot, artifact id]]}, "m" {n: key, v: value, s: step,
# t: microseconds since 1970}, "params" {values}, "tags" {values}, "file" {path, digest and size, or at: where it is on
# this machine until it is in the store}, "end" {status, error, ended_at, cpu_s, metrics}.


class GraphSink:
    """See tidemill.track.spool.Sink: into a workspace's graph and store."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws

    def take(self, run_id: str, records: list[Record]) -> None:
        """One transaction for all of them; files go into the store before it."""
        found = [(each["path"], self._stored(run_id, each)) for each in records if each["k"] == "file"]
        kept = [(path, *stored) for path, stored in found if stored is not None]
        around = environment(self._ws)
        committer_of(self._ws).call(lambda now: self._take(now, run_id, records, around, kept))
        for each in records:
            if "at" in each:
                Path(each["at"]).unlink(missing_ok=True)

    def _stored(self, run_id: str, record: Record) -> tuple[str, int] | None:
        """Digest and size; None where it was taken in before."""
        if "digest" in record:
            return record["digest"], record["size"]
        place = Path(record["at"])
        if not place.is_file():
            if record["path"] in {each.path for each in files.under(self._ws, run_id)}:
                return None
            raise NotFound(f"{place}, which holds the file {record['path']!r}, is gone")
        return self._ws.store.put_file(place), place.stat().st_size

    def _take(
        self,
        now: Transaction,
        run_id: str,
        records: Sequence[Record],
        around: str,
        kept: Sequence[tuple[str, str, int]],
    ) -> None:
        run: Run | None = None
        try:
            run = now.run(run_id)
        except NotFound:
            if records[0]["k"] != "start":
                raise
        before, edges = run, []
        for each in records:
            if each["k"] == "start":
                run = run or self._run(now, each, around)
                edges += [Edge(run_id, artifact, "in", slot) for slot, artifact in each["inputs"]]
            elif run is not None:
                run = _changed(run, each)
        if run is not None and (run != before or edges):
            now.write(Batch([run], edges=edges))
        points = [Point(each["n"], float(each["v"]), each["s"], _at(each["t"])) for each in records if each["k"] == "m"]
        if points:
            now.log({run_id: points})
        if kept:
            files.record(now, run_id, kept, self._ws.settings.who)

    def _run(self, now: Transaction, record: Record, around: str) -> Run:
        given: dict[str, Any] = record["run"]
        tags = given["tags"]
        if record["experiment"]:
            try:
                found = experiments.ensure(self._ws, now, record["experiment"])
            except BadInput as error:  # deleted, or no name for one: nothing of what was logged is lost for that
                warnings.warn(f"run {given['id']} is kept in experiment {DEFAULT}: {error}", stacklevel=2)
            else:
                tags = {**tags, EXPERIMENT: str(found.id)}
        return Run(**{**given, "tags": tags, "started_at": parse_time(given["started_at"]), "environment": around})


def _changed(run: Run, record: Record) -> Run:
    match record["k"]:
        case "params":
            return replace(run, params={**run.params, **record["values"]})
        case "tags":
            return replace(run, tags={**run.tags, **record["values"]})
        case "end" if run.status == "running" or (run.error or "").endswith(LOST):
            tags = {name: value for name, value in run.tags.items() if name != PROCESS}
            ended = parse_time(record["ended_at"]) if "ended_at" in record else datetime.now(UTC)
            return replace(
                run,
                status=record["status"],
                error=record.get("error"),
                ended_at=ended,
                cpu_s=record.get("cpu_s"),
                metrics={key: float(value) for key, value in record.get("metrics", {}).items()},
                tags=tags,
            )
    return run


def _at(microseconds: int) -> datetime:
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
