"""Models that runs logged: files with parameters, tags and metrics of their own, before anybody registers them.

One is kept as a run of kind "track.model", whose parent is the run that logged it: parameters, tags, metrics, files,
search and erasure are those of runs. Its stage is "model", which keeps it out of searches for runs. An artifact
"logged.model" joins it with the runs that made and read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.graphs import records
from tidemill.core.graphs.committing import Operation, committer_of, reading
from tidemill.core.graphs.records import LOGGED
from tidemill.core.graphs.schema import artifacts, edges, latest, runs, tracked
from tidemill.core.graphs.tracked import DELETED, EXPERIMENT, STAGE, ms, shown, texts
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import digest, new_id, utc_now
from tidemill.core.types import Artifact, Batch, Edge, Point, Run
from tidemill.core.workspace import Workspace
from tidemill.track import experiments
from tidemill.track.tracking import Latest, made_up

KIND = "logged.model"  # of the artifact
ACTIVE, GONE = "model", "model-deleted"  # stages
TYPE, MEASURED = "tidemill.model_type", "tidemill.measured"  # tags that are not the user's
Status = Literal["running", "done", "failed"]


class Measured(NamedTuple):
    """What a metric was measured on: the dataset that a client named, and the run that said so."""

    dataset: str
    digest: str
    run_id: str


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that was logged. status: "running" until its files are there. Times: ms since 1970."""

    id: str
    name: str
    experiment: int
    status: str
    created_ms: int
    updated_ms: int
    source_run: str
    type: str
    deleted: bool
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, Latest]
    measured: Mapping[str, Measured] = field(default_factory=dict)


