"""`mill.flows`: pipelines, their executions, and what runs by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.core.types import Run
from tidemill.core.workspace import Workspace
from tidemill.project.engines import opened

if TYPE_CHECKING:
    from tidemill.core.engine import Engine
    from tidemill.flow.advice import Advice
    from tidemill.flow.approvals import Approval
    from tidemill.flow.executing.execution import FlowRun
    from tidemill.flow.executing.running import Progress
    from tidemill.flow.pipelines import Pipeline
    from tidemill.flow.plan import Plan
    from tidemill.flow.scheduling.backfill import Backfill
    from tidemill.flow.scheduling.queues import Queued
    from tidemill.flow.scheduling.schedules import Schedule, Scheduled
    from tidemill.flow.states import FlowState
    from tidemill.flow.why import Why


@dataclass(frozen=True, slots=True)
class Flows:
    """Executions: run, look, answer, cancel; schedules, queues, backfills; plans for other orchestrators."""

    ws: Workspace

    # ------------------------------------------------------------------------------------------------ executions

    def run(
        self,
        pipeline: Pipeline[..., Any] | str,
        *,
        engine: str | Engine = "pool",
        progress: Progress | None = None,
        **params: Any,
    ) -> FlowRun:
        """Run a pipeline (or the one at an entry) with these parameters; `.result()` of what comes back is its value.

        engine: "pool" (a process a core), "pool://4", "here" (this thread), "ray://head:6379", or one that is open.
        """
        from tidemill.flow.executing import execution

        with opened(engine) as workers:
            return execution.run(self.ws, self.load(pipeline), params, engine=workers, progress=progress)

    def resume(
        self,
        run_id: str,
        *,
        pipeline: Pipeline[..., Any] | str | None = None,
        engine: str | Engine = "pool",
        progress: Progress | None = None,
    ) -> FlowRun:
        """Run an execution on from where it stands: killed, or parked and answered. pipeline: default, where it was."""
        from tidemill.flow import entries, states
        from tidemill.flow.executing import execution

        run = states.execution(self.ws, run_id)
        if pipeline is None:
            found = entries.load(entries.of_run(run), folder=Path(run.tags.get("folder", ".")))
        else:
            found = self.load(pipeline)
        with opened(engine) as workers:
            return execution.resume(self.ws, run.id, pipeline=found, engine=workers, progress=progress)

    def submit(self, entry: str, *, queue: str = "default", priority: int = 0, engine: str = "", **params: Any) -> Run:
        """Put an execution of the pipeline at an entry into a queue; a scheduler (`tidemill up`) runs it."""
        from tidemill.flow.scheduling import deploying, queues

        found = self.load(entry)
        deploying.check(found, params)
        return queues.submit(
            self.ws, found.name, entry, params=params, queue=queue, priority=priority, engine=engine, folder=Path.cwd()
        )

    def all(self, pipeline: str | None = None, *, limit: int = 50) -> list[FlowState]:
        """The newest executions, without their nodes."""
        from tidemill.flow import states

        return states.listed(self.ws, pipeline=pipeline, limit=limit)

    def get(self, run_id: str) -> FlowState:
        """An execution with its nodes, as it stands."""
        from tidemill.flow import states

        return states.read(self.ws, run_id)

    def log(self, run_id: str, node: str) -> str:
        """What a node printed so far."""
        from tidemill.flow import states

        return states.log_of(self.ws, run_id, node)

    def cancel(self, run_id: str) -> None:
        """End an execution, and what it runs, within seconds."""
        from tidemill.flow import states

        states.cancel(self.ws, run_id)

    def again(self, run_id: str, *, fresh: Collection[str] = ()) -> Run:
        """Queue the same execution once more; `fresh` nodes, and all that follows from them, are computed anew."""
        from tidemill.flow.again import again

        return again(self.ws, run_id, fresh=fresh)

    def answer(self, run_id: str, *, yes: bool, approval: str | None = None, note: str = "") -> Approval:
        """Answer the question of an execution; a scheduler, or `resume`, then runs the rest."""
        from tidemill.flow import approvals

        return approvals.decide(self.ws, run_id, yes, approval=approval, note=note)

    def why(self, step: str, *, execution: str | None = None) -> Why:
        """Why a step, or a node of an execution, ran: which part of its key differed."""
        from tidemill.flow.why import why

        return why(self.ws, step, execution=execution)

    def advise(self, pipeline: str, *, runs: int = 20, prices: Mapping[int, float] | None = None) -> Advice:
        """What would make a pipeline quicker or cheaper, from its recorded executions."""
        from tidemill.flow.advice import advise

        return advise(self.ws, pipeline, runs=runs, prices=prices)

    def step(self, function: Callable[..., Any], *, name: str, inputs: Sequence[Any] = (), **params: Any) -> Any:
        """`function(**params)`, a JSON value, computed once for the same code, inputs' contents and parameters.

        It needs no pipeline: a notebook's cell that is not run twice.
        """
        from tidemill.flow.cached import json_step

        return json_step(self.ws, function, name=name, inputs=inputs, params=params)

    # ------------------------------------------------------------------------------------------------ by itself

    def deploy(self, entry: str, schedule: Schedule | None = None, **options: Any) -> Scheduled:
        """Let the pipeline at an entry run by a schedule (default: its own). options: see `flow.deploying.deploy`."""
        from tidemill.flow.scheduling import deploying

        return deploying.deploy(self.ws, entry, schedule, **options)

    def schedules(self) -> list[Scheduled]:
        """What is deployed."""
        from tidemill.flow.scheduling import schedules

        return schedules.listed(self.ws)

    def pause(self, name: str, *, on: bool = True) -> Scheduled:
        """Let a schedule start nothing for a while; on=False lets it go on."""
        from tidemill.flow.scheduling import schedules

        return schedules.pause(self.ws, name) if on else schedules.resume(self.ws, name)

    def undeploy(self, name: str) -> None:
        """Take a schedule back."""
        from tidemill.flow.scheduling import schedules

        schedules.undeploy(self.ws, name)

    def queue(self) -> list[Queued]:
        """The executions in queues that have not ended, oldest first."""
        from tidemill.core.ids import utc_now
        from tidemill.flow.scheduling import queues

        return queues.listed(self.ws, utc_now())

    def limit(self, queue: str, at_once: int) -> None:
        """How many executions of a queue run at a time; 0 stops it."""
        from tidemill.flow.scheduling import queues

        queues.limit(self.ws, queue, at_once)

    def hook(self, name: str, *, revoke: bool = False) -> str:
        """A new token for the webhook of that name, shown once; revoke: none is good any more."""
        from tidemill.flow.scheduling import webhooks

        if revoke:
            webhooks.revoke(self.ws, name)
            return ""
        return webhooks.issue(self.ws, name)

    def backfill(
        self, entry: str, partitions: Iterable[Any], *, param: str, wait: bool = True, **options: Any
    ) -> Backfill:
        """One execution for each partition, done ones skipped. wait: run them here; else a scheduler does.

        options: those of `flow.backfill.backfill` (params, at_once, queue, again ...).
        """
        from tidemill.flow.scheduling import backfill

        found = self.load(entry)
        asked = backfill.backfill(self.ws, found.name, entry, partitions, param=param, folder=Path.cwd(), **options)
        return backfill.work(self.ws, asked) if wait else asked

    def serve(self, stop: threading.Event, *, queues: Collection[str] | None = None) -> None:
        """Run schedules and queues until `stop` is set."""
        from tidemill.flow.scheduling import scheduler

        scheduler.serve(self.ws, stop, queues_served=queues)

    # ------------------------------------------------------------------------------------------------ elsewhere

    def load(self, pipeline: Pipeline[..., Any] | str) -> Pipeline[..., Any]:
        """The pipeline at an entry, "path/file.py:name" or "package.module:name"; one that is here as it is."""
        from tidemill.flow import entries

        return entries.load(pipeline) if isinstance(pipeline, str) else pipeline

    def plan(self, pipeline: Pipeline[..., Any] | str) -> Plan:
        """Its graph without running it; NotExportable names the line of what has none."""
        from tidemill.flow.plan import trace

        return trace(self.load(pipeline))

    def export(self, pipeline: Pipeline[..., Any] | str, target: str, *, image: str | None = None) -> str:
        """The text of a file for "airflow" or "kfp"."""
        from tidemill.flow.export import export

        return export(self.load(pipeline), target, image=image)
