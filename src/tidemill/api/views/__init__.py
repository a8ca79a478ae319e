"""What each page shows, as JSON values: functions of a project, one for each page.

The JSON routes, the pages and their `.json` forms, and the command line show what these return, and nothing else.
"""

from tidemill.api.views.alerting import acknowledge, alerts
from tidemill.api.views.datasets import dataset, datasets
from tidemill.api.views.deployments import deployment, deployments
from tidemill.api.views.models import model, models
from tidemill.api.views.overview import overview, workspace_name
from tidemill.api.views.predictions import prediction
from tidemill.api.views.runs import run, runs
from tidemill.api.views.tracing import trace

__all__ = [
    "acknowledge",
    "alerts",
    "dataset",
    "datasets",
    "deployment",
    "deployments",
    "model",
    "models",
    "overview",
    "prediction",
    "run",
    "runs",
    "trace",
    "workspace_name",
]