def create(
    ws: Workspace,
    experiment: int,
    name: str = "",
    *,
    source_run: str = "",
    type: str = "",
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> LoggedModel:
    """A model whose files come next. source_run: the run that made it. Raises NotFound for an unknown experiment,
    BadInput for a deleted one."""
    called = name or made_up()
    hidden = {EXPERIMENT: str(experiment), STAGE: ACTIVE} | ({TYPE: type} if type else {})
    run = Run(
        id=f"m-{new_id()}",
        kind=LOGGED,
        name=called,
        status="running",
        started_at=utc_now(),
        params=dict(params or {}),
        tags={**_users(tags or {}), **hidden},
        parent=source_run or None,
        actor=ws.settings.who,
    )

    def operation(now: Transaction) -> LoggedModel:
        experiments.require(now, experiment)
        known = bool(source_run) and now.link.execute(sa.select(runs.c.id).where(runs.c.id == source_run)).first()
        artifact = Artifact(
            new_id(), KIND, called, 0, digest(run.id.encode()), run.started_at, source_run if known else None,
            {"model_id": run.id, "experiment": experiment},
        )  # fmt: skip
        now.write(Batch([run], [("model", artifact)], [Edge(run.id, artifact.id, "out", "model")]))
        return _of(now.link, [run])[0]

    return committer_of(ws).call(operation)


def get(ws: Workspace, model_id: str, *, deleted: bool = False) -> LoggedModel:
    """The model of that id. Raises NotFound, also for a deleted one unless those are asked for."""
    with reading(ws) as link:
        found = _of(link, [_run(link, model_id)])[0]
    if found.deleted and not deleted:
        raise NotFound(f"no logged model {model_id!r}: it was deleted")
    return found


def finish(ws: Workspace, model_id: str, status: Status) -> LoggedModel:
    """Say that its files are there ("done"), or that they never will be ("failed")."""

    def change(run: Run) -> Run:
        return replace(run, status=status, ended_at=None if status == "running" else utc_now())

    return committer_of(ws).call(_changing(model_id, change))


def log(
    ws: Workspace, model_id: str, *, params: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
) -> LoggedModel:
    """Add parameters and tags. Raises BadInput where a parameter is there with another value."""

    def change(run: Run) -> Run:
        for key, value in (params or {}).items():
            if run.params.get(key, value) != value:
                raise BadInput(
                    f"parameter {key!r} of logged model {model_id} is {run.params[key]!r} already, not {value!r}"
                )
        return replace(run, params={**run.params, **(params or {})}, tags={**run.tags, **_users(tags or {})})

    return committer_of(ws).call(_changing(model_id, change))


def delete_tag(ws: Workspace, model_id: str, key: str) -> None:
    """Take a tag away. Raises NotFound where it has none of that name."""

    def change(run: Run) -> Run:
        if key not in shown(run.tags):
            raise NotFound(f"logged model {model_id} has no tag {key!r}")
        return replace(run, tags={name: value for name, value in run.tags.items() if name != key})

    committer_of(ws).call(_changing(model_id, change))


def delete(ws: Workspace, model_id: str) -> None:
    """Hide it; what is registered of it keeps its files."""
    hidden = {STAGE: GONE, DELETED: str(ms(utc_now()))}
    committer_of(ws).call(_changing(model_id, lambda run: replace(run, tags={**run.tags, **hidden}), deleted=True))


def measuring(points: Mapping[str, Sequence[Point]], on: Mapping[str, Mapping[str, Measured]]) -> Operation[None]:
    """Log metrics of models, by their ids. on: by model and metric, what it was measured on. Raises NotFound."""

    def operation(now: Transaction) -> None:
        for model_id in points:
            run = _run(now.link, model_id)
            said = {f"{MEASURED}.{key}": json.dumps(list(each)) for key, each in on.get(model_id, {}).items()}
            made = replace(run, tags={**run.tags, **said})
            if made != run:
                now.write(Batch([made]))
        now.log(points)

    return operation


def joining(run_id: str, role: Literal["in", "out"], models: Mapping[str, int]) -> Operation[None]:
    """Say that a run read models, or made them; models: by id, the step at which. Raises NotFound."""

    def operation(now: Transaction) -> None:
        now.run(run_id)
        found = []
        for model_id, step in models.items():
            _run(now.link, model_id)
            found.append(Edge(run_id, artifact_of(now.link, model_id), role, str(step)))
        now.write(Batch(edges=found))

    return operation


def of_runs(
    link: sa.Connection, run_ids: Sequence[str], role: Literal["in", "out"]
) -> dict[str, list[tuple[str, int]]]:
    """The models that each of these runs read, or made, by `joining`: (model's id, step)."""
    found: dict[str, list[tuple[str, int]]] = {}
    for start in range(0, len(run_ids), 1000):
        statement = (
            sa.select(edges.c.run_id, edges.c.slot, artifacts.c.body)
            .join(artifacts, artifacts.c.id == edges.c.artifact_id)
            .where(edges.c.run_id.in_(run_ids[start : start + 1000]), edges.c.role == role, artifacts.c.kind == KIND)
            .order_by(edges.c.run_id, artifacts.c.id)
        )
        for row in link.execute(statement):
            if row.slot.lstrip("-").isdigit():
                model_id = str(json.loads(row.body)["meta"]["model_id"])
                found.setdefault(row.run_id, []).append((model_id, int(row.slot)))
    return found


def among(link: sa.Connection, places: Sequence[int], source_run: str | None = None) -> list[LoggedModel]:
    """The models of these experiments, newest first; source_run: those of one run alone."""
    statement = (
        sa.select(runs.c.body)
        .join(tracked, tracked.c.run_id == runs.c.id)
        .where(tracked.c.experiment.in_(places), tracked.c.stage == ACTIVE)
        .order_by(tracked.c.start_ms.desc(), tracked.c.run_id.desc())
    )
    if source_run is not None:
        statement = statement.where(runs.c.parent == source_run)
    return _of(link, [records.run_of(body) for body in link.execute(statement).scalars()])


def artifact_of(link: sa.Connection, model_id: str) -> str:
    """The id of the artifact that joins a model with runs. Raises NotFound."""
    where = (artifacts.c.kind == KIND) & (artifacts.c.digest == digest(model_id.encode()))
    found = link.execute(sa.select(artifacts.c.id).where(where)).scalar()
    if found is None:
        raise NotFound(f"no logged model {model_id!r}")
    return str(found)


def _run(link: sa.Connection, model_id: str) -> Run:
    body = link.execute(sa.select(runs.c.body).where(runs.c.id == model_id, runs.c.kind == LOGGED)).scalar()
    if body is None:
        raise NotFound(f"no logged model {model_id!r}")
    return records.run_of(body)


def _of(link: sa.Connection, found: Sequence[Run]) -> list[LoggedModel]:
    metrics: dict[str, dict[str, Latest]] = {}
    for start in range(0, len(found), 1000):
        ids = [run.id for run in found[start : start + 1000]]
        for row in link.execute(sa.select(latest).where(latest.c.run_id.in_(ids))):
            value = float("nan") if row.is_nan else row.value
            metrics.setdefault(row.run_id, {})[row.key] = Latest(value, row.step, row.at_ms)
    return [_made(run, metrics.get(run.id, {})) for run in found]


def _made(run: Run, metrics: Mapping[str, Latest]) -> LoggedModel:
    start = f"{MEASURED}."
    return LoggedModel(
        run.id,
        run.name,
        int(run.tags[EXPERIMENT]),
        run.status,
        ms(run.started_at),
        int(run.tags.get(DELETED, 0)) or ms(run.ended_at or run.started_at),
        run.parent or "",
        run.tags.get(TYPE, ""),
        run.tags.get(STAGE) == GONE,
        texts(run.params),
        shown(run.tags),
        metrics,
        {
            key.removeprefix(start): Measured(*json.loads(text))
            for key, text in run.tags.items()
            if key.startswith(start)
        },
    )


def _changing(model_id: str, change: Any, *, deleted: bool = False) -> Operation[LoggedModel]:  # Any: from Run to Run
    def operation(now: Transaction) -> LoggedModel:
        run = _run(now.link, model_id)
        if run.tags.get(STAGE) == GONE and not deleted:
            raise NotFound(f"no logged model {model_id!r}: it was deleted")
        made = change(run)
        if made != run:
            now.write(Batch([made]))
        return _of(now.link, [made])[0]

    return operation


def _users(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith("tidemill.")}
