"""The user's handle: `tm.open(url)` gives a Project; each verb is one line that calls one phase function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.ids import parse_time
from tidemill.core.recording import Recorder, key_of
from tidemill.core.types import Artifact, DatasetVersion, Deployment, Event, Fault, ModelVersion, Query, Run, Trail
from tidemill.core.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.recipe import Recipe
    from tidemill.data.rows import Rows
    from tidemill.serve.deploy import Served
    from tidemill.train.fit import Fitted

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
        """Append rows (a frame, or a CSV, JSON lines, Parquet or Arrow file) to a dataset: its next version."""
        from tidemill.data import datasets, sources

        frame, source = (
            (sources.read(Path(rows)), os.fspath(rows)) if isinstance(rows, str | os.PathLike) else (rows, "frame")
        )
        return datasets.add(
            self.ws, name, frame, key=key, event_time=event_time, known_time=known_time, message=message, source=source
        )

    def dataset(self, name: str, version: int | None = None) -> Rows:
        """The rows of a dataset, newest version by default, as known at this view's time."""
        from tidemill.data import datasets, rows

        return rows.rows(self.ws, datasets.get(self.ws, name, version))

    def datasets(self) -> list[str]:
        """The names of all datasets."""
        from tidemill.data import datasets

        return datasets.names(self.ws)

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
        score: str = "auc",
        trials: int = 20,
        seed: int = 0,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Fitted:
        """The best of `trials` fits on `train` by `score` on the rows `on`: each trial a run, resumable."""
        from tidemill.flow.keys import code_of
        from tidemill.train.tune import tune

        return tune(
            self.ws,
            [fits] if callable(fits) else list(fits),
            train.frame(),
            on.frame(),
            recipe,
            target=target,
            key=train.key,
            time=_time_of(train),
            score=score,
            trials=trials,
            seed=seed,
            inputs=train.inputs,
            plan_digest=key_of(train.digest(), on.digest()),
            progress=progress,
            code=code_of,
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
    ) -> Fitted:
        """One fit on these rows, recorded."""
        from tidemill.flow.keys import code_of
        from tidemill.train.fit import fit_model

        return fit_model(
            self.ws,
            fit,
            rows.frame(),
            recipe,
            target=target,
            key=rows.key,
            time=_time_of(rows),
            params=dict(params or {}),
            inputs=rows.inputs,
            plan_digest=rows.digest(),
            seed=seed,
            code=code_of,
        )

    # ------------------------------------------------------------------------------------------------ models

    def register(self, fitted: Fitted, name: str, *, on: Rows, slices: Sequence[str] = ()) -> ModelVersion:
        """Score on the test rows `on`, write the card, package, sign and register: the model's next version."""
        from tidemill.improve.registering import register_fitted

        return register_fitted(self.ws, fitted, name, test=on.frame(), inputs=on.inputs, slices=slices)

    def model(self, name: str, version: int | str | None = None) -> ModelVersion:
        """A registered model: by version number, by alias ("champion"), or the newest."""
        from tidemill.serve import registry

        return registry.get(self.ws, name, version)

    def find_model(self, name: str, version: int | str | None = None) -> ModelVersion | None:
        """The same, or None where there is none."""
        try:
            return self.model(name, version)
        except NotFound:
            return None

    def score(self, model: ModelVersion, rows: pl.DataFrame) -> list[float]:
        """P(positive) for each row, by the model's verified package, in this process."""
        from tidemill.serve import packages

        return packages.load(self.ws, model.package).score(rows.to_dicts())

    def build(self, build: Build, *, name: str) -> ModelVersion:
        """Run `build(self)`, or return what it made before from the same code, data versions and time."""
        from tidemill.data import datasets
        from tidemill.flow.steps import step

        inputs = [(dataset, datasets.get(self.ws, dataset)) for dataset in datasets.names(self.ws)]
        clock = None if self.ws.clock is None else self.ws.clock.isoformat()
        made = step(
            self.ws, lambda: build(self).artifact, name=name, inputs=inputs, params={"clock": clock}, code=build
        )
        return ModelVersion(made)

    def step(self, function: Callable[..., Any], *, name: str, inputs: Sequence[Any] = (), **params: Any) -> Any:
        """`function(**params)`, a JSON value, computed once for the same code, inputs' contents and parameters."""
        from tidemill.flow.steps import json_step

        return json_step(self.ws, function, name=name, inputs=inputs, params=params)

    def ask_for_labels(
        self, queue: str, rows: Rows, fit: Fit, recipe: Recipe, *, target: str, params: Mapping[str, Any], at_most: int
    ) -> int:
        """Put the most suspicious labels (confident learning) into a review queue; returns how many are asked."""
        from tidemill.improve.reviewing import ask_for_review

        return ask_for_review(self.ws, queue, rows, fit, recipe, target=target, params=params, at_most=at_most)

    # ------------------------------------------------------------------------------------------------ serving

    def deploy(self, model: ModelVersion, *, name: str | None = None, port: int = 0) -> Served:
        """Serve the model from a server process of its own; port 0 takes a free one."""
        from tidemill.serve import deploy

        return deploy.deploy(self.ws, model, name=name or model.name, port=port, host=self.ws.settings.host)

    def predictions(self, deployment: str, *, since: datetime | None = None, until: datetime | None = None) -> Any:
        """The logged predictions of a deployment as a Polars frame."""
        from tidemill.watch import log

        return log.predictions(self.ws, deployment, since=since, until=until)

    def prediction_id(self, deployment: str, row_key: str) -> str:
        """The id under which a deployment answers for a row key: the same at each asking."""
        from tidemill.serve.lineup import prediction_id

        return prediction_id(deployment, row_key)

    def truth(self, deployment: str, rows: pl.DataFrame) -> None:
        """Ground truth as it arrives: columns id (of the prediction) or row_key, value, known_time."""
        from tidemill.watch import truth

        truth.add_truth(self.ws, deployment, rows)

    # ------------------------------------------------------------------------------------------------ runs and lineage

    @contextmanager
    def run(self, name: str, *, params: Mapping[str, Any] | None = None) -> Iterator[Recorder]:
        """A recorded run of your own code: `with mill.run("look") as run: run.log("loss", 0.3, step=1)`."""
        from tidemill.track import runs

        with runs.run(self.ws, name, params=params) as recorder:
            yield recorder

    def runs(self, *, kind: str | None = None, name: str | None = None, limit: int = 100) -> list[Run]:
        """Recorded runs, newest first. kind: exact, or a prefix such as "train.*"."""
        from tidemill.track import runs

        return runs.find(self.ws, kind=kind, name=name, limit=limit)

    def get(self, node_id: str) -> Run | Artifact:
        """The run or artifact of that id, or of its first 8 digits or more."""
        return self.ws.graph.get(node_id)

    def artifact(self, kind: str, name: str, version: int | None = None) -> Artifact:
        """The artifact of that kind and name, newest by default."""
        for found in self.ws.graph.find(Query("artifact", kind=kind, name=name, version=version, limit=1)):
            assert isinstance(found, Artifact)
            return found
        raise NotFound(
            f"no {kind} {name!r}" + (f" version {version}" if version else "") + "; see `tidemill runs list`"
        )

    def trace(self, what: str) -> Trail:
        """All that an artifact, run or prediction came from, down to imports. what: an id."""
        return self.ws.graph.trail(self._node(what), "down")

    def impact(self, what: str) -> Trail:
        """All that came from an artifact or run."""
        return self.ws.graph.trail(self._node(what), "up")

    def events(self, subject: str | None = None) -> list[Event]:
        """The audit log, of one subject or of all."""
        return self.ws.graph.events(subject)

    def verify(self) -> list[Fault]:
        """All that is wrong with the audit log and the records; empty is good."""
        return self.ws.graph.verify()

    def _node(self, what: str) -> str:
        from tidemill.watch import log

        try:
            return self.ws.graph.get(what).id
        except NotFound:
            prediction = log.find(self.ws, what)
            return Deployment(self.artifact("deployment", prediction.deployment, prediction.revision)).id


def _time_of(rows: Rows) -> str:
    if rows.event_time is None:
        raise BadInput("these rows have no event time; add the dataset with event_time=, so that time can order them")
    return rows.event_time
