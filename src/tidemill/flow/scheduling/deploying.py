"""Deploying a pipeline with a schedule, seen to fit before it runs by itself for the first time."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from tidemill.core.errors import BadInput, nearest
from tidemill.core.types import Json
from tidemill.core.workspace import Workspace
from tidemill.flow import entries
from tidemill.flow.pipelines import REQUIRED, Pipeline
from tidemill.flow.scheduling import schedules
from tidemill.flow.scheduling.schedules import Schedule, Scheduled


def deploy(
    ws: Workspace,
    entry: str,
    schedule: Schedule | None = None,
    *,
    name: str | None = None,
    params: Json | None = None,
    queue: str = "default",
    priority: int = 0,
    as_: str | None = None,
    at_once: int = 1,
    slot_param: str | None = None,
    folder: Path | None = None,
    engine: str = "",
) -> Scheduled:
    """Load the pipeline at an entry and let it run by its schedule; see `schedules.deploy` for what is not told here.

    schedule: default, the one that @tm.pipeline gave it. slot_param: a parameter annotated `date` is given the slot's
    date in the schedule's zone, any other its time. Raises NotFound for an entry that is not there, BadInput for one
    that has no schedule, for parameters that it does not have, needs, or cannot read; what its module raises comes
    through.
    """
    place = (folder or Path.cwd()).resolve()
    pipeline = entries.load(entry, folder=place)
    when = schedule or pipeline.schedule
    if when is None:
        raise BadInput(f"pipeline {pipeline.name!r} has no schedule; give one here or to @tm.pipeline(schedule=...)")
    check(pipeline, params or {}, slot_param)
    wanted = pipeline.parameters[slot_param].type if slot_param is not None else None
    dated = isinstance(wanted, type) and issubclass(wanted, date) and not issubclass(wanted, datetime)
    return schedules.deploy(
        ws,
        pipeline.name,
        entry,
        when,
        name=name,
        params=params,
        queue=queue,
        priority=priority,
        as_=as_,
        at_once=at_once,
        slot_param=slot_param,
        slot_as="date" if dated else "time",
        folder=place,
        engine=engine,
    )


def check(pipeline: Pipeline[..., object], params: Json, given_later: str | None = None) -> None:
    """Raise BadInput where a pipeline cannot be run with these parameters and the one that is given later.

    Values are read only where none is given later: what that one will be, nobody knows.
    """
    if given_later is None:
        pipeline.bind(params)
        return
    known = pipeline.parameters
    for name in (*params, given_later):
        if name not in known:
            has = ", ".join(known) or "none"
            raise BadInput(f"pipeline {pipeline.name!r} has no parameter {name!r}; it has {has}.{nearest(name, known)}")
    for name, parameter in known.items():
        if parameter.default is REQUIRED and name not in (*params, given_later):
            raise BadInput(f"pipeline {pipeline.name!r} needs {name} ({parameter.type_name}); give it in params")
