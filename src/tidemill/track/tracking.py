"""Runs as clients drive them: opened and ended by separate calls, their parameters, metrics and tags added one by one.

They are runs of the graph, kind "track.run", each state of which is in the log. What is read here are runs of every
kind that trackers show: the user's own, and fits and trials.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import sqlalchemy as sa

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.graphs.committing import Operation, committer_of, reading
from tidemill.core.graphs.records import OWN
from tidemill.core.graphs.schema import latest, tracked
from tidemill.core.graphs.tracked import DEFAULT, DELETED, EXPERIMENT, SCHEDULED, STAGE, ms, shown, texts
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import new_id, utc_now
from tidemill.core.types import Batch, Point, Run, Status
from tidemill.core.workspace import Workspace
from tidemill.track import experiments

NAME_TAG, PARENT_TAG, OWNER_TAG = "mlflow.runName", "mlflow.parentRunId", "mlflow.user"


class Latest(NamedTuple):
    """The last value of a metric: the one of the largest (step, time, value)."""

    value: float
    step: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Tracked:
    """A run as trackers show it. params: as texts. tags: the user's. start_ms, end_ms, deleted_ms: since 1970."""

    run: Run
    experiment: int
    stage: Literal["active", "deleted"]
    owner: str
    start_ms: int
    end_ms: int | None
    deleted_ms: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, Latest]

    @property
    def scheduled(self) -> bool:
        """Whether it is announced and has not begun."""
        return SCHEDULED in self.run.tags


def start(
    ws: Workspace,
    experiment: int = DEFAULT,
    *,
    name: str = "",
    start_ms: int | None = None,
    tags: Mapping[str, str] | None = None,
    scheduled: bool = False,
) -> Tracked:
    """See `starting`."""
    return committer_of(ws).call(starting(ws, experiment, name=name, start_ms=start_ms, tags=tags, scheduled=scheduled))


def starting(
    ws: Workspace,
    experiment: int = DEFAULT,
    *,
    name: str = "",
    start_ms: int | None = None,
    tags: Mapping[str, str] | None = None,
    scheduled: bool = False,
) -> Operation[Tracked]:
    """Open a run. Its name: as given, or by its tag "mlflow.runName", or made up; its parent, by its tag
    "mlflow.parentRunId".

    Raises NotFound for an unknown experiment, BadInput for a deleted one.
    """
    given = {key: value for key, value in (tags or {}).items() if not key.startswith("tidemill.")}
    shown_name = name or given.get(NAME_TAG, "") or made_up()
    hidden = {EXPERIMENT: str(experiment)} | ({SCHEDULED: "yes"} if scheduled else {})
    run = Run(
        id=new_id(),
        kind=OWN,
        name=shown_name,
        status="running",
        started_at=_time(start_ms) if start_ms else utc_now(),
        tags={**given, NAME_TAG: shown_name, **hidden},
        parent=given.get(PARENT_TAG) or None,
        actor=ws.settings.who,
    )

    def operation(now: Transaction) -> Tracked:
        experiments.require(now, experiment)
        now.write(Batch([run]))
        return _read(now.link, run)

    return operation


def get(ws: Workspace, run_id: str) -> Tracked:
    """The run of that id. Raises NotFound."""
    found = ws.graph.get(run_id) if run_id else None
    if not isinstance(found, Run) or found.id != run_id:
        raise NotFound(f"no run {run_id!r}")
    with reading(ws) as link:
        return _read(link, found)


def update(
    ws: Workspace,
    run_id: str,
    *,
    status: Status | Literal["scheduled"] | None = None,
    end_ms: int | None = None,
    name: str | None = None,
) -> Tracked:
    """See `updating`."""
    return committer_of(ws).call(updating(run_id, status=status, end_ms=end_ms, name=name))


def updating(
    run_id: str,
    *,
    status: Status | Literal["scheduled"] | None = None,
    end_ms: int | None = None,
    name: str | None = None,
) -> Operation[Tracked]:
    """Give a run another status or name. A run that ended goes on where its status is "running" again."""

    def change(run: Run, now: Transaction) -> Run:
        made = run
        if name:
            made = replace(made, name=name, tags={**made.tags, NAME_TAG: name})
        if status is not None:
            tags = {key: value for key, value in made.tags.items() if key != SCHEDULED}
            made = replace(made, tags={**tags, SCHEDULED: "yes"} if status == "scheduled" else tags)
            made = replace(made, status="running" if status == "scheduled" else status)
        if made.status == "running":
            return replace(made, ended_at=None)
        ended = _time(end_ms) if end_ms else made.ended_at or utc_now()
        return replace(made, ended_at=ended, metrics={key: last.value for key, last in _last(now.link, run.id).items()})

    return _changing(run_id, change)


