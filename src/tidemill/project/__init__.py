"""The user's handle: `tm.open(url)` gives a Project; each verb is one line that calls one phase function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from tidemill.core.ids import parse_time
from tidemill.core.recording import key_of
from tidemill.core.types import DatasetVersion, ModelVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.project.contracts import Contracts
from tidemill.project.data import Data, Ref
from tidemill.project.deployments import Deployments
from tidemill.project.engines import opened
from tidemill.project.evaluation import Evaluations
from tidemill.project.features import Features
from tidemill.project.files import Files
from tidemill.project.flows import Flows
from tidemill.project.governance import Governance
from tidemill.project.labels import Labels
from tidemill.project.lineage import Lineage
from tidemill.project.models import Models
from tidemill.project.policies import TRAINING, Policies
from tidemill.project.runs import Runs
from tidemill.project.selection import Selection
from tidemill.project.training import Training

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.engine import Engine
    from tidemill.core.recipe import Recipe
    from tidemill.data.rows import Rows
    from tidemill.improve.loop import Better, Decision, LoopSpec
    from tidemill.serve.deploy import Served
    from tidemill.train.fit import Fitted
    from tidemill.train.scoring.evaluating import Comparison
    from tidemill.watch.monitor import Monitor

Fit = Callable[..., Any]  # Any: an estimator of whichever library the user chose
Build = Callable[["Project"], ModelVersion]


def open(
    url: str | os.PathLike[str], *, store: str | None = None, at: datetime | str | None = None, create: bool = True
) -> Project:
    """Open the workspace at `url` (a folder, or postgresql://...), making it where there is none.

    store: where bytes go (a folder, s3://bucket/prefix); default: inside the folder. at: stand at that time: datasets
    show only what was known then.
    """
    project = Project(open_workspace(url, store=store, create=create))
    return project if at is None else project.at(at)


@dataclass(frozen=True, slots=True)
class Project:
    """A workspace with verbs. Immutable: `at` gives another view of the same workspace."""

    ws: Workspace

    def __repr__(self) -> str:  # what a notebook shows: neither connections nor a password
        scheme, remote, rest = self.ws.url.partition("://")
        return f"<Project {scheme}://{rest.rsplit('@', 1)[-1].partition('?')[0]}>" if remote else f"<Project {scheme}>"

    # ------------------------------------------------------------------------------------------------ time and closing

    @property
    def now(self) -> datetime:
        """The time at which this view stands: simulated, or the real one."""
        return self.ws.now

    def at(self, time: datetime | str) -> Project:
        """The same project as it could be known at `time`."""
        return Project(self.ws.at(parse_time(time) if isinstance(time, str) else time))

    def close(self) -> None:
        """Let go of connections."""
        self.ws.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ data

    def add(
        self,
        name: str,
        rows: pl.DataFrame | str | os.PathLike[str],
        *,
        key: str,
        event_time: str | None = None,
        known_time: str | None = None,
        message: str = "",
    ) -> DatasetVersion:
        """Append rows (a frame, or what `data.import_from` reads) to a dataset: its next version.

        Rows that do not keep the dataset's contract go to quarantine, and a warning is logged.
        """
        options = {"key": key, "event_time": event_time, "known_time": known_time, "message": message}
        if isinstance(rows, str | os.PathLike):
            return self.data.import_from(name, rows, **options)  # type: ignore[arg-type]  # each text or None
        return self.data.add(name, rows, **options)  # type: ignore[arg-type]

    def dataset(self, name: str, ref: Ref = None) -> Rows:
        """The rows of a dataset, newest version by default, as known at this view's time.

        ref: a version's number, tag, branch, or 6 or more digits of its digest.
        """
        from tidemill.data import rows

        return rows.rows(self.ws, self.data.get(name, ref))

    @property
    def data(self) -> Data:
        """Datasets: their versions, branches, imports and exports."""
        return Data(self.ws)

    @property
    def contracts(self) -> Contracts:
        """What rows must be, and the quarantine of those that are not."""
        return Contracts(self.ws)

    @property
    def files(self) -> Files:
        """Datasets of files."""
        return Files(self.ws)

    @property
    def features(self) -> Features:
        """Feature views: the join in time and the online look-up."""
        return Features(self.ws)

    @property
    def governance(self) -> Governance:
        """Owners, personal columns, roles, cards, erasure and audit."""
        return Governance(self.ws)

    @property
    def policies(self) -> Policies:
        """Purposes, retention and legal holds."""
        return Policies(self.ws)

    @property
    def labels(self) -> Labels:
        """Labels that wait for a person."""
        return Labels(self.ws)

    @property
    def models(self) -> Models:
        """Registered models: versions, cards, scores."""
        return Models(self.ws)

    @property
    def deployments(self) -> Deployments:
        """Who answers, and how well: predictions, truth, alerts."""
        return Deployments(self.ws)

    @property
    def lineage(self) -> Lineage:
        """Runs and artifacts, what came from what, and the audit log."""
        return Lineage(self.ws)

    def clean(self, name: str, rows: pl.DataFrame, *steps: Any, key: str, of: DatasetVersion) -> pl.DataFrame:
        """Clean rows by recorded steps (tm.drop_duplicates, tm.null_outside ...); the report is an artifact."""
        from tidemill.prepare import cleaning

        cleaned, _ = cleaning.clean_dataset(self.ws, of, rows, *steps, name=name, key=key)
        return cleaned

    # ------------------------------------------------------------------------------------------------ training

    def tune(
        self,
        fits: Fit | Sequence[Fit],
        train: Rows,
        recipe: Recipe,
        *,
        on: Rows,
        target: str,
        score: str | Sequence[str] = "auc",
        trials: int = 20,
        seed: int = 0,
        purpose: str = TRAINING,
        progress: Callable[[int, int, str], None] | None = None,
        engine: str | Engine | None = None,
        **options: Any,
    ) -> Fitted:
        """The best of `trials` fits on `train` by `score` on the rows `on`: each trial a run, resumable.

        score: one, or several for a Pareto front. purpose: each dataset that the rows came from must allow it (see
        `policies`), else Refused. engine: where trials run ("pool://4", "ray"; default: one after the other, here).
        options: those of `train.tune.tune`: task, sampler, pruner, constraints, start_from, time_s, cost,
        price_per_hour, parallel, needs, trial_timeout_s, retries.
        """
        from tidemill.flow.caching.keys import code_of
        from tidemill.train.tuning.tune import tune

        self.policies.require([*train.inputs, *on.inputs], purpose)
        with nullcontext() if engine is None else opened(engine) as workers:
            return tune(
                self.ws,
                [fits] if callable(fits) else list(fits),
                train.frame(),
                on.frame(),
                recipe,
                target=target,
                key=train.key,
                time=train.event_time,
                score=score,
                trials=trials,
                seed=seed,
                inputs=train.inputs,
                plan_digest=key_of(train.digest(), on.digest()),
                progress=progress,
                code=code_of,
                engine=workers,
                **options,
            )

    def fit(
        self,
        fit: Fit,
        rows: Rows,
        recipe: Recipe,
        *,
        target: str,
        params: Mapping[str, Any] | None = None,
        seed: int = 0,
        purpose: str = TRAINING,
    ) -> Fitted:
        """One fit on these rows, recorded. purpose: each dataset that they came from must allow it, else Refused."""
        from tidemill.flow.caching.keys import code_of
        from tidemill.train.fit import fit_model

        self.policies.require(rows.inputs, purpose)
        return fit_model(
            self.ws,
            fit,
            rows.frame(),
            recipe,
            target=target,
            key=rows.key,
            time=rows.event_time,
            params=dict(params or {}),
            inputs=rows.inputs,
            plan_digest=rows.digest(),
            seed=seed,
            code=code_of,
        )

    @property
    def flows(self) -> Flows:
        """Pipelines: executions, schedules, queues."""
        return Flows(self.ws)

    @property
    def training(self) -> Training:
        """Training on more than one machine, and of PyTorch modules."""
        return Training(self.ws)

    @property
    def leaderboard(self) -> Selection:
        """Call it with candidates for a leaderboard; leaks and looks beside it."""
        return Selection(self.ws)

    @property
    def evaluate(self) -> Evaluations:
        """`mill.evaluate(model, on=rows)`: scores with intervals, weak slices, fairness, importances; recorded."""
        return Evaluations(self.ws)

    def compare(
        self, one: Fitted | ModelVersion, other: Fitted | ModelVersion, *, on: Rows, **options: Any
    ) -> Comparison:
        """Whether `other` is better than `one` on the same rows: a paired test, recorded.

        options: those of `mill.evaluate.compare` (score, alpha, cluster, purpose).
        """
        return self.evaluate.compare(one, other, on=on, **options)

    # ------------------------------------------------------------------------------------------------ models

    def register(self, fitted: Fitted, name: str, *, on: Rows, slices: Sequence[str] = ()) -> ModelVersion:
        """Score on the test rows `on`, write the card, package, sign and register: the model's next version."""
        from tidemill.improve.registering import register_fitted

        return register_fitted(self.ws, fitted, name, test=on.frame(), inputs=on.inputs, slices=slices)

    def model(self, name: str, version: int | str | None = None) -> ModelVersion:
        """A registered model: by version number, by alias ("champion"), or the newest."""
        from tidemill.serve import registry

        return registry.get(self.ws, name, version)

    def build(self, build: Build, *, name: str) -> ModelVersion:
        """Run `build(self)`, or return what it made before from the same code, data versions and time."""
        from tidemill.data import datasets
        from tidemill.flow.cached import step

        inputs = [(dataset, datasets.get(self.ws, dataset)) for dataset in datasets.names(self.ws)]
        clock = None if self.ws.clock is None else self.ws.clock.isoformat()
        made = step(
            self.ws, lambda: build(self).artifact, name=name, inputs=inputs, params={"clock": clock}, code=build
        )
        return ModelVersion(made)

    # ------------------------------------------------------------------------------------------------ serving

    def deploy(self, model: ModelVersion, *, name: str | None = None, port: int = 0) -> Served:
        """Serve the model from a server process of its own; port 0 takes a free one."""
        from tidemill.serve import deploy

        return deploy.deploy(self.ws, model, name=name or model.name, port=port, host=self.ws.settings.host)

    def improve(
        self,
        build: Build,
        *,
        on: str,
        when: Monitor | None = None,
        promote: Better | None = None,
        approve: Literal["auto", "human"] = "auto",
    ) -> Loop:
        """The loop that keeps deployment `on` good: rebuilds when its watch says so, promotes what is better."""
        from tidemill.improve.loop import Better, LoopSpec
        from tidemill.watch.monitor import Monitor

        spec = LoopSpec(
            deployment=on,
            build=lambda now: self.at(now).build(build, name=on),
            monitor=when or Monitor(on),
            promote=promote or Better(),
            approve=approve,
        )
        return Loop(self, spec)

    # ------------------------------------------------------------------------------------------------ runs and lineage

    @property
    def run(self) -> Runs:
        """`with mill.run("look") as run: run.log("loss", 0.3, step=1)` records a run of your own code;
        `mill.run.search("metrics.loss < 0.3")` finds runs."""
        return Runs(self.ws)


@dataclass(frozen=True, slots=True)
class Loop:
    """The improvement loop of one deployment; `tick` it at the end of each day."""

    project: Project
    spec: LoopSpec

    def tick(self, now: datetime) -> list[Decision]:
        """Take in what was answered and proved until `now`, check the day, take at most one step; idempotent."""
        from tidemill.improve import loop

        return loop.tick(self.project.ws, self.spec, now)

    def ticked(self, now: datetime) -> bool:
        """Whether the tick of that moment is done."""
        from tidemill.improve import loop

        return loop.ticked(self.project.ws, self.spec.deployment, now)

    def decisions(self) -> list[Decision]:
        """All that it decided, oldest first."""
        from tidemill.improve import loop

        return loop.decisions(self.project.ws, self.spec.deployment)
