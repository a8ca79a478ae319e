"""The first page: what there is, what answers, what needs a look."""

from __future__ import annotations

from pathlib import PurePath

from tidemill.api.views.alerting import alert_line
from tidemill.api.views.deployments import deployments
from tidemill.api.views.shaping import Shown, run_line
from tidemill.core.ids import iso
from tidemill.project import Project


def overview(project: Project) -> Shown:
    """Counts, deployments, the newest open alerts and the newest runs."""
    from tidemill.data import datasets
    from tidemill.serve import registry
    from tidemill.watch import alerts

    ws = project.ws
    open_alerts = [each for each in alerts.alerts(ws) if each.acknowledged is None]
    models = registry.models(ws)
    served = deployments(project)["deployments"]
    last = ws.graph.events(last=1)
    return {
        "workspace": workspace_name(project),
        "now": iso(ws.now),
        "counts": {
            "datasets": len(datasets.names(ws)),
            "models": len({model.name for model in models}),
            "model_versions": len(models),
            "deployments": len(served),
            "open_alerts": len(open_alerts),
            "events": last[0].seq if last else 0,
        },
        "deployments": served,
        "alerts": [alert_line(each) for each in reversed(open_alerts[-5:])],
        "runs": [run_line(run) for run in project.lineage.runs(limit=12)],
    }


def workspace_name(project: Project) -> str:
    """How people know the workspace: the last part of its address, without passwords or folders."""
    return PurePath(project.ws.url.rstrip("/")).name or project.ws.url
