"""Running a pipeline: its build function makes nodes, an engine runs them, the graph remembers each.

A node is run when all that it waits for is there, unless the same work was done before: in this execution before it
was killed, in the newest execution of the pipeline, or anywhere under the same key. Whoever computes a key holds its
lease, so two executions never compute one key at once. Resuming is running again: what is recorded is not run again.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tidemill.core.engine import Engine
from tidemill.core.errors import BadInput, Busy, Cancelled
from tidemill.core.ids import new_id, utc_now
from tidemill.core.locks import lease
from tidemill.core.recording import cpu_seconds, environment
from tidemill.core.types import Artifact, Batch, Edge, NewEvent, Run, Status
from tidemill.core.workspace import Workspace
from tidemill.flow import entries, formats, values
from tidemill.flow.approvals import Parked, park
from tidemill.flow.engines.calls import left
from tidemill.flow.executing.building import Building
from tidemill.flow.executing.nodes import counts, shown, unseen_error
from tidemill.flow.executing.running import Progress, Running
from tidemill.flow.pipelines import Pipeline
from tidemill.flow.refs import Ref, building, node_of, path_of, value

KIND = "flow.pipeline"


@dataclass(frozen=True, slots=True)
class FlowRun:
    """What became of an execution. status: done, failed, cancelled, or parked (a person is asked).

    value: what the build function returned. error: why it failed.
    """

    id: str
    status: str
    value: Any = None
    error: BaseException | None = None

    def result(self) -> Any:
        """The value; raises the error where it failed."""
        if self.error is not None:
            raise self.error
        return self.value


def run(
    ws: Workspace,
    pipeline: Pipeline[..., Any],
    params: Mapping[str, Any] | None = None,
    *,
    engine: Engine,
    trigger: str = "manual",
    fresh: Collection[str] = (),
    progress: Progress | None = None,
) -> FlowRun:
    """Run the pipeline with these parameters from its start. Raises BadInput for parameters that do not fit.

    An error of a step is not raised: it is in the result (`FlowRun.result()` raises it).
    fresh: nodes ("plus#2", or "plus" for all of a map) to compute anew with all that follows from them, whatever is
    known of their keys. progress: called with (nodes that ended, nodes known so far, a line of text) after each.
    """
    given = pipeline.bind(params or {})
    tags = {"fresh": json.dumps(sorted(fresh))} if fresh else {}
    made = new_run(ws, pipeline, given, trigger=trigger, tags=tags)
    return _execute(ws, pipeline, made, given, engine, progress, resumed=False)


def resume(
    ws: Workspace,
    run_id: str,
    *,
    pipeline: Pipeline[..., Any],
    engine: Engine,
    progress: Progress | None = None,
) -> FlowRun:
    """Run an execution on from where it stands: queued, parked and answered, or killed.

    Raises Busy where another process runs it, BadInput for one that has ended.
    """
    found = ws.graph.get(run_id)
    if not isinstance(found, Run) or found.kind != KIND:
        raise BadInput(f"{run_id} is no execution of a pipeline; `tidemill flow runs` lists them")
    if found.status != "running":
        raise BadInput(f"execution {found.id} ended as {found.status}; run the pipeline again: what was done is cached")
    params = _loaded_params(found.params)
    return _execute(ws, pipeline, found, pipeline.bind(params), engine, progress, resumed=True)


def new_run(
    ws: Workspace,
    pipeline: Pipeline[..., Any],
    given: Mapping[str, Any],
    *,
    trigger: str,
    tags: Mapping[str, str] | None = None,
) -> Run:
    """The record of an execution that is to start; not recorded yet."""
    try:
        entry, folder = entries.entry_of(pipeline)
        found = {"entry": entry, "folder": str(folder)}
    except BadInput:  # it runs here and now, but nobody else can take it up
        found = {}
    return Run(
        id=new_id(),
        kind=KIND,
        name=pipeline.name,
        status="running",
        started_at=utc_now(),
        params={name: _plain(name, each) for name, each in given.items()},
        tags={"trigger": trigger, **found, **(tags or {})},
        environment=environment(ws),
        actor=ws.settings.who,
    )


def _execute(
    ws: Workspace,
    pipeline: Pipeline[..., Any],
    record: Run,
    given: Mapping[str, Any],
    engine: Engine,
    progress: Progress | None,
    *,
    resumed: bool,
) -> FlowRun:
    held = lease(ws, f"flow/{record.id}")
    if held is None:
        raise Busy(f"execution {record.id} of {pipeline.name!r} is run by another process; wait for it or cancel it")
    with held:
        record = replace(record, code=code_of(ws, pipeline), environment=environment(ws))
        events = [NewEvent(f"flow/{record.id}", "resumed", {}, actor=record.actor)] if resumed else []
        ws.graph.write(Batch([record], events=events))
        running = Running(ws, record, engine, progress, resumed=resumed)
        try:
            return _built(ws, pipeline, running, given)
        finally:
            running.close()


def _built(ws: Workspace, pipeline: Pipeline[..., Any], running: Running, given: Mapping[str, Any]) -> FlowRun:
    began_s = cpu_seconds()
    record = running.record
    error: BaseException | None = None
    made: Any = None
    returned: Any = None
    inside = building.set(Building(running))
    try:
        try:
            returned = pipeline.function(**given)
            made = value(returned)
        except Exception as raised:
            error = raised
        except SystemExit as stop:
            error = left(stop)
        running.wait_all()
    except Parked as parked:
        running.wait_all()
        if not running.cancel_asked:
            running.journal.flush()
            park(ws, record, parked)
            return FlowRun(record.id, "parked")
        error = Cancelled(f"execution {record.id} was cancelled")
    except KeyboardInterrupt:
        error = Cancelled("interrupted; run it again: what was done is cached")
        running.cancel("interrupt")
        running.wait_all()
    finally:
        building.reset(inside)
    error = error or unseen_error(running.nodes())
    if running.cancel_asked and error is not None and not isinstance(error, Cancelled):
        error = Cancelled(f"execution {record.id} was cancelled")
    running.journal.flush()
    last = Batch()
    if error is None:
        try:
            last = ending(ws, record, running, returned, made)
        except Exception as raised:  # a result that cannot be stored, such as the path of a file that is not there
            error = raised
    if error is not None:
        last = ending(ws, record, running, None, None)
    status: Status = "done" if error is None else "cancelled" if isinstance(error, Cancelled) else "failed"
    ended = replace(
        record,
        status=status,
        ended_at=utc_now(),
        error=None if error is None else shown(error),
        metrics=counts(running.nodes()),
        cpu_s=round(cpu_seconds() - began_s, 4),
    )
    ws.graph.write(replace(last, runs=(ended,)))
    return FlowRun(record.id, status, made if error is None else None, error)


def ending(ws: Workspace, ended: Run, running: Running, returned: Any, made: Any) -> Batch:
    """The end of the execution: what the build function read of its nodes, and its result as an artifact."""
    read = running.artifacts_read()
    whole = isinstance(returned, Ref) and not path_of(returned)
    out = read.get(node_of(returned).id) if whole else None
    packed = None if made is None or out is not None else values.pack(made)
    if packed is not None and packed.output.format == values.RECORD:
        out = packed.output.artifact
    edges = [Edge(ended.id, artifact, "in", node) for node, artifact in read.items() if artifact != out]
    if out is not None:
        return Batch([ended], edges=[*edges, Edge(ended.id, out, "out", "result")])
    if packed is None:
        return Batch([ended], edges=edges)
    output = values.stored(packed, ws.store)
    meta = values.artifact_meta(output)
    name = output.blob or output.digest
    given = Artifact(new_id(), values.KIND, ended.name, 0, name, utc_now(), ended.id, meta)
    return Batch([ended], [("result", given)], edges)


def code_of(ws: Workspace, pipeline: Pipeline[..., Any]) -> str | None:
    """The digest of the build function's text in the store."""
    try:
        return ws.store.put(inspect.getsource(pipeline.function).encode())
    except (OSError, TypeError):
        return None


def _plain(name: str, given: Any) -> Any:
    """A parameter as the record has it: tagged JSON."""
    packed = formats.encode(given)
    if packed is None or packed[0] != "json":
        raise BadInput(
            f"parameter {name} is {type(given).__name__}; a pipeline's parameters are plain values. Read it in a step"
        )
    return json.loads(packed[1])


def _loaded_params(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: formats.decode("json", json.dumps(each).encode()) for name, each in params.items()}
