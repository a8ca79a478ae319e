"""What each page shows, as JSON values: functions of a project, one for each page.

The JSON routes, the pages and their `.json` forms, and the command line show what these return, and nothing else.
"""

from tidemill.api.views.alerting import acknowledge, alerts
from tidemill.api.views.auditing import audit
from tidemill.api.views.datasets import card, contract, dataset, datasets, diff, file_of, images, profile
from tidemill.api.views.deployments import deployment, deployments
from tidemill.api.views.evaluations import evaluation
from tidemill.api.views.features import feature_view, feature_views
from tidemill.api.views.flows import (
    advice,
    again,
    answer,
    call_hook,
    cancel,
    execution,
    node,
    pause,
    pipelines,
    schedules,
)
from tidemill.api.views.leaderboards import leaderboard, leaderboards
from tidemill.api.views.models import model, models
from tidemill.api.views.overview import overview, workspace_name
from tidemill.api.views.predictions import prediction
from tidemill.api.views.runs import run, runs
from tidemill.api.views.tracing import trace
from tidemill.api.views.tuning import tuning

__all__ = [
    "acknowledge",
    "advice",
    "again",
    "alerts",
    "answer",
    "audit",
    "call_hook",
    "cancel",
    "card",
    "contract",
    "dataset",
    "datasets",
    "deployment",
    "deployments",
    "diff",
    "evaluation",
    "execution",
    "feature_view",
    "feature_views",
    "file_of",
    "images",
    "leaderboard",
    "leaderboards",
    "model",
    "models",
    "node",
    "overview",
    "pause",
    "pipelines",
    "prediction",
    "profile",
    "run",
    "runs",
    "schedules",
    "trace",
    "tuning",
    "workspace_name",
]
