"""Pipelines as files of other orchestrators: what they run is recorded, cached and traced as what runs here.

    airflow.dag(pipeline)     the text of a DAG file for Airflow 3
    kfp.yaml(pipeline)        the text of a pipeline file for Kubeflow Pipelines v2

Both are made of `graph.graph(pipeline)`. Each task of them runs `python -m tidemill.flow.export.task` with the
interpreter that has Tidemill and the program, so that the versions which an orchestrator pins never meet ours.
"""

from __future__ import annotations

from typing import Any

from tidemill.core.errors import BadInput, nearest
from tidemill.flow.pipelines import Pipeline

TARGETS = ("airflow", "kfp")


def export(pipeline: Pipeline[..., Any], target: str, *, image: str | None = None) -> str:
    """The pipeline as a file for "airflow" or "kfp". image: what Kubeflow runs its tasks in.

    Raises NotExportable, naming "file:line" of what has no form there; BadInput for another target.
    """
    from tidemill.flow.export import airflow, kfp

    match target:
        case "airflow":
            return airflow.dag(pipeline)
        case "kfp":
            return kfp.yaml(pipeline, image=image or kfp.DEFAULT_IMAGE)
    raise BadInput(f"no export to {target!r}; there are {', '.join(TARGETS)}.{nearest(target, TARGETS)}")