def log(
    ws: Workspace,
    run_id: str,
    *,
    metrics: Sequence[Point] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """See `logging`."""
    committer_of(ws).call(logging(run_id, metrics=metrics, params=params, tags=tags))


def logging(
    run_id: str,
    *,
    metrics: Sequence[Point] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Operation[None]:
    """Add to a run in one transaction; the same again changes nothing.

    Raises BadInput where a parameter is there with another value, or the run is deleted: nothing is written then.
    """

    def operation(now: Transaction) -> None:
        if params or tags:
            run = now.run(run_id)
            _require_active(run)
            made = _with(run, params or {}, tags or {})
            if made != run:
                now.write(Batch([made]))
        else:
            _require_there(now.link, run_id)
        if metrics:
            now.log({run_id: metrics})

    return operation


def delete_tag(ws: Workspace, run_id: str, key: str) -> None:
    """Take a tag away. Raises NotFound where the run has none of that name."""

    def change(run: Run, _: Transaction) -> Run:
        if key not in shown(run.tags):
            raise NotFound(f"run {run.id} has no tag {key!r}")
        return replace(run, tags={name: value for name, value in run.tags.items() if name != key})

    committer_of(ws).call(_changing(run_id, change))


def delete(ws: Workspace, run_id: str) -> None:
    """Hide a run from searches for active ones; `restore` brings it back."""
    hidden = {STAGE: "deleted", DELETED: str(ms(utc_now()))}
    committer_of(ws).call(_changing(run_id, lambda run, _: replace(run, tags={**run.tags, **hidden}), deleted=None))


def restore(ws: Workspace, run_id: str) -> None:
    """Bring a deleted run back."""

    def change(run: Run, _: Transaction) -> Run:
        return replace(run, tags={key: value for key, value in run.tags.items() if key not in (STAGE, DELETED)})

    committer_of(ws).call(_changing(run_id, change, deleted=None))


def _read(link: sa.Connection, run: Run) -> Tracked:
    head = link.execute(sa.select(tracked).where(tracked.c.run_id == run.id)).first()
    if head is None:
        raise NotFound(f"run {run.id} is a {run.kind}, which trackers do not show; see `tidemill runs show {run.id}`")
    return Tracked(
        run,
        head.experiment,
        head.stage,
        head.owner,
        head.start_ms,
        head.end_ms,
        head.deleted_ms,
        texts(run.params),
        shown(run.tags),
        _last(link, run.id),
    )


def _changing(
    run_id: str,
    change: Callable[[Run, Transaction], Run],
    *,
    deleted: Literal["refused"] | None = "refused",
) -> Operation[Tracked]:
    def operation(now: Transaction) -> Tracked:
        run = now.run(run_id)
        if deleted == "refused":
            _require_active(run)
        made = change(run, now)
        if made != run:
            now.write(Batch([made]))
        return _read(now.link, made)

    return operation


def _with(run: Run, params: Mapping[str, str], tags: Mapping[str, str]) -> Run:
    for key, value in params.items():
        had = texts({key: run.params[key]})[key] if key in run.params else value
        if had != value:
            raise BadInput(
                f"parameter {key!r} of run {run.id} is {had!r} already, not {value!r}: a parameter keeps its value; "
                "log it under another name, or as a tag"
            )
    given = {key: value for key, value in tags.items() if not key.startswith("tidemill.")}
    made = replace(run, tags={**run.tags, **given}, name=given.get(NAME_TAG) or run.name)
    new = {key: value for key, value in params.items() if key not in run.params}
    made = replace(made, params={**made.params, **new}) if new else made
    return replace(made, parent=given[PARENT_TAG]) if given.get(PARENT_TAG) else made


def _last(link: sa.Connection, run_id: str) -> dict[str, Latest]:
    """The last value of each metric."""
    rows = link.execute(sa.select(latest).where(latest.c.run_id == run_id))
    return {row.key: Latest(float("nan") if row.is_nan else row.value, row.step, row.at_ms) for row in rows}


def _require_active(run: Run) -> None:
    if run.tags.get(STAGE) == "deleted":
        raise BadInput(f"run {run.id} is deleted; restore it first")


def _require_there(link: sa.Connection, run_id: str) -> None:
    stage = link.execute(sa.select(tracked.c.stage).where(tracked.c.run_id == run_id)).scalar()
    if stage is None:
        raise NotFound(f"no run {run_id!r}")
    if stage == "deleted":
        raise BadInput(f"run {run_id} is deleted; restore it first")


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def made_up() -> str:
    """A name for what has none."""
    words = [random.choice(each.split()) for each in _WORDS]  # noqa: S311  a name, no secret
    return "-".join([*words, str(random.randrange(1000))])  # noqa: S311  as above


_WORDS = (
    "amber bold brisk calm clear deep early even fair fresh keen late mild neat quick quiet rare swift tidal warm",
    "bay brook cape cove creek delta ebb fjord gulf lagoon lake marsh mill pond reef river shore strait tide wave",
)
