"""Experiment tracking as pages: the list of experiments, the table of one, its runs beside each other, their files."""

from tidemill.api.views.tracking.comparing import compare
from tidemill.api.views.tracking.downloads import as_csv, as_parquet
from tidemill.api.views.tracking.experiments import experiment, experiments
from tidemill.api.views.tracking.media import file_of
from tidemill.api.views.tracking.saved import forget_view, save_view
from tidemill.api.views.tracking.table import Asked

__all__ = [
    "Asked",
    "as_csv",
    "as_parquet",
    "compare",
    "experiment",
    "experiments",
    "file_of",
    "forget_view",
    "save_view",
]
