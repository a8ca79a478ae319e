"""What can be read over HTTP: one line a page, which the JSON API and the pages both mount."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from fastapi import Path, Query

from tidemill.api import views
from tidemill.api.views import traced, tracking
from tidemill.api.views.shaping import Shown
from tidemill.project import Project

Limit = Annotated[int, Query(ge=1, le=1000)]
Name = Annotated[str, Path(max_length=300)]
NodeName = Annotated[str, Path(max_length=2000)]  # with slashes: "nightly/clean[3]"
Page = Annotated[int, Query(ge=1)]
Ref = Annotated[str | None, Query(max_length=100)]
Purpose = Annotated[str | None, Query(max_length=100)]
ExperimentId = Annotated[int, Path(ge=0, lt=2**63)]
Filter = Annotated[str, Query(max_length=50_000)]
Text = Annotated[str, Query(max_length=4000)]
Columns = Annotated[list[Text], Query(max_length=500)]
Across = Annotated[Literal["step", "time", "wall"], Query()]
Smooth = Annotated[float, Query(ge=0, lt=1)]


class Reading(NamedTuple):
    """A path (as the page has it), the function that reads it (its parameters are the request's), and a template."""

    path: str
    read: Callable[..., Shown]
    template: str


def readings(project: Project) -> list[Reading]:
    """All of them, over one project."""

    def overview() -> Shown:
        return views.overview(project)

    def runs(
        kind: str | None = None,
        name: str | None = None,
        status: str | None = None,
        before: str | None = None,
        limit: Limit = 50,
    ) -> Shown:
        return views.runs(project, kind=kind, name=name, status=status, before=before, limit=limit)

    def run(run_id: Name, x: Across = "step", smooth: Smooth = 0.0) -> Shown:
        return views.run(project, run_id, across=x, smooth=smooth)

    def experiments(q: Annotated[str, Query(max_length=500)] = "") -> Shown:
        return tracking.experiments(project, q=q)

    def experiment(
        experiment_id: ExperimentId,
        filter: Filter = "",
        order: Text = "",
        columns: Columns = [],  # noqa: B006  FastAPI's way; never changed
        group: Text = "",
        metric: Text = "",
        best: Text = "",
        limit: Limit = 50,
        token: Text | None = None,
    ) -> Shown:
        asked = tracking.Asked(filter.strip(), order, tuple(columns), group, metric, best, limit, token or None)
        return tracking.experiment(project, experiment_id, asked)

    def compare(
        experiment_id: ExperimentId,
        runs: Annotated[str, Query(max_length=60_000)] = "",
        run: Columns = [],  # noqa: B006  ids too, as a form's boxes send them
        filter: Filter = "",
        order: Text = "",
        metric: Text = "",
        x: Text = "",
        y: Text = "",
        axes: Columns = [],  # noqa: B006
        across: Across = "step",
        smooth: Smooth = 0.0,
        left: Text = "",
        right: Text = "",
        file: Text = "",
    ) -> Shown:
        return tracking.compare(
            project,
            experiment_id,
            runs=",".join([*([runs] if runs else []), *run]),
            filter=filter.strip(),
            order=order,
            metric=metric,
            x=x,
            y=y,
            axes=axes,
            across=across,
            smooth=smooth,
            left=left,
            right=right,
            file=file,
        )

    def traces(
        experiment: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        filter: Filter = "",
        order: Text = "",
        limit: Limit = 50,
        token: Text | None = None,
    ) -> Shown:
        asked = filter.strip()
        return traced.traces(
            project, experiment=experiment, filter=asked, order=order, limit=limit, token=token or None
        )

    def one_trace(trace_id: Name) -> Shown:
        return traced.traced(project, trace_id)

    def datasets() -> Shown:
        return views.datasets(project)

    def dataset(name: Name, version: Ref = None, purpose: Purpose = None) -> Shown:
        return views.dataset(project, name, version=version, purpose=purpose)

    def dataset_profile(name: Name, version: Ref = None, purpose: Purpose = None) -> Shown:
        return views.profile(project, name, version=version, purpose=purpose)

    def dataset_card(name: Name, version: Ref = None) -> Shown:
        return views.card(project, name, version=version)

    def dataset_diff(name: Name, old: Ref = None, new: Ref = None, purpose: Purpose = None) -> Shown:
        return views.diff(project, name, old=old, new=new, purpose=purpose)

    def dataset_contract(name: Name, purpose: Purpose = None) -> Shown:
        return views.contract(project, name, purpose=purpose)

    def dataset_files(
        name: Name, version: Ref = None, purpose: Purpose = None, page: Annotated[int, Query(ge=1)] = 1
    ) -> Shown:
        return views.images(project, name, version=version, purpose=purpose, page=page)

    def features() -> Shown:
        return views.feature_views(project)

    def feature_view(name: Name) -> Shown:
        return views.feature_view(project, name)

    def audit(
        what: str | None = None, subject: str | None = None, actor: str | None = None, limit: Limit = 100
    ) -> Shown:
        return views.audit(project, what=what, subject=subject, actor=actor, limit=limit)

    def models() -> Shown:
        return views.models(project)

    def model(name: Name, version: Name) -> Shown:
        return views.model(project, name, version)

    def evaluation(report_id: Name) -> Shown:
        return views.evaluation(project, report_id)

    def leaderboards() -> Shown:
        return views.leaderboards(project)

    def leaderboard(which: Name) -> Shown:
        return views.leaderboard(project, which)

    def deployments() -> Shown:
        return views.deployments(project)

    def deployment(name: Name) -> Shown:
        return views.deployment(project, name)

    def prediction(prediction_id: Name) -> Shown:
        return views.prediction(project, prediction_id)

    def alerts(deployment: str | None = None, limit: Limit = 50) -> Shown:
        return views.alerts(project, deployment=deployment, limit=limit)

    def trace(node_id: Name, direction: str = "down", depth: Annotated[int | None, Query(ge=0)] = None) -> Shown:
        return views.trace(project, node_id, direction=direction, depth=depth)

    def pipelines() -> Shown:
        return views.pipelines(project)

    def execution(run_id: Name, box: Name | None = None, state: str | None = None, page: Page = 1) -> Shown:
        return views.execution(project, run_id, box=box, state=state, page=page)

    def node(run_id: Name, node: NodeName) -> Shown:
        return views.node(project, run_id, node)

    def schedules() -> Shown:
        return views.schedules(project)

    def advice(pipeline: Name, runs: Annotated[int, Query(ge=1, le=200)] = 20) -> Shown:
        return views.advice(project, pipeline, runs=runs)

    def tuning(run_id: Name) -> Shown:
        return views.tuning(project, run_id)

    return [
        Reading("/", overview, "overview.html"),
        Reading("/runs", runs, "runs.html"),
        Reading("/runs/{run_id}", run, "run.html"),
        Reading("/experiments", experiments, "experiments.html"),
        Reading("/experiments/{experiment_id}", experiment, "experiment.html"),
        Reading("/experiments/{experiment_id}/compare", compare, "compare.html"),
        Reading("/traces", traces, "traces.html"),
        Reading("/traces/{trace_id}", one_trace, "traced.html"),
        Reading("/datasets", datasets, "datasets.html"),
        Reading("/datasets/{name}", dataset, "dataset.html"),
        Reading("/datasets/{name}/profile", dataset_profile, "profile.html"),
        Reading("/datasets/{name}/card", dataset_card, "card.html"),
        Reading("/datasets/{name}/diff", dataset_diff, "diff.html"),
        Reading("/datasets/{name}/contract", dataset_contract, "contract.html"),
        Reading("/datasets/{name}/files", dataset_files, "files.html"),
        Reading("/features", features, "features.html"),
        Reading("/features/{name}", feature_view, "feature.html"),
        Reading("/audit", audit, "audit.html"),
        Reading("/models", models, "models.html"),
        Reading("/models/{name}/{version}", model, "model.html"),
        Reading("/evaluations/{report_id}", evaluation, "evaluation.html"),
        Reading("/leaderboards", leaderboards, "leaderboards.html"),
        Reading("/leaderboards/{which}", leaderboard, "leaderboard.html"),
        Reading("/deployments", deployments, "deployments.html"),
        Reading("/deployments/{name}", deployment, "deployment.html"),
        Reading("/predictions/{prediction_id}", prediction, "prediction.html"),
        Reading("/alerts", alerts, "alerts.html"),
        Reading("/trace/{node_id}", trace, "trace.html"),
        Reading("/pipelines", pipelines, "pipelines.html"),
        Reading("/pipelines/{run_id}", execution, "execution.html"),
        Reading("/pipelines/{run_id}/nodes/{node:path}", node, "node.html"),
        Reading("/schedules", schedules, "schedules.html"),
        Reading("/advice/{pipeline}", advice, "advice.html"),
        Reading("/tunings/{run_id}", tuning, "tuning.html"),
    ]
